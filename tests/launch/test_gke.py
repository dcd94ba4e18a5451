# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Kubernetes through xpk: the commands, and what runs in a pod."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.launch.stage import HOSTILE, LAUNCH, ODD_ARGUMENTS
from tests.runs import ROOT

WHERE = ("--cluster", "tpus", "--zone", "us-west4-a")
RUN = ("--", "--config", "configs/demo.py", "--workdir", "/runs/exp")
CREATE = ("create", "exp", *WHERE, "--type", "v5litepod-16")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("gke_create", [*CREATE, "--slices", "2", "--project", "my-project", *RUN]),
        ("gke_status", ["status", "exp", *WHERE]),
        ("gke_logs", ["logs", "exp"]),
        ("gke_delete", ["delete", "exp", *WHERE]),
    ],
)
def test_commands(stage, name, arguments):
    dry = stage.run("gke.sh", *arguments[:2], "--dry-run", *arguments[2:])
    assert dry.returncode == 0, dry.stderr
    stage.assert_golden(name, dry.stdout)
    stage.assert_nothing_ran()
    assert stage.run("gke.sh", *arguments).returncode == 0
    (called,) = stage.calls()
    printed = shlex.split(dry.stdout.splitlines()[-1])
    # Only the copy's folder differs.
    assert [a for a in called if "--script-dir" not in a] == [
        a for a in printed if "--script-dir" not in a
    ]


COPY = """for argument in "$@"; do
  [[ $argument != --script-dir=* ]] || cp -r -- "${argument#*=}" "$STUB_DIR/image"
done"""


def test_the_image_gets_what_git_does_not_ignore(stage):
    stage.answer(COPY)
    assert stage.run("gke.sh", *CREATE, *RUN).returncode == 0
    files = {str(p.relative_to(stage.folder / "image")) for p in walk(stage.folder / "image")}
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    wanted = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True).stdout
    assert files == set(wanted.split("\0")[:-1])
    (folder,) = [a for a in stage.calls()[0] if a.startswith("--script-dir=")]
    assert not Path(folder.removeprefix("--script-dir=")).parent.exists()


def walk(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_xpk_never_sees_the_name_of_the_clone(stage):
    clone = stage.folder / "a b; touch pwned"
    shutil.copytree(LAUNCH, clone / "launch")
    subprocess.run(["git", "init", "-q", clone], check=True)
    stage.answer(COPY)
    assert stage.run(clone / "launch" / "gke.sh", *CREATE, *RUN).returncode == 0
    assert (stage.folder / "image" / "launch" / "gke_job.sh").exists()
    (folder,) = [a for a in stage.calls()[0] if a.startswith("--script-dir=")]
    assert re.fullmatch(r"--script-dir=[\w/.-]+", folder)
    stage.assert_harmless()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*CREATE, *RUN[:-1], "runs/x"], "--workdir is runs/x; give an absolute path"),
        ([*CREATE, *RUN, "--workdir=/app/runs"], "--workdir is /app/runs; give"),
        ([*CREATE[:-1], "v5e-16", *RUN], "calls it v5litepod-16"),
    ],
)
def test_bad_arguments_are_refused(stage, arguments, message):
    refused = stage.run("gke.sh", *arguments)
    assert refused.returncode == 2
    assert message in refused.stderr
    stage.assert_nothing_ran()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused(stage, name):
    for arguments in (
        ["create", name, *WHERE, "--type", "v4-8", *RUN],
        ["delete", name, *WHERE],
        [*CREATE, "--cluster", name, *RUN],
        [*CREATE, "--priority", name, *RUN],
    ):
        assert stage.run("gke.sh", *arguments).returncode == 2
    stage.assert_nothing_ran()


def test_line_breaks_in_arguments_are_refused(stage):
    refused = stage.run("gke.sh", *CREATE, *RUN, "--config.train.note=a\nb: c")
    assert refused.returncode == 2
    assert "line break" in refused.stderr
    stage.assert_nothing_ran()


@pytest.mark.parametrize(("tool", "action"), [("xpk", "status"), ("kubectl", "logs")])
def test_a_missing_tool_is_named(stage, tool, action):
    (stage.bin / tool).unlink()
    missing = stage.run("gke.sh", action, "exp", *WHERE)
    assert missing.returncode == 69
    assert f"{tool} is not installed" in missing.stderr


QUOTA = "ERROR: Quota 'TPUS' exceeded. Limit: 0.0 globally."
DENIED = "ERROR: (gcloud.container.clusters.list) ResponseError: code=403, PERMISSION_DENIED"
UNAVAILABLE = "Unable to connect to the server: net/http: TLS handshake timed out"


@pytest.mark.parametrize("stream", [1, 2])
@pytest.mark.parametrize(
    ("said", "code", "calls", "advice"),
    [
        (QUOTA, 73, 1, "service: Compute Engine API"),
        ("GCE_STOCKOUT", 75, 5, "another cluster, or come back later"),
        (DENIED, 1, 1, "roles/container.developer"),
        ("[XPK] Unable to find cluster", 5, 1, "xpk ended with code 5"),
        (UNAVAILABLE, 5, 5, "xpk ended with code 5"),
    ],
)
def test_failures_of_xpk_are_told_apart_on_either_stream(stage, stream, said, code, calls, advice):
    stage.answer(f"echo {shlex.quote(said)} >&{stream}; exit 5")
    failed = stage.run("gke.sh", *CREATE, *RUN)
    assert failed.returncode == code
    assert len(stage.calls()) == calls
    assert said in failed.stderr
    assert advice in failed.stderr


def test_a_workload_that_exists_at_a_second_try_was_created_by_the_first(stage):
    stage.answer(
        'if [ -e "$STUB_DIR/tried" ]; then echo "workload exp already exists"; exit 5; fi\n'
        f'touch "$STUB_DIR/tried"; echo {shlex.quote(UNAVAILABLE)}; exit 5'
    )
    assert stage.run("gke.sh", *CREATE, *RUN).returncode == 0
    assert len(stage.calls()) == 2
    # One that was there before is another's.
    assert stage.run("gke.sh", *CREATE, *RUN).returncode == 5


def test_what_a_long_log_says_on_the_way_is_no_failure(stage):
    stage.answer(f"echo {shlex.quote(UNAVAILABLE)}; seq 100; exit 5")
    assert stage.run("gke.sh", *CREATE, *RUN).returncode == 5
    assert len(stage.calls()) == 1


def test_what_xpk_asks_is_seen_and_can_be_answered(stage):
    # Without waiting for its end; a prompt has no line break.
    stage.answer("printf 'overwrite it? '; read -r answer; echo \"answered $answer\"")
    running = subprocess.Popen(
        [LAUNCH / "gke.sh", *CREATE, *RUN],
        env=stage.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    asked = running.stderr.read(len("overwrite it? "))
    assert asked == b"overwrite it? "
    assert b"answered no" in running.communicate(b"no\n", timeout=60)[1]


def pod(stage, command, code=0):
    """Run a command as xpk does: in a shell, in the code's folder, beside a signal handler."""
    stage.add(
        "python3",
        """[[ $2 != pip ]] || exit 0; printf '%s\\0' "$@" >"$STUB_DIR/arguments"; exit $CODE""",
    )
    return subprocess.run(
        ["bash", "-c", f"({command}) & PID=$!\nwait $PID"],
        cwd=ROOT,
        env=stage.environment(CODE=code),
    ).returncode


def test_a_pod_gets_the_very_arguments(stage):
    assert stage.run("gke.sh", *CREATE, "--", *ODD_ARGUMENTS).returncode == 0
    (command,) = [a for a in stage.calls()[0] if a.startswith("--command=")]
    assert pod(stage, command.removeprefix("--command=")) == 0
    given = (stage.folder / "arguments").read_bytes().decode().split("\0")[:-1]
    assert given == ["-m", "vidpretrain.main", *ODD_ARGUMENTS, "--distributed"]
    stage.assert_harmless()


@pytest.mark.parametrize(("code", "ended"), [(0, 0), (2, 2), (1, 42), (75, 42), (134, 42)])
def test_xpk_starts_again_after_all_but_bad_input(stage, code, ended):
    assert pod(stage, f"exec {LAUNCH / 'gke_job.sh'} --config x --workdir y", code) == ended
