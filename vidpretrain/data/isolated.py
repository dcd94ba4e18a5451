# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Work on many files in processes that a bad file may kill.

A decoder that crashes takes its process with it, and one that hangs never answers. Here the file
that did it is known, is reported, and the others go on in a new process.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

import cv2

from vidpretrain.data.bad_input import BadInput, Fault

Item = TypeVar("Item")
Result = TypeVar("Result")

_POLL_SEC = 0.2


def map_isolated(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    num_workers: int,
    limit_sec: float = 60.0,
) -> Iterator[tuple[int, Result | BadInput]]:
    """Call a function for every item, in processes of their own, in no particular order.

    Args:
        function: Can be pickled, as can its results. A `BadInput` that it raises is a result.
        items: What to call it with; can be pickled.
        num_workers: Number of processes; 0 calls it in this one, where nothing is isolated.
        limit_sec: Time for one item, after which its process is killed.

    Yields:
        Position of an item and what came of it: the function's result, or what is wrong with
        the item, that it crashed the process or took too long included.
    """
    if num_workers == 0:
        for position, item in enumerate(items):
            yield position, _outcome(function, item)
        return
    waiting = iter(enumerate(items))
    workers: list[_Worker[Item, Result]] = []
    try:
        for _ in range(min(num_workers, len(items))):
            workers.append(_Worker(function))
            workers[-1].take(next(waiting, None))
        while busy := [worker for worker in workers if worker.position is not None]:
            multiprocessing.connection.wait([worker.pipe for worker in busy], _POLL_SEC)
            for worker in busy:
                outcome = worker.outcome(limit_sec)
                if outcome is not None:
                    yield outcome
                    worker.take(next(waiting, None))
    finally:
        for worker in workers:
            worker.stop()


class _Worker(Generic[Item, Result]):
    """A process with one item at a time.

    Attributes:
        position: Of the item in work; None if there is none.
        pipe: What the process answers through.
    """

    def __init__(self, function: Callable[[Item], Result]) -> None:
        self._function = function
        self.position: int | None = None
        self._since = 0.0
        self._start()

    def _start(self) -> None:
        # Processes of the fork server start fast, and share none of our threads and locks.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self.pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._function, other), daemon=True)
        self._process.start()
        other.close()

    def take(self, job: tuple[int, Item] | None) -> None:
        """Start to work on an item; None for none."""
        self.position = None
        if job is not None:
            self.position, item = job
            self._since = time.monotonic()
            with contextlib.suppress(OSError):  # Dead already: `outcome` sees it.
                self.pipe.send(item)

    def outcome(self, limit_sec: float) -> tuple[int, Result | BadInput] | None:
        """Return what came of the item; None if nothing did yet."""
        assert self.position is not None
        try:
            if self.pipe.poll():
                return self.position, self.pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            detail = f"the process ended with exit code {self._process.exitcode}"
            return self._restarted(Fault.CRASHED, detail)
        if time.monotonic() - self._since > limit_sec:
            return self._restarted(Fault.TIMED_OUT, f"no answer after {limit_sec:g} s")
        return None

    def _restarted(self, fault: Fault, detail: str) -> tuple[int, BadInput]:
        assert self.position is not None
        self.stop()
        self._start()
        return self.position, BadInput("", fault, detail)

    def stop(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _outcome(function: Callable[[Item], Result], item: Item) -> Result | BadInput:
    try:
        return function(item)
    except BadInput as bad:
        return bad


def _serve(function: Callable[[Any], Any], pipe: Connection) -> None:
    cv2.setNumThreads(0)
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        pipe.send(_outcome(function, item))
