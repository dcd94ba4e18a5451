# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Several processes that train as one: how they find each other, and who writes."""

from __future__ import annotations

import math

import jax

HEARTBEAT_SEC = 100.0
"""How long a silent process is waited for."""


class JoinError(ValueError):
    """The other processes cannot be joined; the message says what would do."""


def join(
    *,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    heartbeat_sec: float = HEARTBEAT_SEC,
) -> None:
    """Join the other processes of a run; call it before any other use of JAX.

    Args:
        coordinator: `HOST:PORT` of process 0, which listens there. None asks the environment
            (Slurm, Open MPI, Kubernetes, Cloud TPU) for this and the next two.
        num_processes: how many there are.
        process_id: which one this is, from 0.
        heartbeat_sec: when one process has been silent for so long, the others end.

    Raises:
        JoinError: some of the three are given and others are not, one is out of range, or the
            environment does not tell.
        ConnectionError: the others cannot be reached.

    Note:
        JAX's own preemption service is left off: it would take SIGTERM away from
        `train.interrupt`, which asks at every step.
    """
    given = (coordinator, num_processes, process_id)
    if None in given and any(value is not None for value in given):
        raise JoinError(
            f"coordinator={coordinator}, num_processes={num_processes}, process_id={process_id}: "
            "give all three, or none of them to ask the environment"
        )
    if coordinator is not None and not coordinator.rpartition(":")[2].isdigit():
        raise JoinError(f"coordinator={coordinator!r} must be HOST:PORT, such as 10.0.0.2:1234")
    if num_processes is not None and process_id not in range(num_processes):
        raise JoinError(
            f"process_id={process_id} of num_processes={num_processes}; it must be from 0 to "
            "one less than their number"
        )
    if heartbeat_sec <= 0:
        raise JoinError(f"heartbeat_sec={heartbeat_sec}; it must be positive")
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    patience_sec = math.ceil(heartbeat_sec)
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=patience_sec,
            # Who fails does not wait longer for the others at its end.
            shutdown_timeout_seconds=patience_sec,
        )
    except ValueError as error:
        raise JoinError(
            f"the environment does not tell which process this is ({error}); give --coordinator, "
            "--num_processes and --process_id"
        ) from error
    except RuntimeError as error:
        raise ConnectionError(f"the other processes cannot be reached: {error}") from error


def leave() -> None:
    """Wait until the others have come to their end, too; nothing if there are none."""
    if jax.distributed.is_initialized():
        jax.distributed.shutdown()


def is_first_process() -> bool:
    """Say whether this process writes what all of them share, and speaks for them."""
    return jax.process_index() == 0
