# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The loop of one stage: it owns every side effect; `step` stays pure.

The order within one turn of the loop, at a state after `step` steps, matters:

1. test the old state, where that is due, so that a checkpoint carries its own metric;
2. save it, so that what is lost to an interruption is only what comes after;
3. fetch the batch whose number is `step`;
4. take the step;
5. report: the metrics of a step are read only when they are due, so that the device never waits.

The last turn, at `step == total_steps`, ends after 2. So does the turn after a signal: every
process tells the step whether it was signalled, the step tells all whether anyone was, and so all
end at the same one.
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
from vidpretrain.train.evaluate import Scores
from vidpretrain.train.feed import Feed
from vidpretrain.train.interrupt import Interrupted, Interruption, Watchdog
from vidpretrain.train.metrics import MetricsWriter, Progress
from vidpretrain.train.state import TrainState
from vidpretrain.train.step import TrainStep


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Cadence:
    """When the loop does what, all in steps but for `checkpoint_sec`.

    Attributes:
        total: steps of the whole training.
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
    evaluate: Callable[[TrainState], Scores],
    key: jax.Array,
    mesh: Mesh,
    interruption: Interruption,
    watchdog: Watchdog,
    store: CheckpointStore,
    card: Card,
    writer: MetricsWriter | None,
    progress: Progress,
) -> Outcome:
    """Train from `state` to the last step.

    Args:
        state: the first one, or one restored from `store` along with its `card`.
        cadence: when to do what.
        train_step: compiled; donates its state.
        feed: batches on the devices, from batch number `state.step` on.
        evaluate: tests a state; raises `Interrupted` when it is asked to end.
        key: the run's JAX key.
        mesh: where the step runs.
        interruption: tells of signals.
        watchdog: is told of every step.
        store: takes the checkpoints.
        card: what a checkpoint says of itself; step, clock and metrics are filled in here.
        writer: takes the metrics; None on all processes but the first.
        progress: shows them.

    Raises:
        Interrupted: a signal came; the state is saved.
        TrainingError: too many steps in a row had a loss or gradient that was not finite.
    """
    clock = _Clock(already_sec=card.clock_sec)
    window = _Window()
    scores: Scores | None = None
    previous: dict[str, jax.Array] | None = None
    stopping = False
    step = start = int(state.step)
    while True:
        last = step == cadence.total
        test_metrics: dict[str, float] = {}
        if not stopping and (last or (step > start and step % cadence.test == 0)):
            try:
                scores = evaluate(state)
            except Interrupted:
                stopping = True
            else:
                test_metrics = {f"test/{name}": value for name, value in scores.metrics().items()}
                progress.say(f"step {step}: {scores.summary()}")
                _write(writer, step, test_metrics)
            window.restart()

        store.check()
        by_time = 0 < cadence.checkpoint_sec < clock.since_save()
        due = test_metrics or stopping or step % cadence.checkpoint == 0 or by_time
        if step > start and due:
            card = dataclasses.replace(
                card,
                step=step,
                clock_sec=clock.seconds(),
                metrics=test_metrics,
                metric=test_metrics.get("test/top1"),
            )
            store.save(step, state, card)
            clock.saved()
            window.restart()
        if stopping:
            store.wait()
            raise Interrupted(f"step {step} is saved")
        if last:
            break

        with window.waiting():
            # Several processes must end at the same step, so only the step itself ends them.
            batch = feed.next(lambda: interruption.requested and jax.process_count() == 1)
        if batch is None:
            stopping = True
            continue
        flags = np.full(batch["label"].shape[0] // jax.process_count(), interruption.requested)
        state, metrics = train_step(state, {**batch, "stop": parallel.put_batch(flags, mesh)}, key)
        step += 1
        progress.advance()
        window.count(batch["label"].shape[0])
        # Read one step late, so that the device always has the next one to work on.
        if previous is not None:
            stopping = bool(previous["stop"])
            _stop_if_stuck(step - 1, previous, cadence.max_skipped)
        previous = metrics
        watchdog.beat()
        if step % cadence.log == 0 or step == cadence.total:
            _report(step, metrics, window, writer, progress)
    if previous is not None:
        _stop_if_stuck(step, previous, cadence.max_skipped)
    store.wait()
    assert scores is not None, "the last turn tests"
    return Outcome(state=state, scores=scores, seconds=clock.seconds())


def _stop_if_stuck(step: int, metrics: dict[str, jax.Array], max_skipped: int) -> None:
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
    values = {k: float(np.asarray(v)) for k, v in metrics.items() if k != "stop"}
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
