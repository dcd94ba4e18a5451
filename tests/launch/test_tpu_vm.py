# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Cloud TPUs: commands against golden files, failures in gcloud's own words, a worker that runs."""

import os
import shlex
import shutil
import signal
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
OFFLINE = (
    "ERROR: (gcloud.compute.tpus.queued-resources.create) There was a problem refreshing your "
    "current auth tokens: HTTPSConnectionPool(host='oauth2.googleapis.com', port=443): Max "
    "retries exceeded with url: /token"
)
KEYS = "ada@10.0.0.2: Permission denied (publickey)."
DENIED = "ERROR: (gcloud.compute.tpus) PERMISSION_DENIED: The caller does not have permission"
NOT_FOUND = "ERROR: (gcloud.compute.tpus.queued-resources.describe) NOT_FOUND: Resource not found"
EXISTS = (
    "ERROR: (gcloud.compute.tpus.queued-resources.create) ALREADY_EXISTS: Resource "
    "'projects/p/locations/us-central2-b/queuedResources/exp' already exists"
)
REFUSED = (
    "ERROR: (gcloud.compute.tpus.queued-resources.delete) FAILED_PRECONDITION: the queued resource "
    "is being suspended"
)
REMINDER = "and costs, until: launch/tpu_vm.sh delete exp --zone us-central2-b\n"


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
        (["create", "exp", *WHERE, "--type", "v5e-16"], "calls it v5litepod-16"),
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


@pytest.mark.parametrize("said", [CAPACITY, UNAVAILABLE, OFFLINE])
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
                error(NOT_FOUND), "echo ACTIVE",
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


def states(*names):
    """Answer for each look in turn, the last for all that follow; None: there is no such TPU."""
    said = [f"echo {name}" if name else error(NOT_FOUND) for name in names]
    return ("value(state", counted("describe", *said))


DONE = ("result", counted("result", "echo 'worker 0: none'", "echo 'worker 0: exit 0'"))


@pytest.mark.parametrize(
    ("seen", "creations", "deletions"),
    [
        ([None, "WAITING_FOR_RESOURCES", "PROVISIONING", "SUSPENDED", None, "ACTIVE"], 2, 1),
        ([None, "ACCEPTED", "FAILED", None, "CREATING", "ACTIVE"], 2, 1),
        ([None, "PROVISIONING", "DELETING", None, "ACTIVE"], 2, 0),
        (["SUSPENDING", "SUSPENDING", "SUSPENDED", "DELETING", None, "ACTIVE"], 1, 1),
        (["DELETING", None, "ACTIVE"], 1, 0),
        (["FAILED", None, "ACTIVE"], 1, 1),
        (["PROVISIONING", "ACTIVE"], 0, 0),
    ],
)
def test_train_gets_a_tpu_whatever_state_it_finds(stage, seen, creations, deletions):
    trained = train(stage, ("failedData", "echo 'no chips'"), states(*seen), DONE)
    assert trained.returncode == 0, trained.stderr
    called = verbs(stage)
    assert (called.count("create"), called.count("delete")) == (creations, deletions)
    # Nothing is deleted that is on its way out, and nothing asked for before it is gone.
    assert sum("--format=value(state.state)" in call for call in stage.calls()) == len(seen)


def test_a_tpu_without_a_queue_is_replaced_too(stage):
    seen = ("READY", "READY", "STOPPING", "PREEMPTED", None, "CREATING", "REPAIRING", "READY")
    ended = [f"echo 'worker 0: {at}'" for at in ("none", "lost", "none", "exit 0")]
    flags = ["--now", "--restarts", "1"]
    trained = train(stage, states(*seen), ("result", counted("result", *ended)), flags=flags)
    assert trained.returncode == 0, trained.stderr
    assert "restart 1 of 1" in trained.stderr
    assert [call[3:5] for call in stage.calls() if "delete" in call] == [["tpu-vm", "delete"]]
    assert verbs(stage).count("start") == 2


def test_a_refused_deletion_is_tried_again(stage):
    trained = train(
        stage,
        states("SUSPENDED", "SUSPENDED", "SUSPENDED", None, "ACTIVE"),
        ("delete", counted("delete", error(REFUSED), error(REFUSED), ":")),
        DONE,
    )
    assert trained.returncode == 0, trained.stderr
    assert verbs(stage)[:8] == [*["describe", "delete"] * 3, "describe", "create"]


def test_a_tpu_that_cannot_be_deleted_ends_the_training(stage):
    failed = train(stage, states("SUSPENDED"), ("delete", error(REFUSED)))
    assert failed.returncode == 1
    assert verbs(stage).count("delete") == 5
    assert "exp cannot be deleted" in failed.stderr
    assert "counts against the quota, until: launch/tpu_vm.sh delete exp" in failed.stderr


def test_requests_that_fail_again_and_again_end_the_training(stage):
    failed = train(
        stage,
        ("failedData", "echo 'The reservation is gone.'"),
        states(*[None, "FAILED"] * 3),
        flags=["--restarts", "2"],
    )
    assert failed.returncode == 75
    assert verbs(stage).count("create") == 3
    assert "error: the request for exp failed: The reservation is gone." in failed.stderr


def test_a_request_that_fails_for_quota_ends_the_training(stage):
    failed = train(stage, ("failedData", f"echo {shlex.quote(EXHAUSTED)}"), states(None, "FAILED"))
    assert failed.returncode == 73
    assert verbs(stage).count("create") == 1


@pytest.mark.parametrize("action", ["create", "train"])
@pytest.mark.parametrize(
    ("seen", "message"),
    [
        ("echo", "the state of exp cannot be read, or is none that is known (nothing)"),
        ("echo HOVERING", "is none that is known (HOVERING)"),
        ("echo WARNING: old; echo ACTIVE", "the state of exp cannot be read"),
        (error(UNAVAILABLE), "the state of exp cannot be read"),
        ("echo STOPPED", "gcloud compute tpus tpu-vm start exp --zone=us-central2-b"),
    ],
)
def test_states_that_lead_nowhere_end_the_wait(stage, action, seen, message):
    stage.answer(says(("describe", seen), otherwise=":"))
    ended = stage.run("tpu_vm.sh", action, "exp", *TPU, *(RUN if action == "train" else ()))
    assert ended.returncode == 1
    assert message in ended.stderr
    assert verbs(stage).count("describe") <= 5
    assert ended.stderr.endswith(REMINDER)


def test_one_unread_state_is_no_matter(stage):
    unread = [error(UNAVAILABLE)] * 4
    described = counted("d", *unread, "echo PROVISIONING", *unread, "echo ACTIVE")
    assert train(stage, ("describe", described), DONE).returncode == 0


def test_a_creation_whose_answer_was_lost_is_taken_as_one(stage):
    made = counted("create", error(UNAVAILABLE), error(EXISTS))
    trained = train(stage, ("create", made), states(None, "PROVISIONING", "ACTIVE"), DONE)
    assert trained.returncode == 0, trained.stderr
    assert verbs(stage).count("create") == 2


def test_a_name_that_is_taken_is_told(stage):
    stage.answer(says(("create", error(EXISTS))))
    failed = stage.run("tpu_vm.sh", "create", "exp", *TPU, "--project", "p")
    assert failed.returncode == 1
    assert verbs(stage) == ["create"]
    for action in ("status", "delete"):
        assert f"launch/tpu_vm.sh {action} exp --zone us-central2-b --project p" in failed.stderr


@pytest.mark.parametrize("action", ["create", "train", "setup", "status", "delete"])
def test_without_permission_it_ends_at_once(stage, action):
    stage.answer(error(DENIED))
    flags = {"create": TPU, "train": (*TPU, *RUN)}.get(action, WHERE)
    failed = stage.run("tpu_vm.sh", action, "exp", *flags)
    assert failed.returncode == 1
    assert len(stage.calls()) == 1
    told = failed.stderr[failed.stderr.index("error: Google refuses it") :]
    for advice in (DENIED, "gcloud auth login", "--project", "roles/tpu.admin"):
        assert advice in told


@pytest.mark.parametrize(
    ("end", "flags", "deleted"),
    [
        ("exit 0", [], False),
        ("exit 0", ["--delete"], True),
        ("exit 2", [], False),
        ("exit 2", ["--delete"], True),
        ("exit 1", ["--delete", "--restarts", "0"], False),
        ("lost", ["--delete", "--restarts", "0"], False),
        ("stopped", ["--delete"], False),
    ],
)
def test_what_still_costs_is_named_in_the_end(stage, end, flags, deleted):
    result = counted("result", "echo 'worker 0: none'", f"echo 'worker 0: {end}'")
    ended = train(stage, states("ACTIVE"), ("result", result), flags=flags)
    assert ("delete" in verbs(stage)) == deleted
    assert ended.stderr.endswith("exp stays (ACTIVE when last seen), " + REMINDER) != deleted
    assert ("stays" in ended.stderr) != deleted


def test_what_will_cost_is_named(stage):
    described = counted("d", error(NOT_FOUND), "echo PROVISIONING", error(DENIED))
    ended = train(stage, ("describe", described))
    assert "exp stays (PROVISIONING when last seen), and costs once it is there" in ended.stderr
    assert ended.stderr.endswith("until: launch/tpu_vm.sh delete exp --zone us-central2-b\n")


def test_what_may_have_been_created_is_named(stage):
    stage.answer(error(UNAVAILABLE))
    ended = stage.run("tpu_vm.sh", "create", "exp", *TPU)
    assert ended.stderr.endswith("exp stays (asked for when last seen), " + REMINDER)


@pytest.mark.parametrize("said", [QUOTA, CAPACITY, DENIED])
def test_what_was_not_created_does_not_cost(stage, said):
    stage.answer(says(("create", error(said)), otherwise=error(NOT_FOUND)))
    assert "stays" not in stage.run("tpu_vm.sh", "train", "exp", *TPU, *RUN).stderr


def test_interrupted_it_says_what_goes_on(stage):
    stage.answer(
        says(
            states("ACTIVE"),
            ("result", "echo 'worker 0: running'"),
            ("worker.sh logs", "echo following; exec sleep 60"),
        )
    )
    training = subprocess.Popen(
        [LAUNCH / "tpu_vm.sh", "train", "exp", *TPU, *RUN],
        env=stage.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A test run in the background ignores it, and a shell cannot undo that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert training.stdout.readline() == "following\n"
    os.killpg(training.pid, signal.SIGINT)
    assert training.communicate(timeout=20)[1].endswith(REMINDER)


@pytest.mark.parametrize("action", ["delete", "status"])
def test_a_tpu_without_a_request_is_found(stage, action):
    stage.answer(says(("queued-resources", error(NOT_FOUND)), ("describe", "echo READY")))
    assert stage.run("tpu_vm.sh", action, "exp", *WHERE).returncode == 0
    asked = [call[3] for call in stage.calls() if "ssh" not in call]
    assert asked == ["queued-resources", "tpu-vm"]


def test_what_is_nowhere_cannot_be_deleted(stage):
    stage.answer(error(NOT_FOUND))
    assert stage.run("tpu_vm.sh", "delete", "exp", *WHERE).returncode == 1


@pytest.mark.parametrize(
    ("accelerator", "software"),
    [
        ("v3-8", "tpu-ubuntu2204-base"),
        ("v5litepod-16", "v2-alpha-tpuv5-lite"),
        ("v5p-8", "v2-alpha-tpuv5"),
        ("v6e-8", "v2-alpha-tpuv6e"),
    ],
)
def test_types_get_their_software(stage, accelerator, software):
    dry = stage.run("tpu_vm.sh", "create", "exp", *WHERE, "--type", accelerator, "--dry-run")
    assert f"--runtime-version={software} " in dry.stdout


def test_a_type_without_known_software_wants_a_version(stage):
    unknown = ("create", "exp", *WHERE, "--type", "v9x-8", "--dry-run")
    refused = stage.run("tpu_vm.sh", *unknown)
    assert (refused.returncode, "give --version" in refused.stderr) == (2, True)
    assert "--runtime-version=v9 " in stage.run("tpu_vm.sh", *unknown, "--version", "v9").stdout


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
        *["describe", "result", "logs", "result", "logs", "result"],
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
[[ $* != *describe* ]] || echo ACTIVE
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
    # What a worker keeps open here would otherwise be waited for without end.
    started.communicate(timeout=60)
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


LOCKED = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 1234 (apt-get)"


def machine_with_apt(worker, *updates):
    """A worker without gcsfuse, whose apt-get does these things at each update in turn."""
    worker.add("mountpoint", "exit 1")
    worker.add("curl", "echo key")
    worker.add("lsb_release", "echo jammy")
    worker.add(
        "sudo",
        f"""STUB_DIR=$HOME
        echo "$*" >>"$HOME/asked"
        case $* in
          *" update") {counted("updates", *updates)} ;;
          *" install gcsfuse") ln -s {shutil.which("true")} {worker.bin / "gcsfuse"} ;;
          tee*) cat >/dev/null ;;
        esac""",
    )


def test_gcsfuse_is_installed_after_waiting_for_other_updates(worker):
    remote(worker, "setup")
    machine_with_apt(worker, error(LOCKED, 100), error(LOCKED, 100), ":")
    ran = remote(worker, "run", "--bucket", "my-runs", *RUN)
    assert ran.returncode == 0, ran.stderr
    apt = [line for line in (worker.home / "asked").read_text().splitlines() if "apt-get" in line]
    assert [line.split()[-1] for line in apt] == ["update"] * 3 + ["gcsfuse"]
    for line in apt:
        assert line.startswith("env DEBIAN_FRONTEND=noninteractive apt-get ")
        assert "-o DPkg::Lock::Timeout=600" in line


def test_other_errors_of_apt_are_told_at_once(worker):
    remote(worker, "setup")
    machine_with_apt(worker, error("E: The repository is not signed.", 100))
    failed = remote(worker, "run", "--bucket", "my-runs", *RUN)
    assert failed.returncode != 0
    assert "The repository is not signed." in failed.stderr
    assert (worker.home / "asked").read_text().count("update") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["start", "--bucket"], "--bucket wants a value"),
        (["start", "--bucket", "a b", "--"], "the bucket's name alone"),
        (["start"], "start [--bucket B] -- MAIN_ARGS"),
        (["begin"], "unknown action begin"),
    ],
)
def test_bad_arguments_of_a_worker_are_refused(stage, arguments, message):
    refused = stage.run("worker.sh", *arguments)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert "line" not in refused.stderr


def test_a_log_without_a_run_is_shown(worker):
    remote(worker, "setup")
    base = worker.home / "vidpretrain"
    assert remote(worker, "logs").stdout == ""
    (base / "log.txt").write_text("begun\n")
    shown = remote(worker, "logs")
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, "[3] begun\n", "")
