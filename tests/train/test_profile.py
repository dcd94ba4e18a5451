# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Traces of training steps: which steps, and that they are on disk."""

import gzip
import json

import jax
import jax.numpy as jnp
import pytest

from vidpretrain import main as entry
from vidpretrain.train.profile import ProfiledStep, check_steps


@jax.jit
def double(state, batch, key):
    return state * 2.0, {"loss": state}


def traced_steps(folder):
    """Return the numbers of the steps that the only trace in a folder holds."""
    (binary,) = folder.glob("plugins/profile/*/*.xplane.pb")
    assert binary.stat().st_size > 0
    (text,) = folder.glob("plugins/profile/*/*.trace.json.gz")
    events = json.loads(gzip.decompress(text.read_bytes()))["traceEvents"]
    return {int(e["args"]["step_num"]) for e in events if e.get("name") == "train"}


@pytest.mark.parametrize(("start", "traced"), [(0, {3, 4}), (3, {4}), (4, None)])
def test_traces_the_steps_asked_for_and_no_others(tmp_path, start, traced):
    state = jnp.ones(8)
    with ProfiledStep(double, tmp_path, steps=(3, 4), start_step=start) as step:
        for _ in range(start, 6):
            state, _ = step(state, None, None)
    assert state[0] == 2.0 ** (6 - start)
    if traced is None:
        assert not list(tmp_path.iterdir())
    else:
        assert traced_steps(tmp_path) == traced


def test_a_training_that_ends_early_leaves_what_it_traced(tmp_path):
    with ProfiledStep(double, tmp_path, steps=(1, 9), start_step=0) as step:
        step(jnp.ones(8), None, None)
    assert traced_steps(tmp_path) == {1}


@pytest.mark.parametrize("steps", [(), (1, 1), (3, 10)])
def test_steps_of_the_training_can_be_traced(steps):
    check_steps(steps, 10)


@pytest.mark.parametrize("steps", [(3,), (1, 2, 3), (1.0, 2.0), (0, 1), (3, 2), (9, 11)])
def test_other_steps_are_refused(steps):
    with pytest.raises(ValueError, match="profile_steps"):
        check_steps(steps, 10)


@pytest.mark.parametrize("text", ["3", "3:", ":", "a:b", "-1:2"])
def test_the_flag_wants_two_numbers(tmp_path, capsys, text):
    with pytest.raises(SystemExit) as exit_:
        entry.main(["--config", "x", "--workdir", str(tmp_path), f"--profile_steps={text}"])
    assert exit_.value.code == entry.EXIT_BAD_INPUT
    assert "FIRST:LAST" in capsys.readouterr().err
