# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Slurm: what is submitted, and what the job does at its limit, when cancelled, after failures."""

import os
import signal
import subprocess
import sys

import pytest

from tests import runs
from tests.launch.stage import HOSTILE, LAUNCH, ODD_ARGUMENTS, UNUSUAL
from tests.runs import ROOT

RUN = ("--", "--config", "configs/demo.py", "--workdir", "/shared/exp")
LARGE = ("--time", "2-00:00:00", "--nodes", "4", "--gpus-per-node", "8", "--partition", "gpu")

# What srun does: run the command as two tasks, and end with the greater of their codes. It does not
# hand SIGTERM on: it kills its tasks.
SRUN = """
if [[ $tool == srun ]]; then
  while [[ $1 == --* ]]; do shift; done
  tasks=()
  for id in 0 1; do
    SLURM_PROCID=$id SLURM_LOCALID=$id \\
      bash -c 'echo $$ >"$STUB_DIR/task-$SLURM_PROCID"; exec "$@"' - "$@" &
    tasks+=("$!")
  done
  trap 'kill -KILL "${tasks[@]}"; exit 137' TERM
  code=0
  for task in "${tasks[@]}"; do
    ended=0
    wait "$task" || ended=$?
    ((ended <= code)) || code=$ended
  done
  exit "$code"
fi
"""
PYTHON = r"""
printf '%s\0' "$@" "${JAX_LOCAL_DEVICE_IDS:-none}" >"$STUB_DIR/arguments-$SLURM_PROCID"
trap 'sleep 0.3; echo saved; exit 75' TERM
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


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--time", "10", "--restarts", "08"], "--restarts is 08"),
        (["--time", "10", "--gpus-per-node", "08"], "--gpus-per-node is 08"),
        (["--time", "10", "--warn", "65536"], "--warn is 65536; it must be a whole number, 1 to"),
        (["--time", "1:00", "--warn", "120"], "--time 1:00 is 60 s"),
        # Up to a minute early is at the very start.
        (["--time", "3", "--warn", "120"], "no time is left to train"),
        (["--time", "00:08:09", "--warn", "429"], "--time 00:08:09 is 489 s"),
        (["--time", "1-0", "--warn", "65535", "--nodes", "0"], "--nodes is 0"),
        (["--time", "0-0:1:1"], "--time 0-0:1:1 is 61 s"),
        (["--time", "0-1", "--warn", "3600"], "--time 0-1 is 3600 s"),
    ],
)
def test_bad_values_are_refused(stage, flags, message):
    refused = stage.run("slurm.sh", "exp", *flags, *RUN)
    assert refused.returncode == 2
    assert message in refused.stderr
    stage.assert_nothing_ran()


@pytest.mark.parametrize("limit", ["0", "3:01", "08", "0-0:08", "1-00:00:00"])
def test_limits_that_leave_time_are_not_refused(stage, limit):
    assert stage.run("slurm.sh", "exp", "--time", limit, *RUN).returncode == 0


def test_without_slurm_one_message_says_so(stage):
    (stage.bin / "sbatch").unlink()
    missing = stage.run("slurm.sh", "exp", *LARGE, *RUN)
    assert missing.returncode == 69
    assert "sbatch is not installed" in missing.stderr


def job(stage, *arguments, code=0, gpus=0, restarted=0, **environment):
    stage.answer(SRUN)
    stage.add("recording-python", PYTHON)
    environment = {
        "PYTHON": stage.bin / "recording-python",
        "CODE": code,
        "LAUNCH_ROOT": ROOT,
        "LAUNCH_GPUS": gpus,
        "LAUNCH_RESTARTS": 3,
        "SLURM_JOB_ID": 77,
        "SLURM_RESTART_COUNT": restarted,
        **environment,
    }
    return subprocess.Popen(
        [LAUNCH / "slurm_job.sh", *map(str, arguments)],
        cwd=stage.folder,
        env=stage.environment(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def signal_tasks(stage):
    """Send SIGTERM as slurmd does: to the tasks, not to srun."""
    for task in stage.folder.glob("task-*"):
        os.kill(int(task.read_text()), signal.SIGTERM)


def end(running):
    said = running.communicate(timeout=60)[0]
    return running.returncode, said


def requeued(stage):
    return ["scontrol", "requeue", "77"] in stage.calls()


def test_a_process_gets_all_gpus_of_its_node_and_the_very_arguments(stage):
    assert end(job(stage, *ODD_ARGUMENTS, gpus=4))[0] == 0
    for i in range(2):
        given = (stage.folder / f"arguments-{i}").read_bytes().decode().split("\0")[:-1]
        assert given == ["-m", "vidpretrain.main", *ODD_ARGUMENTS, "--distributed", "0,1,2,3"]
    assert stage.calls()[0][:3] == ["srun", "--kill-on-bad-exit=0", "--wait=60"]
    stage.assert_harmless()


@pytest.mark.parametrize("variable", ["LAUNCH_GPUS", "LAUNCH_RESTARTS", "SLURM_RESTART_COUNT"])
@pytest.mark.parametrize("value", ["08", "a[$(touch pwned)]"])
def test_numbers_from_the_environment_are_checked(stage, variable, value):
    code, said = end(job(stage, *RUN[1:], code=1, **{variable: value}))
    assert code == 2
    assert f"{variable} is " in said
    stage.assert_nothing_ran()


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


def test_before_the_limit_all_processes_save_and_the_job_is_requeued(stage):
    assert stage.run("slurm.sh", "exp", *LARGE, *RUN).returncode == 0
    (warning,) = [flag for flag in stage.calls()[0] if flag.startswith("--signal=")]
    (stage.folder / "busy").touch()
    running = job(stage, *RUN[1:])
    assert [running.stdout.readline() for _ in range(2)] == ["training\n"] * 2
    # B: would mean the script alone.
    assert warning == "--signal=TERM@120"
    signal_tasks(stage)
    code, said = end(running)
    assert said.count("saved") == 2
    assert (code, requeued(stage)) == (75, True)


def test_cancelled_all_processes_save_and_nothing_is_requeued(stage):
    (stage.folder / "busy").touch()
    running = job(stage, *RUN[1:])
    assert [running.stdout.readline() for _ in range(2)] == ["training\n"] * 2
    # Slurm signals the script and the tasks; the script first, which must not have srun kill them.
    running.send_signal(signal.SIGTERM)
    signal_tasks(stage)
    code, said = end(running)
    assert said.count("saved") == 2
    assert (code, requeued(stage)) == (75, False)


@pytest.mark.long
def test_a_real_run_of_two_processes_saves_before_the_limit(stage, tmp_path):
    # Each task's own two variables are srun's, here the stub's.
    shared = runs.slurm_environments(2)[0]
    running = job(
        stage,
        *["--config", f"{runs.MICRO}:stages=scratch,steps=1000", "--workdir", tmp_path / "run"],
        **{**shared, "JAX_PLATFORMS": "cpu", "PYTHON": sys.executable},
    )
    said = ""
    while "step 2/" not in said:
        said += (line := running.stdout.readline())
        assert line, said
    signal_tasks(stage)
    code, rest = end(running)
    assert code == 75, said + rest
    assert ["scontrol", "requeue", shared["SLURM_JOB_ID"]] in stage.calls()
    assert runs.state_bytes(tmp_path / "run" / "scratch")
