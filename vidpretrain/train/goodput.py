# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Goodput: where the wall time of a run went, over all its restarts.

Every second of a process belongs to exactly one kind, so that the kinds add up to the whole:

- `start`: importing, planning, restoring, opening and closing the data, reports; what is none of
  the others.
- `compile`: tracing and compiling, wherever it happens.
- `data_wait`: the loop waited for a batch and the devices had nothing left to do.
- `step`: the rest of the training loop. Steps are dispatched, not waited for: the time passes
  where the loop reads an earlier step's metrics, or in a wait for data that the devices work
  through, and that is where it is measured. Nothing is synchronised for the sake of measuring.
- `checkpoint`: what the loop waits for in saves; writing goes on in the background.
- `evaluation`: tests, their data included.

Two more are known only afterwards:

- `lost`: data waits, steps and tests after the checkpoint from which a later run went on; they had
  to be done again.
- `down`: from a run's last record to the next run's start. A run that is killed has made a record
  at most `RECORD_SEC` before, so that much of `down` may be work that was lost.
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import itertools
import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import jax

from vidpretrain.train.workdirs import write_json

KINDS = ("start", "compile", "data_wait", "step", "checkpoint", "evaluation")
FILE = "goodput.json"
RECORD_SEC = 5.0
"""How often a run's record is written, whatever the run is doing."""

_WORK = ("data_wait", "step", "evaluation")
_COMPILING = "/jax/core/compile/"
# Of each run and stage, the first mark and so many more: no older checkpoint is gone back to.
_NEWEST_MARKS = 8

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Mark:
    """A state that a later run may go on from.

    Attributes:
        stage: whose state it is.
        step: steps taken in that stage.
        seconds: of the run by kind, when it had that state.
    """

    stage: str
    step: int
    seconds: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Run:
    """The record of one process.

    Attributes:
        began: when it started, seconds since 1970.
        seconds: by kind, up to its last record.
        marks: states that it had and that were saved, oldest first.
        closed: whether it ended by itself; otherwise it is running, or was killed.
        kept: `seconds` of the mark from which a later run went on, if that threw work away.
    """

    began: float
    seconds: dict[str, float]
    marks: tuple[Mark, ...] = ()
    closed: bool = False
    kept: dict[str, float] | None = None

    @property
    def last_record(self) -> float:
        """When its last record was made, seconds since 1970."""
        return self.began + sum(self.seconds.values())

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Run:
        """Return what `dataclasses.asdict` was given."""
        return cls(**{**value, "marks": tuple(Mark(**mark) for mark in value["marks"])})


def account(runs: Sequence[Run]) -> dict[str, float]:
    """Return the seconds of every kind, `lost` and `down` included.

    Args:
        runs: in the order in which they ran.

    Returns:
        Values that add up to the time from the first start to the last record.
    """
    total = dict.fromkeys((*KINDS, "lost", "down"), 0.0)
    for run in runs:
        for kind, seconds in run.seconds.items():
            kept = run.kept[kind] if run.kept and kind in _WORK else seconds
            total[kind] += kept
            total["lost"] += seconds - kept
    for run, later in itertools.pairwise(runs):
        # A clock that was set back between the two must not take time away.
        total["down"] += max(0.0, later.began - run.last_record)
    return total


def go_back(runs: Sequence[Run], stage: str, step: int) -> list[Run]:
    """Give up the work that runs did on a stage after a step at which it is taken up again.

    Args:
        runs: the earlier ones, oldest first.
        stage: the stage.
        step: the step.

    Returns:
        The runs; of those that did such work, `kept` tells what remains.
    """
    changed = list(runs)
    for number in reversed(range(len(runs))):
        marks = sorted((m for m in runs[number].marks if m.stage == stage), key=lambda m: m.step)
        if not marks:
            continue
        found = bisect.bisect_right([mark.step for mark in marks], step) - 1
        kept = marks[max(found, 0)].seconds
        changed[number] = dataclasses.replace(runs[number], kept=kept)
        if found >= 0:
            break
    return changed


def table(runs: Sequence[Run]) -> str:
    """Write for a person where the time went."""
    seconds = account(runs)
    whole = max(sum(seconds.values()), 1e-9)
    killed = sum(not run.closed for run in runs[:-1])
    text = f"{len(runs)} run{'s'[: len(runs) > 1]}" + (f", {killed} killed" if killed else "")
    rows = [
        f"  {kind.replace('_', ' '):10} {value:12,.1f} s {100 * value / whole:6.1f} %"
        for kind, value in seconds.items()
    ]
    return "\n".join([f"where the time went ({text}, {whole:,.1f} s):", *rows])


class Goodput:
    """Accounts for the time of this process; use it within `with`, on the thread that trains.

    Nothing is written before `keep_in` is called, nor by a run that begins no stage.
    """

    def __init__(
        self,
        *,
        since: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        unix_time: Callable[[], float] = time.time,
        record_sec: float = RECORD_SEC,
    ) -> None:
        """Start to account.

        Args:
            since: when, by `clock`, the process started; None for now.
            clock: tells seconds.
            unix_time: tells seconds since 1970, to compare runs.
            record_sec: time between records.
        """
        self._clock = clock
        now = clock()
        self._settled = now if since is None else since
        self._began = unix_time() - (now - self._settled)
        self._seconds = dict.fromkeys(KINDS, 0.0)
        self._kind = "start"
        self._compilations: list[tuple[float, float]] = []
        self._devices = _Devices(clock)
        self._marks: list[Mark] = []
        self._stage = ""
        self._earlier: list[Run] = []
        self._path: Path | None = None
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._record_sec = record_sec
        self._closed = threading.Event()

    def __enter__(self) -> Goodput:
        jax.monitoring.register_event_duration_secs_listener(self._hear)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        jax.monitoring.unregister_event_duration_listener(self._hear)
        self._devices.close()
        self._closed.set()
        self._record()

    def keep_in(self, workdir: Path) -> None:
        """Keep the records in `WORKDIR/goodput.json`, from now on and every few seconds."""
        self._path = workdir / FILE
        self._earlier = read_runs(workdir)
        threading.Thread(target=self._keep_recording, name="goodput", daemon=True).start()

    def begin(self, stage: str, step: int) -> None:
        """Say that a stage is trained from a step on: what was done after that step was lost."""
        self._stage = stage
        self._earlier = go_back(self._earlier, stage, step)
        self.saving(step)

    def saving(self, step: int) -> None:
        """Say that the stage's state at a step is being saved, so that a run may go on from it."""
        with self._lock:
            self._settle()
            self._marks.append(Mark(self._stage, step, dict(self._seconds)))
            of_stage = [mark for mark in self._marks if mark.stage == self._stage]
            if len(of_stage) > 1 + _NEWEST_MARKS:
                self._marks.remove(of_stage[1])
        self._record()

    @contextlib.contextmanager
    def on(self, kind: str) -> Iterator[None]:
        """Account the time within to a kind; what is accounted further within is not."""
        outer = self._switch(kind)
        try:
            yield
        finally:
            self._switch(outer)

    @contextlib.contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """Account the time within to `data_wait`, but to `step` as long as the devices work."""
        start = self._clock()
        with self.on("data_wait"):
            yield
            end = self._clock()
            worked = max(0.0, min(end, self._devices.busy_until(end)) - start)
            self._move(worked, "data_wait", "step")

    def dispatched(self, result: Any) -> None:
        """Take an array that a step will have computed, to learn when the devices are done."""
        self._devices.watch(result)

    def runs(self) -> list[Run]:
        """Return the records of all runs, this one up to now.

        One that has ended and began no stage, for all were finished, is left out: it has nothing
        to tell, least of all how long ago the others were.
        """
        with self._lock:
            self._settle()
            marks, seconds = tuple(self._marks), dict(self._seconds)
        closed = self._closed.is_set()
        run = Run(self._began, seconds, marks, closed)
        return self._earlier if closed and not marks else [*self._earlier, run]

    def table(self) -> str:
        """Write for a person where the time of all runs that began a stage went."""
        return table(self.runs() if self._marks else self._earlier)

    # --- the account ---

    def _settle(self) -> None:
        now = self._clock()
        self._seconds[self._kind] += now - self._settled
        self._settled = now

    def _switch(self, kind: str) -> str:
        with self._lock:
            self._settle()
            outer, self._kind = self._kind, kind
        return outer

    def _move(self, seconds: float, source: str, target: str) -> None:
        with self._lock:
            self._settle()
            self._seconds[source] -= seconds
            self._seconds[target] += seconds

    def _hear(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        """Account a compilation that has just ended; it may hold others that ended before it."""
        if not event.startswith(_COMPILING) or threading.get_ident() != self._thread:
            return
        end = self._clock()
        start, inner = end - duration_secs, 0.0
        while self._compilations and self._compilations[-1][0] >= start:
            inner += self._compilations.pop()[1]
        self._compilations.append((start, duration_secs))
        self._move(duration_secs - inner, self._kind, "compile")

    # --- the file ---

    def _keep_recording(self) -> None:
        self._record()
        while not self._closed.wait(self._record_sec):
            self._record()

    def _record(self) -> None:
        if self._path is None:
            return
        # One at a time from the reading of the clock on: an older record must not come last.
        with self._writing:
            runs = self.runs()
            try:
                if runs:
                    write_json(self._path, _to_json(runs))
                else:
                    self._path.unlink(missing_ok=True)
            except OSError as error:
                _LOG.warning("%s cannot be written: %s", self._path, error)


def read_runs(workdir: Path) -> list[Run]:
    """Return the records of a working folder, oldest first; none if there are none."""
    path = workdir / FILE
    try:
        records = json.loads(path.read_text(encoding="utf-8"))["runs"]
        return [Run.from_json(record) for record in records]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _LOG.warning("%s cannot be read and is begun anew: %s", path, error)
        return []


def _to_json(runs: Sequence[Run]) -> dict[str, Any]:
    seconds = account(runs)
    whole = sum(seconds.values())
    return {
        "goodput": seconds["step"] / whole if whole else 0.0,
        "wall_sec": whole,
        "seconds": seconds,
        "runs": [dataclasses.asdict(run) for run in runs],
    }


class _Devices:
    """Learns in a thread of its own when the devices are done with what they were given."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._given: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._unfinished = 0
        self._finished_at = float("-inf")
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def watch(self, result: Any) -> None:
        with self._lock:
            self._unfinished += 1
        self._given.put(result)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="devices", daemon=True)
            self._thread.start()

    def busy_until(self, now: float) -> float:
        with self._lock:
            return now if self._unfinished else self._finished_at

    def close(self) -> None:
        # Not joined: devices that hang must not keep a process whose state is saved.
        self._given.put(None)

    def _run(self) -> None:
        while (result := self._given.get()) is not None:
            # What went wrong on a device is told to the loop, which reads the same result.
            with contextlib.suppress(Exception):
                result.block_until_ready()
            with self._lock:
                self._unfinished -= 1
                self._finished_at = self._clock()
