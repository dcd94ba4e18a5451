# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Batches on their way to the devices, one ahead of the step."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from vidpretrain import parallel
from vidpretrain.data.batch import Batch

_POLL_SEC = 0.1


class Feed:
    """Moves batches to the devices in a thread of its own, so that transfers overlap steps.

    Use it within `with`: the thread ends with the block.
    """

    def __init__(self, batches: Iterator[Batch], mesh: Mesh, *, ahead: int = 1) -> None:
        """Start to move batches.

        Args:
            batches: this process's slices.
            mesh: where they go.
            ahead: batches on the devices that no step has asked for yet, at most.
        """
        self._batches = batches
        self._mesh = mesh
        self._ready: queue.SimpleQueue[dict[str, jax.Array] | Exception] = queue.SimpleQueue()
        self._room = threading.Semaphore(ahead)
        self._blank: dict[str, np.ndarray] | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._thread.start()

    def next(self, give_up: Callable[[], bool]) -> dict[str, jax.Array] | None:
        """Return the next batch on the devices: `video` and `label`.

        Args:
            give_up: asked while there is no batch; if true, None is returned.

        Raises:
            Exception: what reading the batch raised.
        """
        while True:
            try:
                item = self._ready.get(timeout=_POLL_SEC)
            except queue.Empty:
                if give_up():
                    return None
                continue
            if isinstance(item, Exception):
                raise item
            self._room.release()
            return item

    def filler(self) -> dict[str, jax.Array]:
        """Return a batch for a step that will change nothing: zeros, without waiting for data.

        Only if no batch was read yet, and so their shape is not known, the first one is waited for.
        """
        if self._blank is None:
            batch = self.next(lambda: False)
            assert batch is not None, "it does not give up"
            return batch
        return parallel.put_batch(self._blank, self._mesh)

    def __enter__(self) -> Feed:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()
        self._room.release()
        # A reader that hangs must not keep the process: the thread is a daemon.
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        try:
            for batch in self._batches:
                # Before it is moved, not after: what waits for room must not lie on the devices.
                self._room.acquire()
                if self._closed.is_set():
                    return
                arrays: dict[str, Any] = {"video": batch.video, "label": batch.label}
                if self._blank is None:
                    self._blank = {name: np.zeros_like(x) for name, x in arrays.items()}
                self._ready.put(parallel.put_batch(arrays, self._mesh))
        except Exception as error:  # Raised again where the batch is asked for.
            self._ready.put(error)
