# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The device mesh, and how batches and state lie on it.

The batch is cut along its first axis over every device; the state is whole on each. XLA's
partitioner (GSPMD) derives the collectives from that, so the step has none of its own.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

DATA_AXIS = "data"


def make_mesh(*, num_devices: int = -1) -> Mesh:
    """Return a one-dimensional mesh with the axis `data`.

    Args:
        num_devices: how many devices, of all hosts, to use; -1 for every one.

    Raises:
        ValueError: `num_devices` is neither -1 nor between 1 and the devices that exist.
    """
    devices = jax.devices()
    if num_devices == -1:
        num_devices = len(devices)
    if not 1 <= num_devices <= len(devices):
        raise ValueError(
            f"parallel.num_devices={num_devices}, but {len(devices)} {devices[0].platform} "
            f"device(s) exist; give -1 for all, or 1 to {len(devices)}"
        )
    return Mesh(np.asarray(devices[:num_devices]), (DATA_AXIS,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding of arrays cut along their first axis."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def process_slice(batch_size: int, mesh: Mesh, *, what: str = "batch_size") -> int:
    """Return how many examples of a global batch this process feeds.

    Args:
        batch_size: examples in a global batch.
        mesh: the mesh that the batch is cut over.
        what: the config field to name in the error.

    Raises:
        ValueError: the batch does not divide by the devices.
    """
    if batch_size < 1 or batch_size % mesh.size:
        raise ValueError(
            f"{what}={batch_size} does not divide over {mesh.size} devices; "
            f"give a multiple of {mesh.size}"
        )
    return batch_size // mesh.size * len(mesh.local_devices)


def put_batch(batch: Any, mesh: Mesh) -> Any:
    """Move this process's slice of a batch to its devices.

    Args:
        batch: a pytree of NumPy arrays `[B / num_processes, ...]`.
        mesh: the mesh to cut them over.

    Returns:
        The same pytree of global `jax.Array`s `[B, ...]`.
    """
    sharding = batch_sharding(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)
