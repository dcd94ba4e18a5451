# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Several processes that train as one: how they find each other, and who writes."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping

import jax

from vidpretrain.suggest import closest

HEARTBEAT_SEC = 100.0
"""How long a silent process is waited for."""
JOIN_SEC = 300.0
"""How long a process that has not started yet is waited for."""
_MOST_SEC = 86_400.0
_QUIET_SEC = 10.0  # of waiting, before it is said for whom
_TRY_SEC, _POLL_SEC = 1.0, 0.2

AUTO, ON, OFF = MODES = ("auto", "on", "off")

_KUBERNETES, _CLOUD_TPU = "Kubernetes", "Cloud TPU"
# What tells that a launcher started this process as one of several; JAX's own detection looks at
# the same. The last is set by importing JAX where libtpu finds chips.
_LAUNCHERS = {
    "Open MPI": ("OMPI_MCA_orte_hnp_uri",),
    "Slurm": (
        "SLURM_JOB_ID",
        "SLURM_STEP_NODELIST",
        "SLURM_NTASKS",
        "SLURM_PROCID",
        "SLURM_LOCALID",
    ),
    _KUBERNETES: ("KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"),
    _CLOUD_TPU: ("TPU_ML_PLATFORM",),
}
_NUM_TASKS = {"Open MPI": "OMPI_COMM_WORLD_SIZE", "Slurm": "SLURM_STEP_NUM_TASKS"}


class JoinError(ValueError):
    """The other processes cannot be joined; the message says what would do."""


def join(
    *,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    distributed: str = AUTO,
    heartbeat_sec: float = HEARTBEAT_SEC,
    join_sec: float = JOIN_SEC,
    exit_alone: int = 1,
) -> bool:
    """Join the other processes of a run; call it before any other use of JAX.

    Args:
        coordinator: `HOST:PORT` of process 0, which listens there. None asks the environment
            (Slurm, Open MPI, Kubernetes, Cloud TPU) for this and the next two.
        num_processes: how many there are.
        process_id: which one this is, from 0.
        distributed: "auto" joins where a launcher's environment is found, and trains alone where
            none is; "on" must find one; "off" asks no environment.
        heartbeat_sec: when one process has been silent for so long, the others end.
        join_sec: when the others have not come in so long, this one ends.
        exit_alone: with this code, unless it can raise `ConnectionError`.

    Returns:
        Whether there is something to join; a launcher may have started one process only.

    Raises:
        JoinError: some of the three are given and others are not, one is out of range, or the
            environment does not tell.
        ConnectionError: process 0 cannot be reached, or its port is taken.

    Note:
        JAX cannot be called back from waiting for the others, and aborts when it has waited too
        long. So a thread says for whom this process waits, and ends it in time.

        JAX's own preemption service is left off: it would take SIGTERM away from
        `train.interrupt`, which asks at every step.
    """
    _check(coordinator, num_processes, process_id, distributed)
    _check_seconds(heartbeat_sec=heartbeat_sec, join_sec=join_sec)
    launcher = find_launcher(os.environ)
    if coordinator is None:
        if distributed == OFF or (distributed == AUTO and launcher is None):
            return False
        if launcher in _NUM_TASKS and _num_tasks(launcher, os.environ) == 1:
            # JAX's port derives from the job, which may have several runs of one process.
            coordinator, num_processes, process_id = f"localhost:{_free_port()}", 1, 0
    start = time.monotonic()
    if coordinator is not None and process_id == 0:
        _see_that_port_is_free(coordinator)
    elif coordinator is not None:
        _await_coordinator(coordinator, join_sec)
    try:
        left_sec = max(1.0, join_sec - (time.monotonic() - start))
        with _ending_in(left_sec, launcher if coordinator is None else None, exit_alone):
            _initialize(coordinator, num_processes, process_id, heartbeat_sec, left_sec)
    except ValueError as error:
        if distributed == AUTO and launcher == _CLOUD_TPU:
            return False  # Chips without metadata of a slice, as in a notebook's machine.
        hint = 'pip install "jax[k8s]", or ' if launcher == _KUBERNETES else ""
        raise JoinError(
            f"the environment does not tell which process this is ({error}); {hint}give "
            "--coordinator, --num_processes and --process_id, or --distributed=off to train alone"
        ) from error
    except RuntimeError as error:
        raise ConnectionError(
            f"the other processes cannot be reached: {error}; if this one was to train alone, "
            "give --distributed=off"
        ) from error
    return True


def find_launcher(environment: Mapping[str, str]) -> str | None:
    """Return what started this process as one of several, as its environment tells.

    Returns:
        A name, or None: a shell on a node of a Slurm allocation, say, or a pod of no indexed job.
    """
    for name, variables in _LAUNCHERS.items():
        if all(variable in environment for variable in variables):
            # Where JAX may not use the chips, a slice's other hosts are not in the run.
            if name == _CLOUD_TPU and "tpu" not in environment.get("JAX_PLATFORMS", "tpu"):
                return None
            return name
    return None


def is_joined() -> bool:
    """Say whether this process has joined others."""
    return bool(jax.distributed.is_initialized())


def leave() -> None:
    """Wait until the others have come to their end, too; nothing if there are none."""
    if is_joined():
        jax.distributed.shutdown()


def is_first_process() -> bool:
    """Say whether this process writes what all of them share, and speaks for them."""
    return jax.process_index() == 0


def _check(
    coordinator: str | None,
    num_processes: int | None,
    process_id: int | None,
    distributed: str,
) -> None:
    if distributed not in MODES:
        raise JoinError(f"--distributed={distributed}; {closest(distributed, MODES)}")
    given = (coordinator, num_processes, process_id)
    if None in given and any(value is not None for value in given):
        raise JoinError(
            f"coordinator={coordinator}, num_processes={num_processes}, process_id={process_id}: "
            "give all three, or none of them to ask the environment"
        )
    if coordinator is not None and distributed == OFF:
        raise JoinError(f"--distributed=off, but --coordinator={coordinator}; give one of the two")
    if coordinator is not None:
        host, _, port = coordinator.rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) < 2**16):
            raise JoinError(f"coordinator={coordinator!r} must be HOST:PORT, such as 10.0.0.2:1234")
    if num_processes is not None and process_id not in range(num_processes):
        raise JoinError(
            f"process_id={process_id} of num_processes={num_processes}; it must be from 0 to "
            "one less than their number"
        )


def _check_seconds(**fields: float) -> None:
    for field, value in fields.items():
        if not 0 < value <= _MOST_SEC:
            raise JoinError(f"{field}={value}; it must be positive, and at most {_MOST_SEC:g}")


def _see_that_port_is_free(coordinator: str) -> None:
    """Raise if something listens where process 0 is to; JAX's own server would share the port."""
    port = int(coordinator.rpartition(":")[2])
    with socket.socket() as probe:
        # What a run that has just ended leaves behind is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
            probe.listen()
        except OSError as error:
            taken = "; another run has it, or another process was started as process_id=0"
            raise ConnectionError(
                f"process 0 cannot listen at port {port} of {coordinator}: {error.strerror}"
                + (taken if error.errno == errno.EADDRINUSE else "")
            ) from error


def _await_coordinator(coordinator: str, join_sec: float) -> None:
    """Wait until something listens at process 0's address."""
    host, _, port = coordinator.rpartition(":")
    start, told = time.monotonic(), False
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=_TRY_SEC):
                return
        except UnicodeError as error:
            raise JoinError(f"coordinator={coordinator!r} is no host's name: {error}") from error
        except OSError as error:
            problem = error
        waited = time.monotonic() - start
        if waited > join_sec:
            raise ConnectionError(
                f"process 0 could not be reached at {coordinator} in {join_sec:g} s: {problem}; "
                "see that it was started, that --coordinator is its address for all, and that no "
                "firewall is between them (--join_sec waits longer)"
            ) from problem
        if waited > _QUIET_SEC and not told:
            _say(f"waiting for process 0 at {coordinator} ({problem}), {join_sec:g} s at most")
            told = True
        time.sleep(_POLL_SEC)


@contextlib.contextmanager
def _ending_in(join_sec: float, launcher: str | None, exit_alone: int) -> Iterator[None]:
    """Say, while this process waits in JAX, for what; end it when it has waited too long."""
    joined = threading.Event()

    def watch() -> None:
        if joined.wait(min(_QUIET_SEC, join_sec)):
            return
        _say(f"waiting for the other processes to join, {join_sec:.0f} s at most")
        if joined.wait(max(0.0, join_sec - _QUIET_SEC)):
            return
        how = f"by {launcher}" if launcher else "with a --process_id of its own"
        _say(
            f"error: the other processes did not join in {join_sec:.0f} s; see that each was "
            f"started, {how} (--join_sec waits longer)"
        )
        os._exit(exit_alone)

    threading.Thread(target=watch, name="joining", daemon=True).start()
    try:
        yield
    finally:
        joined.set()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _initialize(
    coordinator: str | None,
    num_processes: int | None,
    process_id: int | None,
    heartbeat_sec: float,
    join_sec: float,
) -> None:
    patience_sec = math.ceil(heartbeat_sec)
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        coordinator,
        num_processes,
        process_id,
        # Asked anyway, a launcher would take all GPUs but one from a process that flags place.
        cluster_detection_method=None if coordinator is None else "deactivate",
        # Later than our own end of waiting, which says more.
        initialization_timeout=math.ceil(join_sec) + 60,
        heartbeat_timeout_seconds=patience_sec,
        # Who fails does not wait longer for the others at its end.
        shutdown_timeout_seconds=patience_sec,
    )
    jax.config.update("jax_cpu_collectives_implementation", "gloo")


def _num_tasks(launcher: str, environment: Mapping[str, str]) -> int | None:
    """Return how many processes a launcher says it has started together.

    Slurm's SLURM_NTASKS is that of the allocation: an interactive shell in it is one task.
    """
    number = environment.get(_NUM_TASKS[launcher], "")
    return int(number) if number.isdigit() else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])
