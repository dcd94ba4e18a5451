# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Whole runs killed at random times: they end as if nothing had been."""

import multiprocessing
import os
import time

import jax
import numpy as np
import pytest

from tests.runs import MICRO, losses, state_bytes
from vidpretrain import main as entry
from vidpretrain.convert import folder

RECIPE = f"{MICRO}:stages=scratch,steps=20"
EVERY = 3


def run(workdir, cache):
    # JAX has read the environment already, when the fork server imported it.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    every = f"--config.scratch.checkpoint.every={EVERY} steps"
    raise SystemExit(entry.main(["--config", RECIPE, "--workdir", str(workdir), every]))


@pytest.fixture(scope="module")
def begin():
    """Return a function that starts a run, from a process that has imported all already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["vidpretrain.main", "vidpretrain.train.stages"])

    def begin(workdir, cache):
        process = context.Process(target=run, args=(workdir, cache))
        process.start()
        return process

    return begin


def finish(process):
    process.join(300)
    assert process.exitcode == 0


def kill_while_saving(process, checkpoints, rng):
    """Kill a run within a save drawn at random, if it comes to that; say whether it did."""
    step = EVERY * rng.integers(1, 7)
    temporary = checkpoints / f"{step}.tmp"
    while process.is_alive() and not temporary.exists():
        time.sleep(0.0002)
    time.sleep(rng.uniform(0, 0.02))
    process.kill()
    process.join()
    return temporary.exists()


def kill_any_time(process, seconds, rng):
    process.join(rng.uniform(0, seconds))
    process.kill()
    process.join()


@pytest.mark.parametrize("num_kills", [10, pytest.param(100, marks=pytest.mark.long)])
def test_killed_at_any_time_a_run_ends_in_the_same_bits(begin, tmp_path, num_kills):
    cache = str(tmp_path / "cache")
    for name in ("cold", "whole"):
        start = time.monotonic()
        finish(begin(tmp_path / name, cache))
        seconds = time.monotonic() - start
    whole = tmp_path / "whole" / "scratch"
    expected = state_bytes(whole), losses(whole)

    rng = np.random.default_rng(0)
    in_saves = 0
    for number in range(num_kills):
        stage = tmp_path / str(number) / "scratch"
        checkpoints = stage / folder.STEPS
        process = begin(stage.parent, cache)
        if number % 2:
            in_saves += kill_while_saving(process, checkpoints, rng)
        else:
            kill_any_time(process, seconds, rng)
        reached = max(losses(stage), default=0)
        steps = folder.list_steps(folder.as_path(checkpoints))
        for step in steps:
            folder.verify(checkpoints / str(step))
        # Of two saves that were begun, the first is on disk.
        assert max(steps, default=0) >= (reached - 1) // EVERY * EVERY - EVERY

        finish(begin(stage.parent, cache))
        assert (state_bytes(stage), losses(stage)) == expected
        assert not list(checkpoints.glob("*.bad-*"))
    print(f"{num_kills} of {num_kills} restarts bit-equal; {in_saves} kills within a save")
    assert in_saves >= num_kills // 4
