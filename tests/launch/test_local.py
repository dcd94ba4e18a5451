# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Several processes on one machine: the rules with small programs, then a real run."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

from tests.launch.stage import LAUNCH, ODD_ARGUMENTS
from tests.runs import MICRO, ROOT, losses, state_bytes

STEPS = 9
RUN = ("--config", "recipe.py", "--workdir", "runs/x")


def begin(stage, python, *arguments, **environment):
    """Start local.sh with a program in the interpreter's place."""
    if python is not sys.executable:
        stage.add("python-stub", python)
        python = stage.bin / "python-stub"
    return subprocess.Popen(
        [str(LAUNCH / "local.sh"), *map(str, arguments)],
        cwd=stage.folder,
        env=stage.environment(PYTHON=python, **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Jobs in the background ignore it, and bash cannot catch what was ignored at its start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def end(launched):
    said = launched.communicate(timeout=240)[0]
    return launched.returncode, said


def launch(stage, python, *arguments):
    return end(begin(stage, python, *arguments))


def is_gone(pid):
    """Say whether a process has ended, be it that nobody has asked how."""
    listed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return listed.stdout.strip()[:1] in ("", "Z")


def test_dry_run_prints_one_command_per_gpu(stage):
    dry = stage.run("local.sh", "--gpus", "0,3", "--dry-run", "--", *RUN)
    assert (dry.returncode, dry.stderr) == (0, "")
    stage.assert_golden("local_gpus", dry.stdout)
    stage.assert_nothing_ran()


def test_dry_run_can_be_pasted_whatever_the_arguments(stage):
    flags = ["--processes", "2", "--cpu-devices", "4", "--port", "1234", "--dry-run"]
    dry = stage.run("local.sh", *flags, "--", *ODD_ARGUMENTS)
    stage.assert_golden("local_cpu", dry.stdout)
    first = shlex.split(dry.stdout.splitlines()[0])
    assert first[0] == "env"
    assert first[first.index("vidpretrain.main") + 1 :] == [
        *ODD_ARGUMENTS,
        *["--coordinator", "localhost:1234", "--num_processes", "2", "--process_id", "0", "&"],
    ]
    stage.assert_harmless()


def test_all_gpus_are_counted(stage):
    stage.add("nvidia-smi", "printf '0\\n1\\n2\\n'")
    dry = stage.run("local.sh", "--gpus", "all", "--dry-run", "--", *RUN)
    assert dry.stdout.count("--num_processes 3") == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpus", "0"], "nothing to run"),
        (["--gpus", "0", "--", "--config", "x"], "lack --workdir"),
        (["--gpus"], "--gpus wants a value"),
        (["--gpus", "0; touch pwned", "--", *RUN], "give all, or 0,1,2"),
        (["--", *RUN], "give --gpus LIST or --processes N"),
        (["--gpus", "0", "--processes", "2", "--", *RUN], "drop the other two"),
        (["--processes", "0", "--", *RUN], "--processes is 0; it must be a whole number, 1 or"),
        (["--processes", "a[$(touch pwned)]", "--", *RUN], "whole number"),
        (["--processes", "2", "--restarts", "-1", "--", *RUN], "--restarts is -1"),
        (["--processes", "010", "--", *RUN], "--processes is 010; it must be a whole number"),
        (["--processes", "08", "--dry-run", "--", *RUN], "--processes is 08"),
        (["--processes", "2", "--restarts", "08", "--", *RUN], "without leading zeros"),
        (["--gpus", "0,1,0", "--", *RUN], "it names GPU 0 twice"),
        (["--gpus", "0,00", "--", *RUN], "give all, or 0,1,2"),
        (["--gpus", "0", "--port", "99999", "--", *RUN], "--port is 99999; it must be a whole"),
        (["--frobnicate", "--", *RUN], "unknown argument --frobnicate"),
    ],
)
def test_bad_arguments_are_refused(stage, arguments, message):
    refused = stage.run("local.sh", *arguments)
    assert refused.returncode == 2
    assert message in refused.stderr
    stage.assert_nothing_ran()


def test_a_missing_tool_is_named(stage):
    missing = stage.run("local.sh", "--gpus", "all", "--", *RUN)
    assert missing.returncode == 69
    assert "nvidia-smi is not installed" in missing.stderr
    missing = stage.run("local.sh", "--gpus", "0", "--", *RUN, PYTHON="/no/python")
    assert missing.returncode == 69
    assert "/no/python is not installed" in missing.stderr


@pytest.mark.parametrize(
    ("driver", "told"),
    [("echo 'Failed to initialize NVML'; exit 9", "Failed to initialize NVML"), ("", "nothing")],
)
def test_a_broken_driver_is_told(stage, driver, told):
    stage.add("nvidia-smi", driver)
    broken = stage.run("local.sh", "--gpus", "all", "--", *RUN)
    assert broken.returncode == 69
    assert f"it said: {told}." in broken.stderr
    assert "name the GPUs: --gpus 0,1" in broken.stderr


# Programs that stand in for Python. Asked for a free port, they name one.
PORT = '[[ $1 != -c ]] || { echo 4321; exit; }; id=${*: -1}; echo "I am $id of ${*: -3:1}"; '


def test_lines_begin_with_the_process_they_are_from(stage):
    code, said = launch(stage, PORT + 'echo "$JAX_PLATFORMS"', "--processes", "2", "--", *RUN)
    assert code == 0
    for i in "01":
        lines = [line for line in said.splitlines() if line.startswith(f"[{i}] ")]
        assert lines == [f"[{i}] I am {i} of 2", f"[{i}] cpu"]


def test_one_dies_and_the_others_are_ended_with_their_readers(stage):
    program = PORT + "((id)) && exit 7; trap '' TERM; sleep 1000 & echo reader $!; wait; wait"
    start = time.monotonic()
    code, said = launch(stage, program, "--processes", "3", "--grace", "1", "--", *RUN)
    assert code == 7
    assert "process 0 ended with code 137" in said
    assert time.monotonic() - start < 30
    reader = int(re.search(r"reader (\d+)", said).group(1))
    assert is_gone(reader)


@pytest.mark.parametrize(("code", "starts"), [(0, 1), (2, 1), (1, 3), (70, 3), (75, 3), (134, 3)])
def test_all_but_bad_input_is_tried_again(stage, code, starts):
    ended, said = launch(
        stage, PORT + f"exit {code}", "--processes", "1", "--restarts", "2", "--", *RUN
    )
    assert ended == code
    assert said.count("I am 0 of 1") == starts


def test_a_restart_can_succeed(stage):
    program = PORT + "[[ -e tried ]] && exit 0; touch tried; exit 1"
    code, said = launch(stage, program, "--processes", "1", "--restarts", "2", "--", *RUN)
    assert code == 0
    assert "restart 1 of 2" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on_once_and_nothing_is_restarted(stage, number):
    program = PORT + "n=0; trap 'n=$((n + 1)); echo signal $n; exit 75' TERM INT; echo ready; "
    program += "for i in {1..300}; do sleep 0.1; done"
    launched = begin(stage, program, "--processes", "2", "--restarts", "5", "--", *RUN)
    ready = 0
    while ready < 2:
        ready += "ready" in launched.stdout.readline()
    launched.send_signal(number)
    code, said = end(launched)
    assert code == 75, said
    assert said.count("signal 1") == 2
    assert "restart" not in said


def test_killed_one_process_the_run_restarts_and_ends_in_the_same_bits(stage, tmp_path):
    environment = {
        "JAX_COMPILATION_CACHE_DIR": tmp_path / "cache",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": 0,
        "PYTHONPATH": ROOT,
    }
    ends = {}
    for name in ("whole", "killed"):
        launched = begin(
            stage,
            sys.executable,
            *["--processes", "2", "--restarts", "1", "--grace", "0", "--"],
            *["--config", f"{MICRO}:stages=scratch,steps={STEPS}", "--workdir", tmp_path / name],
            "--config.scratch.checkpoint.every=4 steps",
            **environment,
        )
        said = ""
        if name == "killed":
            while "step 5/" not in said:
                said += launched.stdout.readline()
            os.kill(int(re.search(r"process 1 is (\d+)", said).group(1)), signal.SIGKILL)
        code, rest = end(launched)
        said += rest
        assert code == 0, said
        assert said.count("restart 1 of 1") == (name == "killed"), said
        assert ("process 1 ended with code 137" in said) == (name == "killed")
        stage_folder = tmp_path / name / "scratch"
        ends[name] = state_bytes(stage_folder), losses(stage_folder)
    assert len(ends["whole"][1]) == STEPS
    assert ends["killed"] == ends["whole"]
