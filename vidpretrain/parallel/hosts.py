# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Several processes that train as one: how they find each other, and who writes."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Mapping

import jax

from vidpretrain.suggest import closest

HEARTBEAT_SEC = 100.0
"""How long a silent process is waited for."""

AUTO, ON, OFF = MODES = ("auto", "on", "off")

_CLOUD_TPU = "Cloud TPU"
# What tells that a launcher started this process as one of several. JAX's own detection looks at
# the same, in this order. The last is set by importing JAX where libtpu finds chips.
_LAUNCHERS = {
    "Open MPI": ("OMPI_MCA_orte_hnp_uri",),
    "Slurm": (
        "SLURM_JOB_ID",
        "SLURM_STEP_NODELIST",
        "SLURM_NTASKS",
        "SLURM_PROCID",
        "SLURM_LOCALID",
    ),
    "Kubernetes": ("KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"),
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

    Returns:
        Whether there is something to join; a launcher may have started one process only.

    Raises:
        JoinError: some of the three are given and others are not, one is out of range, or the
            environment does not tell.
        ConnectionError: the others cannot be reached.

    Note:
        JAX's own preemption service is left off: it would take SIGTERM away from
        `train.interrupt`, which asks at every step.
    """
    _check(coordinator, num_processes, process_id, distributed, heartbeat_sec)
    launcher = find_launcher(os.environ)
    if coordinator is None:
        if distributed == OFF or (distributed == AUTO and launcher is None):
            return False
        if launcher in _NUM_TASKS and _num_tasks(launcher, os.environ) == 1:
            # JAX's port derives from the job, which may have several runs of one process.
            coordinator, num_processes, process_id = f"localhost:{_free_port()}", 1, 0
    try:
        _initialize(coordinator, num_processes, process_id, math.ceil(heartbeat_sec))
    except ValueError as error:
        if distributed == AUTO and launcher == _CLOUD_TPU:
            return False  # Chips without metadata of a slice, as in a notebook's machine.
        raise JoinError(
            f"the environment does not tell which process this is ({error}); give --coordinator, "
            "--num_processes and --process_id, or --distributed=off to train alone"
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


def leave() -> None:
    """Wait until the others have come to their end, too; nothing if there are none."""
    if jax.distributed.is_initialized():
        jax.distributed.shutdown()


def is_first_process() -> bool:
    """Say whether this process writes what all of them share, and speaks for them."""
    return jax.process_index() == 0


def _check(
    coordinator: str | None,
    num_processes: int | None,
    process_id: int | None,
    distributed: str,
    heartbeat_sec: float,
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
    if coordinator is not None and not coordinator.rpartition(":")[2].isdigit():
        raise JoinError(f"coordinator={coordinator!r} must be HOST:PORT, such as 10.0.0.2:1234")
    if num_processes is not None and process_id not in range(num_processes):
        raise JoinError(
            f"process_id={process_id} of num_processes={num_processes}; it must be from 0 to "
            "one less than their number"
        )
    if heartbeat_sec <= 0:
        raise JoinError(f"heartbeat_sec={heartbeat_sec}; it must be positive")


def _initialize(
    coordinator: str | None, num_processes: int | None, process_id: int | None, patience_sec: int
) -> None:
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        coordinator,
        num_processes,
        process_id,
        # Asked anyway, a launcher would take all GPUs but one from a process that flags place.
        cluster_detection_method=None if coordinator is None else "deactivate",
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
