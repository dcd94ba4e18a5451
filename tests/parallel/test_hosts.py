# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""How processes join, agree, and lose each other; signals are in tests/test_signals.py."""

import math
import signal
import socket
import time

import jax
import pytest

from tests import faults, runs, windows
from tests.runs import MICRO
from vidpretrain import main as entry
from vidpretrain import parallel
from vidpretrain.parallel import hosts
from vidpretrain.train.identity import identity

SLURM = runs.slurm_environments(2)[0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"coordinator": "localhost:1"}, "give all three, or none"),
        ({"process_id": 1}, "give all three, or none"),
        ({"coordinator": "localhost", "num_processes": 2, "process_id": 0}, "HOST:PORT"),
        ({"coordinator": "localhost:1", "num_processes": 2, "process_id": 2}, "process_id=2 of"),
        ({"coordinator": "localhost:1", "num_processes": 0, "process_id": 0}, "num_processes=0"),
        ({"coordinator": ":1", "num_processes": 1, "process_id": 0}, "HOST:PORT"),
        ({"coordinator": "h:65536", "num_processes": 1, "process_id": 0}, "HOST:PORT"),
        ({"heartbeat_sec": 0.0}, "heartbeat_sec=0.0"),
        ({"coordinator": "a..b:1", "num_processes": 2, "process_id": 1}, "no host's name"),
        ({"heartbeat_sec": math.nan}, "heartbeat_sec=nan"),
        ({"join_sec": math.inf}, "join_sec=inf; it must be positive, and at most"),
        ({"distributed": "atuo"}, "did you mean 'auto'"),
        (
            {"coordinator": "h:1", "num_processes": 1, "process_id": 0, "distributed": "off"},
            "--distributed=off, but --coordinator=h:1",
        ),
    ],
)
def test_processes_that_cannot_be_told_apart_are_refused(given, message):
    with pytest.raises(parallel.JoinError, match=message):
        parallel.join(**given)


@pytest.mark.parametrize(
    "flags", [["--process_id", "1"], ["--coordinator", "localhost:1", "--num_processes", "2"]]
)
def test_half_of_the_flags_is_bad_input(tmp_path, capsys, flags):
    arguments = ["--config", MICRO, "--workdir", str(tmp_path / "run"), *flags]
    assert entry.main(arguments) == entry.EXIT_BAD_INPUT
    assert "coordinator" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_alone_a_process_is_the_first():
    assert parallel.is_first_process()


@pytest.mark.parametrize(
    ("environment", "launcher"),
    [
        ({}, None),
        (SLURM, "Slurm"),
        # In a batch script, or a shell on an allocation's node: not started by srun.
        ({k: v for k, v in SLURM.items() if k != "SLURM_STEP_NODELIST"}, None),
        ({"OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:1"}, "Open MPI"),
        ({**SLURM, "OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:1"}, "Open MPI"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, None),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"}, "Kubernetes"),
        ({"TPU_ML_PLATFORM": "JAX"}, "Cloud TPU"),
        ({"TPU_ML_PLATFORM": "JAX", "JAX_PLATFORMS": "tpu,cpu"}, "Cloud TPU"),
        ({"TPU_ML_PLATFORM": "JAX", "JAX_PLATFORMS": "cpu"}, None),
    ],
)
def test_launchers_are_told_by_their_environment(environment, launcher):
    assert parallel.find_launcher(environment) == launcher


@pytest.fixture
def initialized(monkeypatch):
    """Return the calls of `jax.distributed.initialize`, which are not made."""
    calls = []
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *a, **k: calls.append((a, k)))
    monkeypatch.setattr(hosts, "_free_port", lambda: 1234)
    monkeypatch.setattr(hosts, "_await_coordinator", lambda *_: None)
    return calls


@pytest.mark.parametrize(
    ("environment", "options", "expected"),
    [
        ({}, {}, None),
        ({}, {"distributed": "on"}, (None, None, None)),
        (SLURM, {}, (None, None, None)),
        (SLURM, {"distributed": "off"}, None),
        # The allocation has two tasks, but this step, an interactive shell, is one.
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "1"}, {}, ("localhost:1234", 1, 0)),
        (
            SLURM,
            {"coordinator": "h:1", "num_processes": 2, "process_id": 1},
            ("h:1", 2, 1),
        ),
    ],
)
def test_a_run_joins_where_it_should(monkeypatch, initialized, environment, options, expected):
    monkeypatch.setattr(hosts.os, "environ", environment)
    assert parallel.join(**options) == (expected is not None)
    assert [args for args, _ in initialized] == ([expected] if expected else [])
    for args, keywords in initialized:
        asks = keywords["cluster_detection_method"] is None
        assert asks == (args[0] is None)


def test_a_launcher_that_does_not_tell_enough_is_an_error(monkeypatch):
    def initialize(*_, **__):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    monkeypatch.setattr(hosts.os, "environ", SLURM)
    with pytest.raises(parallel.JoinError, match="--distributed=off to train alone"):
        parallel.join()
    # A machine with chips that belong to no slice trains alone.
    monkeypatch.setattr(hosts.os, "environ", {"TPU_ML_PLATFORM": "JAX"})
    assert not parallel.join()


def gathered(monkeypatch, others):
    """Have the process be the first of several, of which the others give texts in turn."""
    turns = iter(others)
    monkeypatch.setattr(parallel.agreement, "gather_texts", lambda text: [text, *next(turns)])


def test_what_differs_is_told_with_who_has_it(monkeypatch):
    gathered(monkeypatch, [["x", "x"], ['{"seed": 0, "a": 1}', '{"seed": 3, "a": 1}']])
    with pytest.raises(parallel.DisagreementError) as error:
        parallel.require_same({"seed": 0, "a": 1, "b": "new"})
    assert str(error.value).splitlines()[1:-1] == [
        "  b: 'new' on process 0; 'absent' on process 1, 2",
        "  seed: 0 on process 0, 1; 3 on process 2",
    ]


def test_what_fails_on_one_process_fails_on_all(monkeypatch):
    gathered(monkeypatch, [["", "!no such file"], ["?no such field", ""], ["", ""], ["", ""]])
    with pytest.raises(parallel.PeerError, match="process 2 cannot go on: no such file") as error:
        parallel.together(lambda: 1)
    assert not error.value.bad_input
    with pytest.raises(parallel.PeerError, match="process 1 cannot go on: no such field") as error:
        parallel.together(lambda: 1)
    assert error.value.bad_input
    assert parallel.together(lambda: 1) == 1
    with pytest.raises(OSError, match="mine"):
        parallel.together(lambda: (_ for _ in ()).throw(OSError("mine")))


def test_a_run_is_known_by_its_configuration_code_and_libraries():
    facts = identity({"stage": {"seed": 1, "optim": {"frozen": ("a",)}}})
    assert facts["config.stage.seed"] == 1
    assert facts["config.stage.optim.frozen"] == ["a"]
    assert len(facts["source vidpretrain/train/identity.py"]) == 12
    assert facts["version of jax"] == jax.__version__


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("cache")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def ends(running):
    said = [process.communicate(timeout=300)[1] for process in running]
    return [process.returncode for process in running], said


def start_both(folders, overrides=((), ()), recipes=(MICRO, MICRO), **environment):
    """Start two processes of one run with a command line each."""
    address = f"localhost:{runs.free_port()}"
    running = []
    for i in range(2):
        joining = ["--coordinator", address, "--num_processes", 2, "--process_id", i]
        arguments = [*joining, *overrides[i]]
        running += runs.start(folders[i], *arguments, recipe=recipes[i], **environment)
    return running


def test_processes_with_different_configurations_end_with_what_differs(tmp_path):
    seeds = [[f"--config.finetuned.seed={seed}"] for seed in (5, 6)]
    codes, said = ends(start_both([tmp_path / "run"] * 2, seeds))
    assert codes == [entry.EXIT_BAD_INPUT] * 2, said
    assert all("config.finetuned.seed: 5 on process 0; 6 on process 1" in text for text in said)
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_is_bad_on_one_host_ends_all(tmp_path):
    overrides = [[], ["--config.finetuned.sead=1"]]
    codes, said = ends(start_both([tmp_path / "run"] * 2, overrides))
    assert codes == [entry.EXIT_BAD_INPUT] * 2, said
    assert "process 1 cannot go on: unknown field config.finetuned.sead" in said[0]
    assert "error: unknown field config.finetuned.sead" in said[1]


def test_a_working_folder_that_is_not_shared_is_refused(tmp_path):
    (tmp_path / "1").mkdir()
    codes, said = ends(start_both([tmp_path / "0", tmp_path / "1"]))
    assert codes == [entry.EXIT_BAD_INPUT] * 2, said
    assert all("is not the folder that process 0 has" in text for text in said)
    assert not list((tmp_path / "0").glob(".shared*"))
    assert not list((tmp_path / "1").iterdir())


HEARTBEAT_SEC = 5


def start_with_faults(workdir, environment, *kinds, heartbeat_sec=60):
    recipes = [f"{faults.__file__}:fault={kind}" for kind in kinds]
    options = [["--heartbeat_sec", str(heartbeat_sec)]] * 2
    return start_both([workdir] * 2, options, recipes, **environment)


def test_processes_with_different_weights_end_with_what_differs(tmp_path, environment):
    codes, said = ends(start_with_faults(tmp_path, environment, "", "weights"))
    assert codes == [entry.EXIT_BAD_INPUT] * 2, said
    assert all("weights of scratch before training, from its seed" in text for text in said)


def test_a_process_that_fails_alone_says_so_and_keeps_nobody(tmp_path, environment):
    running = start_with_faults(tmp_path, environment, "", "reader")
    said = running[1].communicate(timeout=300)[1]
    failed = time.monotonic()
    assert running[1].returncode == entry.EXIT_FAILED, said
    assert "a mistake of this process alone" in said
    said = running[0].communicate(timeout=300)[1]
    assert time.monotonic() - failed < 30, "it waited for a heartbeat, of 60 s"
    assert running[0].returncode in (entry.EXIT_PEER_LOST, -signal.SIGABRT), said


@pytest.mark.parametrize(
    "kinds", [("", "start"), ("start", ""), pytest.param(("end", ""), marks=pytest.mark.long)]
)
def test_what_fails_on_one_process_ends_all_with_its_code(tmp_path, environment, kinds):
    running = start_with_faults(tmp_path / "run", environment, *kinds)
    begun = time.monotonic()
    codes, said = ends(running)
    assert codes == [entry.EXIT_FAILED] * 2, said
    failed = kinds.index("") ^ 1
    assert "error: no space left on the device" in said[failed]
    assert f"process {failed} cannot go on: no space left on the device" in said[1 - failed]
    assert time.monotonic() - begun < 55, "nobody was waited for"


@pytest.mark.long
def test_a_report_may_take_longer_than_a_heartbeat(tmp_path, environment):
    assert faults.SLOW_SEC > HEARTBEAT_SEC
    codes, said = ends(
        start_with_faults(tmp_path, environment, "report", "", heartbeat_sec=HEARTBEAT_SEC)
    )
    assert codes == [0, 0], said
    assert (tmp_path / "curves.png").exists()


def start_one(workdir, address, process_id, *flags):
    joining = ["--coordinator", address, "--num_processes", 2, "--process_id", process_id]
    return runs.start(workdir, *joining, *flags)[0]


@pytest.mark.parametrize(
    ("process_id", "message"),
    [
        (0, "the other processes did not join in 3 s"),
        (1, "process 0 could not be reached at localhost"),
    ],
)
def test_one_that_waits_in_vain_says_for_whom(tmp_path, process_id, message):
    address = f"localhost:{runs.free_port()}"
    alone = start_one(tmp_path / "run", address, process_id, "--join_sec", "3")
    said = alone.communicate(timeout=60)[1]
    assert alone.returncode == entry.EXIT_FAILED, said
    assert message in said
    assert not (tmp_path / "run").exists()


def test_a_bad_recipe_is_told_before_the_others_are_waited_for(tmp_path):
    address, bad = f"localhost:{runs.free_port()}", "--config.finetuned.sead=1"
    alone = start_one(tmp_path / "run", address, 0, "--join_sec", "3", bad)
    said = alone.communicate(timeout=60)[1]
    assert alone.returncode == entry.EXIT_BAD_INPUT, said
    assert said.startswith("error: unknown field config.finetuned.sead")


def test_a_second_process_0_is_refused(tmp_path):
    with socket.create_server(("", 0)) as taken:
        address = f"localhost:{taken.getsockname()[1]}"
        second = start_one(tmp_path / "run", address, 0)
        said = second.communicate(timeout=60)[1]
    assert second.returncode == entry.EXIT_FAILED, said
    assert "another process was started as process_id=0" in said


@pytest.mark.parametrize("process_id", [0, pytest.param(1, marks=pytest.mark.long)])
def test_a_signal_ends_what_waits_for_the_others(tmp_path, process_id):
    alone = start_one(tmp_path / "run", f"localhost:{runs.free_port()}", process_id)
    for line in alone.stderr:
        if "waiting for" in line:
            break
    alone.send_signal(signal.SIGTERM)
    sent = time.monotonic()
    said = alone.communicate(timeout=60)[1]
    assert alone.returncode == entry.EXIT_INTERRUPTED, said
    assert time.monotonic() - sent < 5
    assert "ending; nothing was begun" in said


@pytest.fixture(scope="module")
def start(environment):
    """Return a function that starts two processes as Slurm does."""

    def start(workdir, window=""):
        recipe = f"{windows.__file__}:window={window}" if window else windows.__file__
        options = {"num_processes": 2, "slurm": True, "heartbeat_sec": HEARTBEAT_SEC}
        return runs.start(workdir, recipe=recipe, **options, **environment)

    return start


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    codes, said = ends(start(workdir))
    assert codes == [0, 0], said
    return workdir / "scratch"


@pytest.mark.parametrize(
    ("lose", "victim"),
    [
        (signal.SIGKILL, 1),
        # Whom connections do not tell of, only heartbeats do.
        *(
            pytest.param(lose, victim, marks=pytest.mark.long)
            for lose, victim in [(signal.SIGKILL, 0), (signal.SIGSTOP, 0), (signal.SIGSTOP, 1)]
        ),
    ],
)
def test_the_loss_of_a_process_ends_the_other_and_nothing_is_lost(
    tmp_path, start, whole, lose, victim
):
    running = start(tmp_path, window="training")
    for line in running[0].stderr:
        if windows.SIGNS["training"] in line:
            break
    running[victim].send_signal(lose)
    lost = time.monotonic()
    survivor = running[1 - victim]
    _, said = survivor.communicate(timeout=300)
    assert time.monotonic() - lost < HEARTBEAT_SEC + 5, said
    assert survivor.returncode in (entry.EXIT_PEER_LOST, -signal.SIGABRT), said
    running[victim].kill()
    running[victim].communicate()

    codes, said = ends(start(tmp_path))
    assert codes == [0, 0], said
    assert "resumed at step" in said[0]
    again = tmp_path / "scratch"
    assert runs.state_bytes(again) == runs.state_bytes(whole)
    assert runs.losses(again) == runs.losses(whole)
    assert runs.scores(again) == runs.scores(whole)
