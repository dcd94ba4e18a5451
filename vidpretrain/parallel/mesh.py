# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The device mesh, and how batches and state lie on it.

The mesh has two axes. A batch is cut along its first axis over every device, whichever of the two
it lies along. The state is whole on each device along `data`, and cut along `fsdp`. XLA's
partitioner derives the collectives from that, so the step has none of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

DATA_AXIS = "data"
FSDP_AXIS = "fsdp"

_INFERRED = -1


def make_mesh(
    *, data: int = _INFERRED, fsdp: int = 1, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """Return a mesh with the axes `data` and `fsdp`.

    Devices are taken process by process, so the rows of a batch lie on the processes in order, and
    the devices of one `fsdp` group on one host where they fit.

    Args:
        data: devices along `data`; -1 for as many as there are.
        fsdp: devices along `fsdp`; likewise, but only one of the two may be -1.
        devices: what to build it of; None for those of all processes.

    Raises:
        ValueError: a size is out of range, or the devices do not divide so.
    """
    if devices is None:
        devices = jax.devices()
    devices = sorted(devices, key=lambda device: (device.process_index, device.id))
    sizes = _infer({DATA_AXIS: data, FSDP_AXIS: fsdp}, len(devices))
    used = devices[: sizes[DATA_AXIS] * sizes[FSDP_AXIS]]
    if len(used) < len(devices) and devices[-1].process_index != devices[0].process_index:
        raise ValueError(
            f"{_product(sizes)} is {len(used)} of {len(devices)} devices; several processes must "
            "use all: give -1 for one of the two"
        )
    return Mesh(np.asarray(used).reshape(tuple(sizes.values())), tuple(sizes))


def _infer(sizes: dict[str, int], num_devices: int) -> dict[str, int]:
    """Put a number in the place of -1, and see that the sizes divide the devices."""
    for axis, size in sizes.items():
        if size < 1 and size != _INFERRED:
            raise ValueError(f"parallel.{axis}={size}; give -1 for all devices, or at least 1")
    inferred = [axis for axis, size in sizes.items() if size == _INFERRED]
    if len(inferred) > 1:
        raise ValueError(f"{_product(sizes)}: only one of the two can be -1")
    given = int(np.prod([size for size in sizes.values() if size != _INFERRED]))
    if num_devices % given:
        divisors = [n for n in range(1, num_devices + 1) if num_devices % n == 0]
        raise ValueError(
            f"{_product(sizes)} does not divide the {num_devices} device(s) there are; the sizes "
            f"given must have a product of {', '.join(map(str, divisors))}"
        )
    return {axis: num_devices // given if axis in inferred else n for axis, n in sizes.items()}


def _product(sizes: dict[str, int]) -> str:
    return " x ".join(f"parallel.{axis}={size}" for axis, size in sizes.items())


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding of arrays cut along their first axis, over all devices."""
    return NamedSharding(mesh, PartitionSpec((DATA_AXIS, FSDP_AXIS)))


def fsdp_sharding(tree: Any, mesh: Mesh) -> Any:
    """Return how arrays are cut over `fsdp`: each along the largest axis that divides.

    An array without such an axis is whole on every device. Of equal axes the last is cut: that of
    output channels.

    Args:
        tree: a pytree of what has a shape.
        mesh: from `make_mesh`.

    Returns:
        The same pytree of shardings.

    References:
        Rajbhandari et al., ZeRO, 2020, section 5: stages 1 to 3.
    """
    return jax.tree.map(lambda leaf: _cut_largest(leaf.shape, mesh), tree)


def _cut_largest(shape: Sequence[int], mesh: Mesh) -> NamedSharding:
    parts = mesh.shape[FSDP_AXIS]
    divisible = [axis for axis, size in enumerate(shape) if size and size % parts == 0]
    if parts == 1 or not divisible:
        return replicated(mesh)
    largest = max(divisible, key=lambda axis: (shape[axis], axis))
    return NamedSharding(mesh, PartitionSpec(*[None] * largest, FSDP_AXIS))


def gather(tree: Any, mesh: Mesh) -> Any:
    """Make arrays whole on every device, within a compiled function.

    A network computes on gathered parameters: without this, the partitioner cuts some convolutions
    along channels, to save a gather, and moves activations about instead.
    """
    return jax.lax.with_sharding_constraint(tree, replicated(mesh))


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


def put_whole(tree: Any, mesh: Mesh) -> Any:
    """Move arrays to every device of a mesh; what lies on the mesh, cut or whole, stays as it is.

    Args:
        tree: a pytree of arrays, the same on every process.
        mesh: from `make_mesh`.
    """

    def put(leaf: Any) -> jax.Array:
        sharding = getattr(leaf, "sharding", None)
        if isinstance(sharding, NamedSharding) and sharding.mesh == mesh:
            return leaf
        return jax.device_put(leaf, replicated(mesh))

    return jax.tree.map(put, tree)


def put_batch(batch: Any, mesh: Mesh) -> Any:
    """Move this process's slice of a batch to its devices.

    Args:
        batch: a pytree of NumPy arrays `[B / num_processes, ...]`.
        mesh: the mesh to cut them over.

    Returns:
        The same pytree of global `jax.Array`s `[B, ...]`.
    """
    sharding = batch_sharding(mesh)
    # Asked for by name, but JAX's guard takes it for hidden where there are several processes.
    with jax.transfer_guard("allow"):
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)
