# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Signals, the watchdog, and the feed that waits for data."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from vidpretrain import parallel
from vidpretrain.data.batch import Batch
from vidpretrain.train.feed import Feed
from vidpretrain.train.interrupt import EXIT_STALLED, Interruption, Watchdog

ROOT = Path(__file__).parents[2]


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_remembered_and_handlers_come_back(number):
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert not interruption.requested
        os.kill(os.getpid(), number)
        assert interruption.requested
    assert signal.getsignal(number) is before


# What the main thread is in: Python, and, as in a compilation, foreign code of many seconds.
@pytest.mark.parametrize("work", ["time.sleep(60)", "hashlib.pbkdf2_hmac('md5', b'', b'', 10**9)"])
def test_a_second_signal_ends_at_once(work):
    done = run_python(
        "import hashlib, os, signal, threading, time\n"
        "from vidpretrain.train.interrupt import Interruption\n"
        "def send_two():\n"
        "    for _ in range(2):\n"
        "        time.sleep(0.3)\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "with Interruption():\n"
        "    threading.Thread(target=send_two).start()\n"
        f"    {work}\n"
    )
    assert done.returncode == 128 + signal.SIGTERM
    assert "SIGTERM: saving, then ending; once more to end at once" in done.stderr
    assert "SIGTERM again: ending at once" in done.stderr


def test_signals_of_others_count_for_nothing():
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.05)
        assert not interruption.requested
    signal.signal(signal.SIGUSR1, before)
    assert signal.set_wakeup_fd(-1) == -1


def test_a_stall_dumps_stacks_and_has_its_own_exit_code():
    done = run_python(
        "import time\n"
        "from vidpretrain.train.interrupt import Watchdog\n"
        "def stuck():\n"
        "    time.sleep(60)\n"
        "Watchdog(0.3).beat()\n"
        "stuck()\n"
    )
    assert done.returncode == EXIT_STALLED
    assert "nothing happened for 0.3 s" in done.stderr
    assert "in stuck" in done.stderr


def test_beats_keep_the_watchdog_quiet():
    watchdog = Watchdog(0.5)
    for _ in range(6):
        watchdog.beat()
        time.sleep(0.15)
    watchdog.stop()


def batches(limit=None):
    for number in itertools.count() if limit is None else range(limit):
        yield Batch(
            video=np.full((2, 1, 1, 1, 3), number, np.uint8),
            label=np.full(2, number, np.int32),
            mask=np.ones(2, bool),
            example=np.arange(2),
        )


MESH_OF_ONE = parallel.make_mesh(data=1)


def test_batches_come_in_order_and_the_thread_ends():
    with Feed(batches(), MESH_OF_ONE) as feed:
        labels = [int(feed.next(lambda: False)["label"][0]) for _ in range(5)]
    assert labels == [0, 1, 2, 3, 4]
    assert not any(thread.name == "feed" for thread in threading.enumerate())


def test_an_error_of_the_reader_is_raised_where_the_batch_is_asked_for():
    def broken():
        yield from batches(1)
        raise OSError("the disk is gone")

    with Feed(broken(), MESH_OF_ONE) as feed:
        feed.next(lambda: False)
        with pytest.raises(OSError, match="the disk is gone"):
            feed.next(lambda: False)


def test_waiting_for_data_can_be_given_up():
    hold = threading.Event()

    def slow():
        hold.wait()
        yield from batches(1)

    with Feed(slow(), MESH_OF_ONE) as feed:
        assert feed.next(lambda: True) is None
        hold.set()
        assert feed.next(lambda: False) is not None


def test_a_filler_has_the_shape_of_a_batch_and_takes_none():
    with Feed(batches(), MESH_OF_ONE) as feed:
        first = feed.next(lambda: False)
        filler = feed.filler()
        assert int(feed.next(lambda: False)["label"][0]) == 1
    assert {k: (v.shape, v.dtype) for k, v in filler.items()} == {
        k: (v.shape, v.dtype) for k, v in first.items()
    }
    assert not np.any(filler["video"])
