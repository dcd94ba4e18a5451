# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Slurm: what is submitted, and what the job does at its limit, when cancelled, after failures."""

import signal
import subprocess

import pytest

from tests.launch.stage import HOSTILE, LAUNCH, ODD_ARGUMENTS, UNUSUAL
from tests.runs import ROOT

RUN = ("--", "--config", "configs/demo.py", "--workdir", "/shared/exp")
LARGE = ("--time", "2-00:00:00", "--nodes", "4", "--gpus-per-node", "8", "--partition", "gpu")

# What srun does: run the command once per task, here one.
SRUN = """
if [[ $tool == srun ]]; then
  while [[ $1 == --* ]]; do shift; done
  SLURM_PROCID=0 SLURM_NTASKS=1 exec "$@"
fi
"""
PYTHON = r"""
printf '%s\0' "$@" "${JAX_LOCAL_DEVICE_IDS:-none}" "$SLURM_PROCID" >"$STUB_DIR/arguments"
trap 'echo saved; exit 75' TERM
echo training
while [[ -e $STUB_DIR/busy ]]; do sleep 0.05; done
exit "$CODE"
"""


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("slurm_large", ["exp", *LARGE, "--warn", "300", *RUN]),
        ("slurm_small", ["exp", "--time", "30", "--", *ODD_ARGUMENTS]),
    ],
)
def test_dry_run_prints_what_is_submitted(stage, name, arguments):
    dry = stage.run("slurm.sh", arguments[0], "--dry-run", *arguments[1:])
    assert dry.returncode == 0, dry.stderr
    stage.assert_golden(name, dry.stdout)
    stage.assert_nothing_ran()
    assert stage.run("slurm.sh", *arguments).returncode == 0
    stage.assert_golden(f"{name}_submitted")
    stage.assert_harmless()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused(stage, name):
    assert stage.run("slurm.sh", name, *LARGE, *RUN).returncode == 2
    assert stage.run("slurm.sh", "exp", "--time", f"1{name}0:", *RUN).returncode == 2
    stage.assert_nothing_ran()


@pytest.mark.parametrize("name", [name for name in HOSTILE if name not in UNUSUAL])
def test_hostile_accounts_are_refused(stage, name):
    assert stage.run("slurm.sh", "exp", *LARGE, "--account", name, *RUN).returncode == 2
    stage.assert_nothing_ran()


def test_without_slurm_one_message_says_so(stage):
    (stage.bin / "sbatch").unlink()
    missing = stage.run("slurm.sh", "exp", *LARGE, *RUN)
    assert missing.returncode == 69
    assert "sbatch is not installed" in missing.stderr


def job(stage, *arguments, code=0, gpus=0, restarted=0):
    stage.answer(SRUN)
    stage.add("recording-python", PYTHON)
    return subprocess.Popen(
        [LAUNCH / "slurm_job.sh", *arguments],
        cwd=stage.folder,
        env=stage.environment(
            PYTHON=stage.bin / "recording-python",
            CODE=code,
            LAUNCH_ROOT=ROOT,
            LAUNCH_GPUS=gpus,
            LAUNCH_RESTARTS=3,
            SLURM_JOB_ID=77,
            SLURM_RESTART_COUNT=restarted,
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(running):
    said = running.communicate(timeout=60)[0]
    return running.returncode, said


def requeued(stage):
    return ["scontrol", "requeue", "77"] in stage.calls()


def test_a_process_gets_all_gpus_of_its_node_and_the_very_arguments(stage):
    assert end(job(stage, *ODD_ARGUMENTS, gpus=4))[0] == 0
    given = (stage.folder / "arguments").read_bytes().decode().split("\0")[:-1]
    assert given == ["-m", "vidpretrain.main", *ODD_ARGUMENTS, "--distributed", "0,1,2,3", "0"]
    assert stage.calls()[0][:3] == ["srun", "--kill-on-bad-exit=0", "--wait=60"]
    stage.assert_harmless()


@pytest.mark.parametrize(
    ("code", "again"), [(0, False), (2, False), (1, True), (70, True), (134, True)]
)
def test_all_but_bad_input_is_requeued(stage, code, again):
    ended, _ = end(job(stage, *RUN[1:], code=code))
    assert (ended, requeued(stage)) == (code, again)


def test_restarts_are_counted(stage):
    code, said = end(job(stage, *RUN[1:], code=1, restarted=3))
    assert (code, requeued(stage)) == (1, False)
    assert "after 3 restarts; not again" in said


@pytest.mark.parametrize(("number", "again"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_the_limit_requeues_and_a_cancellation_does_not(stage, number, again):
    (stage.folder / "busy").touch()
    running = job(stage, *RUN[1:])
    assert running.stdout.readline() == "training\n"
    running.send_signal(number)
    code, said = end(running)
    assert "saved" in said
    assert (code, requeued(stage)) == (75, again)
