# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Batches made ahead of time by threads or processes, which are replaced when they fail.

Grain makes the batches, in order. Because a batch is a function of its number, a stream whose
worker has died or hangs begins anew at the next batch and gives what it would have given.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import cv2
import grain
import numpy as np
from absl import flags

from vidpretrain.data.bad_log import BadInputLog, Incident
from vidpretrain.data.batch import Batch

WORKER_LIMIT_SEC = 600.0
"""A worker that makes no batch in this time hangs."""

_MOST_RESTARTS = 3
_KILLED = "terminated unexpectedly"  # Grain's words for a worker process that has died.


class WorkerError(RuntimeError):
    """Worker processes die again and again; the message says at which batch."""


class Batches(Protocol):
    """Batches by random access."""

    def __len__(self) -> int: ...

    def __getitem__(self, step: int) -> tuple[Batch, tuple[Incident, ...]]:
        """Return a batch, and the bad inputs that were met in making it."""


class BatchStream:
    """Batches in order, made ahead of time.

    Close a stream that is not read to its end, or use it in a `with` statement.

    Attributes:
        step: Number of the next batch.
        log: The bad inputs met so far.
        restarts: How often workers had to be replaced.
    """

    def __init__(
        self,
        batches: Batches,
        *,
        start_step: int,
        num_workers: int,
        read_ahead: int,
        log: BadInputLog | None = None,
        worker_limit_sec: float = WORKER_LIMIT_SEC,
    ) -> None:
        """Start to make batches.

        Args:
            batches: What to stream.
            start_step: Number of the first batch.
            num_workers: Processes that make batches; 0 has a thread of this process make them.
            read_ahead: Batches that are ready or in work before they are asked for; 0, only
                without worker processes, makes each when it is asked for. Worker processes keep
                at least one each, and pass it through shared memory.
            log: Takes the bad inputs, when their batch is handed out; None for a log in memory
                that bears any number.
            worker_limit_sec: Time without a batch after which worker processes are replaced.
        """
        if start_step < 0 or num_workers < 0 or read_ahead < 0:
            raise ValueError(
                f"start_step, num_workers and read_ahead are {start_step}, {num_workers} and "
                f"{read_ahead}; none may be negative."
            )
        self.step = start_step
        self.log = BadInputLog(None, most=sys.maxsize) if log is None else log
        self.restarts = 0
        self._batches = batches
        self._read_ahead = read_ahead
        self._worker_limit_sec = worker_limit_sec
        self._workers = _Workers(num_workers) if num_workers else None
        self._iterator: Iterator[tuple[Batch, tuple[Incident, ...]]] = self._start()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        try:
            batch, incidents = self._next()
        except StopIteration:
            self.close()
            raise
        self.log.add(incidents)
        self.step += 1
        # Worker processes send arrays in shared memory. Who keeps a batch must not keep that.
        return batch if self._workers is None else Batch(*map(np.array, batch))

    def __enter__(self) -> BatchStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop threads and processes. Afterwards the stream is at its end."""
        self._stop()
        self._iterator = iter(())
        if self._workers is not None:
            self._workers.close()

    def _next(self) -> tuple[Batch, tuple[Incident, ...]]:
        if self._workers is None:
            return next(self._iterator)
        for _ in range(_MOST_RESTARTS + 1):
            try:
                with self._workers.killed_after(self._worker_limit_sec):
                    return next(self._iterator)
            except RuntimeError as error:
                if _KILLED not in str(error):
                    raise
            self._workers.kill()  # The others too: they are at batches that will come again.
            self._stop()
            self.restarts += 1
            self._iterator = self._start()
        raise WorkerError(
            f"{_MOST_RESTARTS + 1} worker processes in turn died or took more than "
            f"{self._worker_limit_sec:g} s to make a batch from number {self.step} on. Is there "
            "memory enough for them? `python -m vidpretrain.data check` finds files that crash "
            "the decoder."
        )

    def _start(self) -> grain.DatasetIterator:
        remaining = grain.MapDataset.source(self._batches)[self.step :]
        if self._workers is None:
            threads = min(1, self._read_ahead)
            stream = remaining.to_iter_dataset(grain.ReadOptions(threads, self._read_ahead))
        else:
            # Grain reads its debugging flags when it starts processes. Programs parse flags in
            # main(); a notebook or a test never does.
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()
            count = self._workers.count
            stream = remaining.to_iter_dataset(grain.ReadOptions(0, 0)).mp_prefetch(
                grain.MultiprocessingOptions(count, max(1, self._read_ahead // count)),
                worker_init_fn=functools.partial(_start_worker, self._workers.folder),
            )
        iterator = iter(stream)
        iterator.start_prefetch()
        return iterator

    def _stop(self) -> None:
        if isinstance(self._iterator, grain.DatasetIterator):
            self._iterator.close()
        if self._workers is not None:
            # Grain's iterators leave their last batches in reference cycles. Python would find
            # the shared memory unreleased when it exits, and complain.
            self._iterator = iter(())
            gc.collect()


class _Workers:
    """The worker processes of a stream, known by the files that they leave in a folder.

    Grain does not say which processes it has started.

    Attributes:
        count: How many there are.
        folder: Where each writes its process id.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.folder = tempfile.mkdtemp(prefix="vidpretrain-workers-")

    @contextlib.contextmanager
    def killed_after(self, seconds: float) -> Iterator[None]:
        """Kill them if the body takes longer."""
        timer = threading.Timer(seconds, self.kill)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def kill(self) -> None:
        """Kill those that are alive."""
        # Only processes that are still our children: the system gives old numbers to new ones.
        children = {process.pid for process in multiprocessing.active_children()}
        for file in Path(self.folder).iterdir():
            if int(file.name) in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(file.name), signal.SIGKILL)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _start_worker(folder: str, worker_index: int, worker_count: int) -> None:
    # Workers are as many as there are cores to use; threads within them only get in the way.
    cv2.setNumThreads(0)
    # Ctrl-C goes to all processes of a terminal's group; the first one decides when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(FileNotFoundError):  # The stream was closed meanwhile.
        Path(folder, str(os.getpid())).touch()
