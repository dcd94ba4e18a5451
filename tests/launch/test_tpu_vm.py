# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Cloud TPUs: commands against golden files, failures in gcloud's own words, a worker that runs."""

import os
import shlex
import subprocess
import time

import pytest

from tests.launch.stage import HOSTILE, LAUNCH, ODD_ARGUMENTS, UNUSUAL

WHERE = ("--zone", "us-central2-b")
TPU = (*WHERE, "--type", "v4-8")
RUN = ("--", "--config", "configs/demo.py", "--workdir", "/mnt/my-runs/exp")

CAPACITY = (
    "ERROR: (gcloud.compute.tpus.tpu-vm.create) There is no more capacity in the zone "
    '"us-central2-b"; you can try in another zone where Cloud TPU Nodes are offered (see '
    "https://cloud.google.com/tpu/docs/regions) [EID: 0xba393c906974e61]"
)
QUOTA = (
    "ERROR: (gcloud.compute.tpus.queued-resources.create) RESOURCE_EXHAUSTED: Quota limit "
    "'TPUV4sPreemptiblePodPerProjectPerRegionForTPUAPI' has been exceeded. Limit: 0 in region "
    "us-central2."
)
EXHAUSTED = (
    "Quota 'TPUV5sPreemptibleLitepodPerProjectPerRegionForTPUAPI' exhausted. "
    "Limit 10000 in region us-west4"
)
UNAVAILABLE = "ERROR: gcloud crashed (HttpError): HttpError 503: The service is unavailable."
KEYS = "ada@10.0.0.2: Permission denied (publickey)."
DENIED = "ERROR: (gcloud.compute.tpus) PERMISSION_DENIED: The caller does not have permission"
NOT_FOUND = "ERROR: (gcloud.compute.tpus.queued-resources.describe) NOT_FOUND: Resource not found"


def says(*rules, otherwise="echo 'worker 0: exit 0'"):
    """Write answers: for each (pattern, body), the body of the first that the arguments match."""
    cases = "".join(f'  *"{pattern}"*) {body} ;;\n' for pattern, body in rules)
    return f'case "$*" in\n{cases}  *) {otherwise} ;;\nesac\n'


def counted(name, *bodies):
    """One body for each call in turn, the last for all that follow."""
    count = (
        f'n=$(cat "$STUB_DIR/{name}" 2>/dev/null || echo 0); echo $((n + 1)) >"$STUB_DIR/{name}"'
    )
    cases = "".join(f"{i}) {body} ;; " for i, body in enumerate(bodies[:-1]))
    return f"{count}; case $n in {cases}*) {bodies[-1]} ;; esac"


def error(text, code=1):
    return f"echo {shlex.quote(text)} >&2; exit {code}"


def verbs(stage):
    """Return what each call was about."""
    known = ("create", "delete", "describe", "scp", "setup", "start", "logs", "result", "stop")
    return [
        next(verb for verb in known if verb in call or any(f"worker.sh {verb}" in a for a in call))
        for call in stage.calls()
    ]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("tpu_train", ["train", "exp", *TPU, "--bucket", "my-runs", "--spot", "--delete", *RUN]),
        ("tpu_create", ["create", "exp", *TPU, "--project", "my-project", "--autocheckpoint"]),
        ("tpu_create_now", ["create", "exp", *WHERE, "--type", "v5litepod-16", "--now"]),
        ("tpu_setup", ["setup", "exp", *WHERE]),
        ("tpu_run", ["run", "exp", *WHERE, "--", *ODD_ARGUMENTS]),
        ("tpu_logs", ["logs", "exp", *WHERE]),
        ("tpu_status", ["status", "exp", *WHERE]),
        ("tpu_stop", ["stop", "exp", *WHERE]),
        ("tpu_delete", ["delete", "exp", *WHERE]),
        ("tpu_delete_now", ["delete", "exp", *WHERE, "--now"]),
    ],
)
def test_dry_run_prints_the_commands(stage, name, arguments):
    dry = stage.run("tpu_vm.sh", arguments[0], "--dry-run", *arguments[1:])
    if dry.returncode:  # the name comes first
        dry = stage.run("tpu_vm.sh", *arguments[:2], "--dry-run", *arguments[2:])
    assert dry.returncode == 0, dry.stderr
    stage.assert_golden(name, dry.stdout)
    stage.assert_nothing_ran()


def test_a_dry_run_prints_what_is_run(stage):
    arguments = ("exp", *TPU, "--bucket", "my-runs", "--delete")
    dry = stage.run("tpu_vm.sh", "train", *arguments, "--dry-run", *RUN)
    stage.answer(
        says(
            ("describe", counted("describe", error(NOT_FOUND), "echo PROVISIONING", "echo ACTIVE")),
            (
                "worker.sh result",
                counted("result", "echo 'worker 0: none'", "echo 'worker 0: exit 0'"),
            ),
        )
    )
    ran = stage.run("tpu_vm.sh", "train", *arguments, *RUN)
    assert ran.returncode == 0, ran.stderr
    assert "exp is PROVISIONING" in ran.stderr
    printed = [shlex.split(line) for line in dry.stdout.splitlines() if line.startswith("gcloud")]
    called = stage.calls()
    # One look more at the state, and the archive's own folder.
    del called[2]
    assert [call[:5] for call in called] == [line[:5] for line in printed]
    assert [call for call in called if "scp" not in call] == [
        line for line in printed if "scp" not in line
    ]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("action", ["create", "delete", "status"])
def test_hostile_names_are_refused(stage, action, name):
    refused = stage.run("tpu_vm.sh", action, name, *TPU)
    assert refused.returncode == 2
    assert "error: " in refused.stderr
    stage.assert_nothing_ran()


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        (flag, value)
        for flag in ("--zone", "--type", "--version", "--project", "--bucket")
        for value in HOSTILE
        if value not in UNUSUAL or flag not in ("--version", "--project")
    ],
)
def test_hostile_values_of_flags_are_refused(stage, flag, value):
    refused = stage.run("tpu_vm.sh", "create", "exp", *TPU, flag, value)
    assert refused.returncode == 2
    stage.assert_nothing_ran()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "exp", *TPU], "nothing to run"),
        (["train", "exp", *WHERE, *RUN], "train wants --type"),
        (["create", "exp", "--type", "v4-8"], "create wants --zone"),
        (["crate", "exp"], "unknown action crate"),
        (["delete"], "delete wants the name"),
        (["delete", "exp", *WHERE, *RUN], "takes nothing after --"),
        (["run", "exp", *WHERE, "--", "--config", "x", "--workdir", "gs://b/x"], "mount it"),
        (["run", "exp", *WHERE, "--", "--config", "x", "--workdir=gs://b/x"], "mount it"),
        (["run", "exp", *WHERE, "--", "--config", "x", "--workdir", "runs/x"], "must be absolute"),
        (["run", "exp", *WHERE, "--", "--config", "x", "--workdir=~/x"], "must be absolute"),
        (["run", "exp", *WHERE, *RUN, "--workdir=runs/x"], "must be absolute"),
        (["run", "exp", *WHERE, *RUN, "--workdir=/home/a/vidpretrain/code/x"], "setup deletes"),
        (["run", "exp", *WHERE, *RUN, "--workdir", "/home/a/vidpretrain/code"], "setup deletes"),
        (["train", "exp", *TPU, "--bucket", "my-run", *RUN], "mounted at /mnt/my-run; give"),
        (["run", "exp", *WHERE, "--bucket", "b", *RUN, "--workdir=/mnt/b/../x"], "without .."),
    ],
)
def test_bad_arguments_are_refused(stage, arguments, message):
    refused = stage.run("tpu_vm.sh", *arguments)
    assert refused.returncode == 2
    assert message in refused.stderr
    stage.assert_nothing_ran()


def test_without_gcloud_one_message_says_what_to_do(stage):
    (stage.bin / "gcloud").unlink()
    missing = stage.run("tpu_vm.sh", "create", "exp", *TPU)
    assert missing.returncode == 69
    assert missing.stderr.count("\n") == 1
    assert "gcloud is not installed" in missing.stderr
    assert "https://cloud.google.com/sdk/docs/install" in missing.stderr


@pytest.mark.parametrize(
    ("said", "code", "calls", "advice"),
    [
        (QUOTA, 73, 1, "iam-admin/quotas"),
        (EXHAUSTED, 73, 1, "iam-admin/quotas"),
        (CAPACITY, 75, 5, "Wait in the queue"),
        (UNAVAILABLE, 1, 5, "could not be created"),
        (DENIED, 1, 1, "PERMISSION_DENIED"),
    ],
)
def test_failed_creations_are_told_apart(stage, said, code, calls, advice):
    stage.answer(error(said))
    failed = stage.run("tpu_vm.sh", "create", "exp", *TPU, "--now")
    assert failed.returncode == code
    assert verbs(stage) == ["create"] * calls
    told = failed.stderr[failed.stderr.index("\nerror: ") :]
    assert advice in told
    assert said.split(": ")[-1][:40] in told


@pytest.mark.parametrize("said", [CAPACITY, UNAVAILABLE])
def test_what_passes_is_tried_again(stage, said):
    stage.answer(
        says(("create", counted("create", error(said), error(said), ":")), otherwise="echo READY")
    )
    created = stage.run("tpu_vm.sh", "create", "exp", *TPU, "--now")
    assert created.returncode == 0
    assert verbs(stage) == ["create", "create", "create", "describe"]


def test_a_request_that_fails_for_quota_says_so(stage):
    stage.answer(says(("failedData", f"echo {shlex.quote(EXHAUSTED)}"), otherwise="echo FAILED"))
    failed = stage.run("tpu_vm.sh", "create", "exp", *TPU)
    assert failed.returncode == 73
    assert "TPUV5sPreemptibleLitepod" in failed.stderr


def train(stage, *rules, flags=()):
    stage.answer(says(*rules))
    return stage.run("tpu_vm.sh", "train", "exp", *TPU, *flags, *RUN)


def test_preempted_a_run_goes_on_on_another_tpu(stage):
    trained = train(
        stage,
        # Made, trained on, then taken away in the middle of the log.
        (
            "describe",
            counted(
                "describe", error(NOT_FOUND), "echo ACTIVE", "echo SUSPENDED", "echo SUSPENDED",
                "echo ACTIVE",
            ),
        ),
        (
            "result",
            counted(
                "result", "echo 'worker 0: none'", *[error("ssh: connect timed out", 255)] * 5,
                "echo 'worker 0: none'", "echo 'worker 0: exit 0'",
            ),
        ),
        ("worker.sh logs", counted("logs", error("Connection closed", 255), "echo '[0] done'")),
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    assert "exp is SUSPENDED: asking for another" in trained.stderr
    assert "restart" not in trained.stderr
    assert verbs(stage).count("create") == 2
    stage.assert_golden("tpu_preempted")


def test_a_lost_connection_only_follows_again(stage):
    running = "echo 'worker 0: running'"
    trained = train(
        stage,
        ("describe", "echo ACTIVE"),
        ("result", counted("result", running, running, "echo 'worker 0: exit 0'")),
        ("worker.sh logs", counted("logs", error("Connection reset", 255), ":")),
    )
    assert trained.returncode == 0
    assert verbs(stage) == [
        *["describe", "describe", "result", "logs", "result", "logs", "result"],
    ]


@pytest.mark.parametrize(
    ("ends", "code", "starts"),
    [
        (["exit 1", "exit 1", "exit 1"], 1, 3),
        (["exit 2"], 2, 1),
        (["exit 134", "exit 0"], 0, 2),
        (["exit 75", "exit 75", "exit 75", "exit 75", "exit 0"], 0, 5),
        (["stopped"], 75, 1),
        (["lost", "exit 0"], 0, 2),
    ],
)
def test_a_run_that_ends_badly_is_started_again(stage, ends, code, starts):
    answers = [f"printf 'worker 0: exit 0\\nworker 1: {end}\\n'" for end in ends]
    both = [a for answer in answers for a in ("echo 'worker 0: none'", answer)]
    trained = train(
        stage,
        ("describe", "echo ACTIVE"),
        ("worker.sh result", counted("result", *both)),
        flags=["--restarts", "2"],
    )
    assert trained.returncode == code, trained.stderr
    assert verbs(stage).count("start") == starts


def test_keys_that_are_not_there_yet_are_waited_for(stage):
    stage.answer(says(("scp", counted("scp", error(KEYS, 255), ":"))))
    assert stage.run("tpu_vm.sh", "setup", "exp", *WHERE).returncode == 0
    assert verbs(stage) == ["scp", "scp", "setup"]


# A gcloud whose TPU is this machine: it copies, and runs commands as a shell there would.
HERE = """
for argument in "$@"; do
  case $argument in
    --command=*) cd "$HOME" && exec bash -c "${argument#--command=}" ;;
    *.tar.gz) [[ $argument == *:* ]] || cp -- "$argument" "$HOME/vidpretrain.tar.gz" ;;
  esac
done
"""


@pytest.fixture
def worker(stage):
    """A worker with a stub for uv, whose Python records what it is given."""
    stage.answer(HERE)
    stage.add("hostname", "echo t1v-n-0abc-w-3")
    uv = stage.home / ".local" / "bin" / "uv"
    uv.parent.mkdir(parents=True)
    python = stage.home / "recording-python"
    python.write_text(
        "#!/usr/bin/env bash\n"
        """printf '%s\\0' "$@" >"$HOME/arguments"\n"""
        "echo training\n"
        """trap 'echo saved; exit 75' TERM\n"""
        """while [[ -e $HOME/busy ]]; do sleep 0.05; done\n"""
        """exit "$(cat "$HOME/code" 2>/dev/null || echo 0)"\n"""
    )
    uv.write_text(
        "#!/usr/bin/env bash\n"
        """if [[ $1 == venv ]]; then mkdir -p "${!#}/bin"; """
        """cp "$HOME/recording-python" "${!#}/bin/python"; chmod +x "${!#}/bin/python"; fi\n"""
        """echo "$*" >>"$HOME/uv"\n"""
    )
    for path in (python, uv):
        path.chmod(0o755)
    return stage


def remote(stage, action, *arguments, **environment):
    return stage.run("tpu_vm.sh", action, "exp", *WHERE, *arguments, **environment)


def test_a_worker_gets_the_code_and_the_very_arguments(worker):
    assert remote(worker, "setup").returncode == 0
    code = worker.home / "vidpretrain" / "code"
    assert (code / "vidpretrain" / "main.py").exists()
    assert (code / "launch" / "worker.sh").exists()
    assert not (code / ".git").exists()
    assert "requirements-tpu.txt" in (worker.home / "uv").read_text()

    ran = remote(worker, "run", "--", *ODD_ARGUMENTS)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "[3] training\n"
    given = (worker.home / "arguments").read_bytes().decode().split("\0")[:-1]
    assert given == ["-m", "vidpretrain.main", *ODD_ARGUMENTS, "--distributed"]
    worker.assert_harmless()


def test_a_worker_tells_how_the_run_ended(worker):
    remote(worker, "setup")
    assert "worker 3: none" in remote(worker, "status").stdout
    (worker.home / "code").write_text("70")
    assert remote(worker, "run", *RUN).returncode == 70
    assert "worker 3: exit 70" in remote(worker, "status").stdout
    # After a reboot some other process, here this one, may have the number.
    (worker.home / "vidpretrain" / "exit").unlink()
    (worker.home / "vidpretrain" / "pid").write_text(str(os.getpid()))
    assert "worker 3: lost" in remote(worker, "status").stdout


def test_a_run_outlives_the_connection_and_can_be_stopped(worker):
    remote(worker, "setup")
    (worker.home / "busy").touch()
    started = subprocess.Popen(
        [LAUNCH / "tpu_vm.sh", "run", "exp", *WHERE, *RUN],
        env=worker.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert started.stdout.readline() == "[3] training\n"
    os.killpg(started.pid, 9)
    started.communicate()
    assert "worker 3: running" in remote(worker, "status").stdout
    start = time.monotonic()
    assert remote(worker, "stop").returncode == 0
    assert time.monotonic() - start < 20
    assert "worker 3: stopped" in remote(worker, "status").stdout
    assert "saved" in remote(worker, "logs").stdout


def test_a_bucket_is_mounted_before_the_run_starts(worker):
    remote(worker, "setup")
    worker.add("mountpoint", "exit 1")
    worker.add("sudo", 'echo sudo "$@" >>"$HOME/mounts"')
    worker.add("gcsfuse", 'echo gcsfuse "$@" >>"$HOME/mounts"')
    assert remote(worker, "run", "--bucket", "my-runs", *RUN).returncode == 0
    mounts = (worker.home / "mounts").read_text()
    assert "sudo mkdir -p /mnt/my-runs" in mounts
    assert mounts.endswith(" my-runs /mnt/my-runs\n")
