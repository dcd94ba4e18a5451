# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The account of a run's time: by hand under a fake clock, and of a whole run killed twice."""

import json
import threading
import time

import jax
import pytest

from tests.runs import MICRO, start
from vidpretrain import main as entry
from vidpretrain.convert.folder import list_steps
from vidpretrain.train.goodput import FILE, KINDS, Goodput, Mark, Run, account, go_back, read_runs

BACKEND = "/jax/core/compile/backend_compile_duration"
TRACE = "/jax/core/compile/jaxpr_trace_duration"


class Clock:
    """Tells the time it is set to; 1970 was 1000 s before it began."""

    now = 0.0

    def __call__(self):
        return self.now

    def unix(self):
        return 1000.0 + self.now

    def goodput(self, **options):
        return Goodput(clock=self, unix_time=self.unix, record_sec=1e6, **options)


class Result:
    """Stands for an array that a device computes until it is told that it is done."""

    def __init__(self):
        self.done = threading.Event()

    def block_until_ready(self):
        assert self.done.wait(60)


def seconds(**given):
    return {**dict.fromkeys(KINDS, 0.0), **given}


def test_every_second_goes_to_the_innermost_kind():
    clock = Clock()
    clock.now = 3.0
    goodput = clock.goodput(since=1.0)  # 2 s of start
    clock.now = 4.0  # 1 s more
    with goodput.on("step"):
        clock.now = 9.0  # 5 s of step
        with goodput.on("evaluation"):
            clock.now = 11.0
        clock.now = 12.0  # 1 s more
        with pytest.raises(KeyError), goodput.on("checkpoint"):
            clock.now = 12.5
            raise KeyError
    clock.now = 16.0  # 3.5 s more of start
    (run,) = goodput.runs()
    assert run.seconds == seconds(start=6.5, step=6.0, evaluation=2.0, checkpoint=0.5)
    assert run.began == 1001.0
    assert run.last_record == 1016.0


def test_compilations_are_taken_out_of_what_they_happen_in_and_count_once():
    clock = Clock()
    with clock.goodput() as goodput, goodput.on("step"):
        goodput.begin("tune", 0)
        clock.now = 5.0
        jax.monitoring.record_event_duration_secs(TRACE, 2.0)  # from 3 to 5
        clock.now = 6.0
        jax.monitoring.record_event_duration_secs(TRACE, 5.0)  # from 1 to 6: holds the other
        clock.now = 10.0
        jax.monitoring.record_event_duration_secs(BACKEND, 3.0)  # from 7 to 10
        jax.monitoring.record_event_duration_secs("/jax/something/else", 3.0)
        other = threading.Thread(
            target=jax.monitoring.record_event_duration_secs, args=(BACKEND, 1.0)
        )
        other.start()
        other.join()
        assert goodput.runs()[0].seconds == seconds(step=2.0, compile=8.0)
    jax.monitoring.record_event_duration_secs(BACKEND, 1.0)
    assert goodput.runs()[0].seconds["compile"] == 8.0


def test_a_wait_for_data_that_devices_work_through_is_no_loss():
    clock = Clock()
    with clock.goodput() as goodput, goodput.on("step"):
        with goodput.waiting_for_data():
            clock.now = 1.0  # nothing was dispatched yet
        first, second = Result(), Result()
        goodput.dispatched(first)
        clock.now = 3.0
        with goodput.waiting_for_data():
            clock.now = 5.0  # the device works all the time
        goodput.dispatched(second)
        first.done.set()
        clock.now = 6.0
        with goodput.waiting_for_data():
            clock.now = 10.0
            second.done.set()
            deadline = time.monotonic() + 60
            while goodput._devices.busy_until(99.0) != 10.0:
                assert time.monotonic() < deadline
                time.sleep(0.001)
            clock.now = 13.0  # it was done at 10
        with goodput.waiting_for_data():
            clock.now = 14.0
        assert goodput.runs()[0].seconds == seconds(step=4.0 + 1.0 + 4.0, data_wait=1.0 + 3.0 + 1.0)


def test_work_after_the_checkpoint_that_is_gone_back_to_is_lost():
    began = Mark("tune", 0, seconds(start=5.0))
    at_10 = Mark("tune", 10, seconds(start=5.0, compile=2.0, step=10.0))
    at_20 = Mark("tune", 20, seconds(start=5.0, compile=2.0, step=20.0, evaluation=3.0))
    end = seconds(start=5.0, compile=2.0, step=28.0, evaluation=4.0, data_wait=1.0, checkpoint=1.0)
    killed = Run(1000.0, end, (began, at_10, at_20))

    def lost(runs):
        total = account(runs)
        assert sum(total.values()) == pytest.approx(runs[-1].last_record - runs[0].began)
        return total["lost"]

    assert lost([killed]) == 0
    assert lost(go_back([killed], "tune", 20)) == 8.0 + 1.0 + 1.0
    # Of what is lost, saves and compilations were not done in vain.
    assert account(go_back([killed], "tune", 20))["checkpoint"] == 1.0
    assert lost(go_back([killed], "tune", 10)) == 18.0 + 4.0 + 1.0
    # A mark may be missing: then the one before it tells.
    assert lost(go_back([killed], "tune", 15)) == 18.0 + 4.0 + 1.0
    assert lost(go_back([killed], "another stage", 0)) == 0
    # Nothing is lost twice, and one may go back further than before.
    twice = go_back(go_back([killed], "tune", 20), "tune", 20)
    assert lost(twice) == 10.0
    assert lost(go_back(twice, "tune", 0)) == 33.0

    second = Run(1050.0, seconds(start=6.0, step=2.0), (Mark("tune", 20, seconds(start=6.0)),))
    no_stage = Run(1060.0, seconds(start=4.0))
    runs = go_back([*go_back([killed], "tune", 20), second, no_stage], "tune", 20)
    assert lost(runs) == 10.0 + 2.0
    # From 1041 to 1050, and from 1058 to 1060.
    assert account(runs)["down"] == 9.0 + 2.0
    # The newest checkpoints were damaged: the second run came to nothing at all.
    assert lost(go_back(runs, "tune", 10)) == 23.0 + 2.0


def test_a_later_run_finds_the_records_and_goes_back(tmp_path):
    clock = Clock()
    with clock.goodput() as goodput:
        goodput.keep_in(tmp_path)
        clock.now = 2.0
        goodput.begin("tune", 0)
        with goodput.on("step"):
            for step in range(1, 101):
                clock.now += 1.0
                goodput.saving(step)
            clock.now += 7.0
        killed = json.loads(json.dumps(goodput.runs(), default=vars))
    # As if it had been killed: its last record is an open one.
    (tmp_path / FILE).write_text(json.dumps({"runs": killed}))
    (run,) = read_runs(tmp_path)
    assert not run.closed
    # The first mark and the newest ones are kept.
    assert [mark.step for mark in run.marks] == [0, *range(93, 101)]

    clock.now = 130.0
    with clock.goodput() as goodput:
        goodput.keep_in(tmp_path)
        clock.now = 133.0
        goodput.begin("tune", 100)
        with goodput.on("step"):
            clock.now = 140.0
        shown = goodput.table()
    written = json.loads((tmp_path / FILE).read_text())
    assert written["wall_sec"] == 140.0
    assert written["seconds"] == {
        **seconds(start=5.0, step=107.0), "lost": 7.0, "down": 130.0 - 109.0
    }  # fmt: skip
    assert written["goodput"] == 107.0 / 140.0
    assert [run["closed"] for run in written["runs"]] == [False, True]
    assert "(2 runs, 1 killed, 140.0 s)" in shown
    assert "76.4 %" in shown

    # A run that finds everything done leaves no trace.
    before = (tmp_path / FILE).read_text()
    clock.now = 1e6
    with clock.goodput() as goodput:
        goodput.keep_in(tmp_path)
        assert goodput.table() == shown
    assert json.loads((tmp_path / FILE).read_text()) == json.loads(before)


def test_records_that_cannot_be_read_are_begun_anew(tmp_path, caplog):
    for text in ("{", "[]", '{"runs": [{"began": 1}]}'):
        (tmp_path / FILE).write_text(text)
        assert read_runs(tmp_path) == []
        assert "begun anew" in caplog.text
        caplog.clear()


def test_records_that_cannot_be_written_stop_nothing(tmp_path, caplog):
    (tmp_path / FILE).mkdir()
    with Clock().goodput() as goodput:
        goodput.keep_in(tmp_path)
        goodput.begin("tune", 0)
    assert "cannot be written" in caplog.text


def test_the_account_of_a_run_killed_twice_adds_up_to_the_whole(tmp_path, monkeypatch, capsys):
    before = jax.config.jax_compilation_cache_dir
    workdir, cache = tmp_path / "run", str(tmp_path / "cache")
    quick = {
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    recipe = f"{MICRO}:stages=scratch,steps=60"
    launched = time.time()
    for steps in (2, 12):
        (process,) = start(workdir, recipe=recipe, **quick)
        deadline = time.monotonic() + 120
        while max(list_steps(workdir / "scratch" / "checkpoints"), default=0) < steps:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.kill()
        process.communicate()
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", cache)
    assert entry.main(["--config", recipe, "--workdir", str(workdir)]) == 0
    ended = time.time()
    jax.config.update("jax_compilation_cache_dir", before)

    written = json.loads((workdir / FILE).read_text())
    first, second, third = written["runs"]
    assert launched < first["began"] < launched + 20  # the interpreter's own start is not seen
    whole = ended - first["began"]
    assert sum(written["seconds"].values()) == pytest.approx(whole, rel=0.01)
    assert (first["closed"], second["closed"], third["closed"]) == (False, False, True)
    assert min(written["seconds"].values()) >= 0
    for kind in ("start", "compile", "step", "checkpoint", "evaluation", "down"):
        assert written["seconds"][kind] > 0, kind
    resumed = [mark["step"] for mark in (second["marks"][0], third["marks"][0])]
    assert 2 <= resumed[0] < 12 <= resumed[1]
    assert first["kept"] is not None and second["kept"] is not None and third["kept"] is None
    assert "3 runs, 2 killed" in capsys.readouterr().out
