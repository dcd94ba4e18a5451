# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Signals to whole runs, in every window, on one process and on two."""

import os
import signal
from pathlib import Path

import pytest

from tests.runs import losses, scores, start, state_bytes
from tests.windows import SIGNS, STEPS
from vidpretrain.convert import folder
from vidpretrain.train.interrupt import EXIT_INTERRUPTED

RECIPE = str(Path(__file__).with_name("windows.py"))
CHECKPOINTS = Path("scratch", folder.STEPS)


def await_sign(process, sign):
    """Read what a process says until the window is open."""
    said = ""
    for line in process.stderr:
        said += line
        if sign in line:
            return
    raise AssertionError(said)


def interrupt(workdir, window, number, *overrides, processes=1, whom=0, environment):
    """Signal one process in a window; return the step that was saved, and steps lost."""
    running = start(
        workdir,
        *overrides,
        recipe=f"{RECIPE}:window={window}",
        num_processes=processes,
        **environment,
    )
    await_sign(running[0], SIGNS[window])
    if whom == "group":
        os.killpg(running[0].pid, number)
    else:
        # A process without a signal of its own goes on waiting for data.
        signalled = running if window == "waiting" else [running[whom]]
        for process in signalled:
            process.send_signal(number)
    said = [process.communicate(timeout=300)[1] for process in running]
    assert [process.returncode for process in running] == [EXIT_INTERRUPTED] * processes, said
    assert all("the same command goes on from there" in text for text in said)
    saved = folder.list_steps(folder.as_path(workdir / CHECKPOINTS))
    newest = saved[-1] if saved else 0
    if saved:
        assert folder.find_checkpoint(workdir / CHECKPOINTS).name == str(newest)
    return newest, max(losses(workdir / "scratch"), default=0) - newest


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("cache")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def test_two_processes_save_the_same_step_when_one_is_signalled(tmp_path, environment):
    step, lost = interrupt(
        tmp_path,
        "training",
        signal.SIGTERM,
        # Checkpoints that the clocks of two processes call for, too.
        "--config.scratch.checkpoint.every_sec=0.05",
        processes=2,
        whom=1,
        environment=environment,
    )
    assert 6 <= step < STEPS
    assert lost <= 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory, environment):
    """Return the last state of uninterrupted runs, by the number of processes."""

    def run(processes):
        workdir = tmp_path_factory.mktemp("whole")
        resume(workdir, processes, environment)
        return outcome(workdir / "scratch")

    return {processes: run(processes) for processes in (1, 2)}


def outcome(stage):
    return state_bytes(stage), losses(stage), scores(stage)


def resume(workdir, processes, environment):
    running = start(workdir, recipe=RECIPE, num_processes=processes, **environment)
    said = [process.communicate(timeout=300)[1] for process in running]
    assert [process.returncode for process in running] == [0] * processes, said


@pytest.mark.long
@pytest.mark.parametrize("window", SIGNS)
@pytest.mark.parametrize(
    ("number", "processes", "whom"),
    [
        (signal.SIGTERM, 1, 0),
        (signal.SIGINT, 1, 0),
        (signal.SIGINT, 1, "group"),
        (signal.SIGTERM, 2, 0),
        (signal.SIGTERM, 2, 1),
    ],
)
def test_a_signal_in_any_window_saves_and_the_run_goes_on_to_the_same_bits(
    tmp_path, environment, whole, window, number, processes, whom
):
    overrides = []
    if whom == "group" and window != "waiting":
        # As Ctrl-C does, to the processes that read data too.
        overrides = ["--config.scratch.input.num_workers=1"]
    step, lost = interrupt(
        tmp_path,
        window,
        number,
        *overrides,
        processes=processes,
        whom=whom,
        environment=environment,
    )
    assert lost <= 1
    assert step < STEPS
    resume(tmp_path, processes, environment)
    assert outcome(tmp_path / "scratch") == whole[processes]
