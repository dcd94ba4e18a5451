# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""How processes join; runs on several are in tests/test_signals.py."""

import pytest

from tests.runs import MICRO
from vidpretrain import main as entry
from vidpretrain import parallel


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"coordinator": "localhost:1"}, "give all three, or none"),
        ({"process_id": 1}, "give all three, or none"),
        ({"coordinator": "localhost", "num_processes": 2, "process_id": 0}, "HOST:PORT"),
        ({"coordinator": "localhost:1", "num_processes": 2, "process_id": 2}, "process_id=2 of"),
        ({"coordinator": "localhost:1", "num_processes": 0, "process_id": 0}, "num_processes=0"),
        ({"heartbeat_sec": 0.0}, "heartbeat_sec=0.0"),
    ],
)
def test_processes_that_cannot_be_told_apart_are_refused(given, message):
    with pytest.raises(parallel.JoinError, match=message):
        parallel.join(**given)


@pytest.mark.parametrize(
    "flags", [["--process_id", "1"], ["--coordinator", "localhost:1", "--num_processes", "2"]]
)
def test_half_of_the_flags_is_bad_input(tmp_path, capsys, flags):
    arguments = ["--config", MICRO, "--workdir", str(tmp_path / "run"), *flags]
    assert entry.main(arguments) == entry.EXIT_BAD_INPUT
    assert "coordinator" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_alone_a_process_is_the_first():
    assert parallel.is_first_process()
