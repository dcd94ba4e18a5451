# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""A working folder belongs to one configuration."""

import json
from pathlib import Path

import pytest

from vidpretrain.train import workdirs

CONFIG = {"stages": ("a",), "a": {"seed": 0, "log_every": "20 steps", "pixels": {"mean": (0.5,)}}}


def changed(**fields):
    return {**CONFIG, "a": {**CONFIG["a"], **fields}}


def test_the_same_run_may_come_back(tmp_path):
    for _ in range(2):
        workdirs.claim(tmp_path / "run", CONFIG)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["a"]["seed"] == 0


def test_what_does_not_change_learning_may_change(tmp_path):
    workdirs.claim(tmp_path, CONFIG)
    workdirs.claim(tmp_path, changed(log_every="1 step"))
    assert "1 step" in (tmp_path / "config.json").read_text()


def test_another_run_is_refused_with_the_fields_that_differ(tmp_path):
    workdirs.claim(tmp_path, CONFIG)
    with pytest.raises(workdirs.WorkdirError, match=r"a\.seed: 0 before, 1 now"):
        workdirs.claim(tmp_path, changed(seed=1))
    assert json.loads((tmp_path / "config.json").read_text())["a"]["seed"] == 0


def test_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(workdirs.WorkdirError, match="cannot be written"):
        workdirs.claim(tmp_path / "run", CONFIG)


def test_a_damaged_config_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(workdirs.WorkdirError, match="no JSON"):
        workdirs.claim(tmp_path, CONFIG)


def test_an_address_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(workdirs.WorkdirError, match=r"--workdir gs://bucket/run is an address.*mo"):
        workdirs.claim(Path("gs://bucket/run"), CONFIG)
    assert not list(tmp_path.iterdir())
