# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The loop of one stage: it owns every side effect; `step` stays pure.

The order within one turn of the loop, at a state after `step` steps, matters:

1. test the old state, where that is due, so that a checkpoint carries its own metric; it may be
   given precise batch statistics first, and goes on with them;
2. save it, so that what is lost to an interruption is only what comes after;
3. fetch the batch whose number is `step`;
4. take the step;
5. report: the metrics of a step are read only when they are due, so that the device never waits.

The last turn, at `step == total_steps`, ends after 2. So does the turn after a signal. Several
processes must do both at the same step, and whether a signal or the clock calls for it is known to
one of them alone: it tells the step, and the step tells all. A step that tells of a signal changes
nothing, so a process that is signalled while it waits for data can take it with any batch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.sharding import Mesh

from vidpretrain import parallel
from vidpretrain.convert.folder import Card
from vidpretrain.train.checkpoint import CheckpointStore
from vidpretrain.train.feed import Feed
from vidpretrain.train.goodput import Goodput
from vidpretrain.train.interrupt import Interrupted, Interruption, Watchdog
from vidpretrain.train.metrics import MetricsWriter, Progress
from vidpretrain.train.scores import Scores
from vidpretrain.train.state import TrainState
from vidpretrain.train.step import TrainStep


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Cadence:
    """When the loop does what, all in steps but for `checkpoint_sec`.

    Attributes:
        total: steps of the whole training; 0 for a stage that only tests.
        test: steps between tests.
        checkpoint: steps between checkpoints.
        checkpoint_sec: seconds after which a checkpoint is due as well; 0 for never.
        log: steps between reports.
        max_skipped: skipped steps in a row that stop the training.
    """

    total: int
    test: int
    checkpoint: int
    checkpoint_sec: float
    log: int
    max_skipped: int


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a stage came to.

    Attributes:
        state: after the last step.
        scores: of the last test.
        seconds: of training and testing, summed over all interruptions.
    """

    state: TrainState
    scores: Scores
    seconds: float


def run_loop(
    state: TrainState,
    *,
    cadence: Cadence,
    train_step: TrainStep,
    feed: Feed,
    evaluate: Callable[[TrainState], tuple[TrainState, Scores]],
    key: jax.Array,
    mesh: Mesh,
    interruption: Interruption,
    watchdog: Watchdog,
    store: CheckpointStore,
    card: Card,
    writer: MetricsWriter | None,
    progress: Progress,
    goodput: Goodput,
) -> Outcome:
    """Train from `state` to the last step.

    Args:
        state: the first one, or one restored from `store` along with its `card`.
        cadence: when to do what.
        train_step: compiled; donates its state.
        feed: batches on the devices, from batch number `state.step` on.
        evaluate: tests a state, and returns it as it was tested; raises `Interrupted` when it is
            asked to end.
        key: the run's JAX key.
        mesh: where the step runs.
        interruption: tells of signals.
        watchdog: is told of every step.
        store: takes the checkpoints.
        card: what a checkpoint says of itself; step, clock and metrics are filled in here.
        writer: takes the metrics; None on all processes but the first.
        progress: shows them.
        goodput: accounts for the time of tests, saves and waits for data; the caller has it on
            `step`.

    Raises:
        Interrupted: a signal came; the state is saved.
        TrainingError: too many steps in a row had a loss or gradient that was not finite.
    """
    clock = _Clock(already_sec=card.clock_sec)
    window = _Window()
    told = _Told(cadence.max_skipped)
    scores: Scores | None = None
    rows: _Rows | None = None
    alone = jax.process_count() == 1
    stopping = False
    step = start = int(state.step)
    while True:
        last = step == cadence.total
        # A signal may have kept the step that training resumes at from being tested.
        untested = step > start or not card.metrics
        test_due = last or (step > 0 and step % cadence.test == 0 and untested)
        save_due = step > start and (last or step % cadence.checkpoint == 0 or told.save)
        if test_due or save_due:
            told.read()
        if told.stop and not stopping:
            stopping, step = True, int(state.step)
            continue

        test_metrics: dict[str, float] = {}
        restored = state
        if test_due and not stopping:
            try:
                with goodput.on("evaluation"):
                    state, scores = evaluate(state)
            except Interrupted:
                stopping = True
            else:
                test_metrics = {f"test/{name}": value for name, value in scores.metrics().items()}
                progress.say(f"step {step}: {scores.summary()}")
                if untested:
                    _write(writer, step, test_metrics)
            window.restart()

        store.check()
        if test_metrics or save_due or stopping:
            card = dataclasses.replace(
                card,
                step=step,
                clock_sec=clock.seconds(),
                metrics=test_metrics,
                metric=test_metrics.get("test/top1"),
            )
            with goodput.on("checkpoint"):
                if step > start:
                    goodput.saving(step)
                    store.save(step, state, card)
                elif test_metrics and untested:
                    # A stage of no steps keeps what it has tested, and one that was interrupted
                    # before the test what the test made of its state.
                    if store.latest() is None or state is not restored:
                        store.save(step, state, card, replace=True)
                    else:
                        store.relabel(step, card)
            told.saved(step)
            clock.saved()
            window.restart()
        if stopping:
            with goodput.on("checkpoint"):
                store.wait()
            raise Interrupted(f"step {step} is saved" if step else "no step was taken yet")
        if last:
            break

        with window.waiting(), goodput.waiting_for_data():
            batch = feed.next(lambda: interruption.requested)
        requested = interruption.requested
        if alone and requested:
            stopping = True
            continue
        if batch is None:
            # The others are in the step, or on their way to it: they can be told only there.
            batch = feed.filler()
        rows = rows or _Rows(batch, mesh)
        # Only what is asked for crosses between host and devices, or between devices.
        with jax.transfer_guard("disallow"):
            flags = {
                "stop": rows(requested),
                "save": rows(0 < cadence.checkpoint_sec < clock.since_save()),
            }
            state, metrics = train_step(state, {**batch, **flags}, key)
            goodput.dispatched(metrics["loss"])
            step += 1
            progress.advance()
            window.count(batch["label"].shape[0])
            told.take(step, metrics)
            watchdog.beat()
            if step % cadence.log == 0 or step == cadence.total:
                told.read()
                if not told.stop:
                    _report(step, metrics, window, writer, progress)
    with goodput.on("checkpoint"):
        store.wait()
    assert scores is not None, "the last turn tests"
    return Outcome(state=state, scores=scores, seconds=clock.seconds())


class _Rows:
    """Gives every row of a batch a flag of the process that feeds it.

    The arrays are kept on the devices: flags hardly ever change, and to move them at every step was
    most of what the loop cost.
    """

    def __init__(self, batch: dict[str, jax.Array], mesh: Mesh) -> None:
        self._number = batch["label"].shape[0] // jax.process_count()
        self._mesh = mesh
        self._kept: dict[bool, jax.Array] = {}

    def __call__(self, flag: bool) -> jax.Array:
        if flag not in self._kept:
            self._kept[flag] = parallel.put_batch(np.full(self._number, flag), self._mesh)
        return self._kept[flag]


class _Told:
    """What the steps tell, read one step late, so that the device always has one to work on.

    Attributes:
        stop: a process was asked to end, and from the step that told of it on nothing was changed.
        save: a process finds a checkpoint due.
    """

    def __init__(self, max_skipped: int) -> None:
        self.stop = False
        self.save = False
        self._max_skipped = max_skipped
        self._saved_step = 0
        self._unread: tuple[int, dict[str, jax.Array]] | None = None

    def take(self, step: int, metrics: dict[str, jax.Array]) -> None:
        """Take the metrics of the newest step, and read those of the step before."""
        self.read()
        self._unread = step, metrics

    def read(self) -> None:
        """Read the newest step's, too, which waits for it.

        Raises:
            TrainingError: too many steps in a row were skipped.
        """
        if self._unread is None:
            return
        (step, unread), self._unread = self._unread, None
        # In half the time of `jax.device_get`, which the guard would let through.
        with jax.transfer_guard_device_to_host("allow"):
            metrics = {name: np.asarray(unread[name]) for name in ("stop", "save", "skipped")}
        self.stop |= bool(metrics["stop"])
        # Flags of steps up to the one saved are older than the save.
        self.save |= bool(metrics["save"]) and step > self._saved_step
        if not self.stop:
            _stop_if_stuck(step, metrics, self._max_skipped)

    def saved(self, step: int) -> None:
        """Forget that a checkpoint was due, for there is one of this step."""
        self.save, self._saved_step = False, step


def _stop_if_stuck(step: int, metrics: dict[str, np.ndarray], max_skipped: int) -> None:
    skipped = int(metrics["skipped"])
    if skipped >= max_skipped:
        raise TrainingError(
            f"{skipped} steps in a row, up to step {step}, had a loss or gradient that was not "
            "finite; no parameter has changed since. Lower schedule.base_lr, set "
            "optim.clip_norm, or look at the data; max_skipped sets how many are borne"
        )


def _report(
    step: int,
    metrics: dict[str, jax.Array],
    window: _Window,
    writer: MetricsWriter | None,
    progress: Progress,
) -> None:
    values = {
        name: float(value)
        for name, value in jax.device_get(metrics).items()
        if name not in ("stop", "save")
    }
    # Reading the values has waited for the device: only now is the time of these steps known.
    values |= window.rates()
    _write(writer, step, {f"train/{name}": value for name, value in values.items()})
    shown = ("loss", "top1", "lr", "clips_per_sec")
    progress.report(step, {name: values[name] for name in shown})
    if values["skipped"]:
        progress.say(f"step {step}: not finite; {values['skipped']:.0f} step(s) skipped in a row")
    window.restart()


def _write(writer: MetricsWriter | None, step: int, metrics: dict[str, float]) -> None:
    if writer is not None and metrics:
        writer.write(step, metrics)


class _Clock:
    """Seconds of this run and of those before the interruptions."""

    def __init__(self, already_sec: float) -> None:
        self._start = time.monotonic() - already_sec
        self.saved()

    def seconds(self) -> float:
        return time.monotonic() - self._start

    def saved(self) -> None:
        self._save = time.monotonic()

    def since_save(self) -> float:
        return time.monotonic() - self._save


class _Window:
    """Speed since the last report; tests and saves do not count."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._start = time.monotonic()
        self._waited_sec = 0.0
        self._steps = 0
        self._clips = 0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        start = time.monotonic()
        yield
        self._waited_sec += time.monotonic() - start

    def count(self, clips: int) -> None:
        self._steps += 1
        self._clips += clips

    def rates(self) -> dict[str, float]:
        seconds = time.monotonic() - self._start
        steps = max(self._steps, 1)
        return {
            "clips_per_sec": self._clips / max(seconds, 1e-9),
            "step_sec": seconds / steps,
            "data_wait_sec": self._waited_sec / steps,
        }
