# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What holds for every launch script."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launch.stage import LAUNCH, STUB

SCRIPTS = sorted(LAUNCH.glob("*.sh"))
COMMANDS = sorted(path.name for path in SCRIPTS if path.name != "common.sh")


@pytest.mark.parametrize("path", [*SCRIPTS, STUB], ids=lambda path: path.name)
def test_shellcheck_is_content(path):
    beside_python = Path(sys.executable).with_name("shellcheck")
    shellcheck = beside_python if beside_python.exists() else shutil.which("shellcheck")
    if shellcheck is None:
        subprocess.run(["bash", "-n", str(path)], check=True)
        pytest.skip("shellcheck is not installed (requirements-dev.txt names it); bash -n passed")
    checked = subprocess.run(
        [str(shellcheck), "--external-sources", "--source-path=SCRIPTDIR", str(path)],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches_with_examples_and_exit_codes(stage, name):
    helped = stage.run(name, "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "example" in helped.stdout
    assert "exit code" in helped.stdout
    assert max(map(len, helped.stdout.splitlines())) <= 100
    stage.assert_nothing_ran()


@pytest.mark.parametrize("name", COMMANDS)
def test_scripts_can_be_run_and_stop_at_errors(name):
    path = LAUNCH / name
    assert os.access(path, os.X_OK)
    assert "\nset -euo pipefail\n" in path.read_text()


@pytest.mark.parametrize("variable", ["LAUNCH_TRIES", "LAUNCH_WAIT_SEC", "LAUNCH_POLL_SEC"])
@pytest.mark.parametrize("value", ["try[$(touch pwned)0]", "x", "08", "-1"])
def test_numbers_from_the_environment_are_checked(stage, variable, value):
    stage.answer("exit 1")
    refused = stage.run(
        "tpu_vm.sh", "delete", "exp", "--zone", "us-central2-b", **{variable: value}
    )
    assert refused.returncode == 2
    assert f"{variable} is " in refused.stderr
    stage.assert_nothing_ran()


def test_how_long_a_worker_stops_is_checked(stage):
    refused = stage.run("worker.sh", "stop", STOP_SEC="a[$(touch pwned)]")
    assert refused.returncode == 2
    assert "STOP_SEC is " in refused.stderr
    stage.assert_nothing_ran()


def test_the_environment_makes_no_dry_run(stage):
    assert stage.run("tpu_vm.sh", "delete", "exp", "--zone", "z", DRY_RUN=1).returncode == 0
    assert len(stage.calls()) == 1
