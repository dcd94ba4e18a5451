# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Ending a run from outside: signals that save first, and a watchdog for runs that hang."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType

EXIT_INTERRUPTED = os.EX_TEMPFAIL
"""75: a signal ended the run; all is saved, and the same command goes on from there."""
EXIT_STALLED = os.EX_SOFTWARE
"""70: nothing happened for too long; the stacks are on standard error."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):
    """A signal asked the run to end; its state is saved."""


class Interruption:
    """Remembers that SIGTERM or SIGINT came; a second one ends the process at once.

    Python runs its signal handlers between two instructions of the main thread, and so not while
    that thread is in a compilation, which may take minutes. A second thread is woken instead.

    Signals are handled within `with`, and only in the main thread, as Python has it; elsewhere the
    object does nothing.

    Attributes:
        requested: whether a signal came.
    """

    def __init__(self) -> None:
        self.requested = False
        self._nothing_to_save = False

    @contextlib.contextmanager
    def nothing_to_save(self) -> Iterator[None]:
        """Have the first signal end the process at once, for there is nothing that it could save.

        For what may take long and hears of no signal: imports, processes that have not started.
        """
        self._nothing_to_save = True
        if self.requested:
            os._exit(EXIT_INTERRUPTED)
        try:
            yield
        finally:
            self._nothing_to_save = False

    def __enter__(self) -> Interruption:
        self._stack = contextlib.ExitStack()
        if threading.current_thread() is not threading.main_thread():
            return self
        # Cleaned up from below: the handlers first, then the pipe, whose end ends the thread.
        received, sent = socket.socketpair()
        sent.setblocking(False)
        thread = threading.Thread(target=self._listen, args=(received,), daemon=True)
        self._stack.callback(received.close)
        self._stack.callback(thread.join)
        self._stack.callback(sent.close)
        thread.start()
        self._stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(sent.fileno()))
        for number in _SIGNALS:
            self._stack.callback(signal.signal, number, signal.signal(number, self._handle))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True

    def _listen(self, received: socket.socket) -> None:
        # Only os.write: whatever the main thread is in the middle of, printing included, it may
        # hold locks.
        announced = False
        while byte := received.recv(1):
            number = byte[0]
            if number not in _SIGNALS:
                continue
            name = signal.Signals(number).name
            if announced:
                os.write(2, f"\n{name} again: ending at once\n".encode())
                os._exit(128 + number)
            if self._nothing_to_save:
                os.write(2, f"\n{name}: ending; nothing was begun\n".encode())
                os._exit(EXIT_INTERRUPTED)
            self.requested = announced = True
            os.write(2, f"\n{name}: saving, then ending; once more to end at once\n".encode())


class Watchdog:
    """Ends the process when `beat` has not been called for a set time.

    All threads' stacks go to standard error first, and the exit code is `EXIT_STALLED`.
    """

    def __init__(self, limit_sec: float) -> None:
        """Prepare; the time runs from the first beat, so that compilation does not count.

        Args:
            limit_sec: longest time between two beats; 0 for no limit.
        """
        self._limit_sec = limit_sec
        self._last = 0.0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def beat(self) -> None:
        """Say that something happened."""
        # Only noted: to wake the other thread at every step would hold up this one.
        self._last = time.monotonic()
        if self._limit_sec and self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        while (left := self._last + self._limit_sec - time.monotonic()) > 0:
            if self._stopped.wait(left):
                return
        print(
            f"error: nothing happened for {self._limit_sec:g} s (stall_sec); stacks of all threads "
            "follow",
            file=sys.stderr,
            flush=True,
        )
        faulthandler.dump_traceback(all_threads=True)
        os._exit(EXIT_STALLED)
