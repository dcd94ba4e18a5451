# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Signals and the watchdog."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vidpretrain.train.interrupt import EXIT_INTERRUPTED, EXIT_STALLED, Interruption, Watchdog

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


@pytest.mark.parametrize("when", ["before", "within"])
def test_with_nothing_to_save_the_first_signal_ends_at_once(when):
    kill, wait = "    os.kill(os.getpid(), signal.SIGTERM)\n", "    time.sleep(60)\n"
    done = run_python(
        "import os, signal, time\n"
        "from vidpretrain.train.interrupt import Interruption\n"
        "with Interruption() as interruption:\n"
        f"{kill if when == 'before' else ''}"
        "    with interruption.nothing_to_save():\n"
        f"    {kill if when == 'within' else wait}"
        f"    {wait}"
    )
    assert done.returncode == EXIT_INTERRUPTED, done.stderr


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
