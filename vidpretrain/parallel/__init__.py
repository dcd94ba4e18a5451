# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Devices, meshes and hosts."""

from vidpretrain.parallel.hosts import HEARTBEAT_SEC, JoinError, is_first_process, join, leave
from vidpretrain.parallel.mesh import (
    batch_sharding,
    fsdp_sharding,
    gather,
    make_mesh,
    process_slice,
    put_batch,
    replicated,
)

__all__ = [
    "HEARTBEAT_SEC",
    "JoinError",
    "batch_sharding",
    "fsdp_sharding",
    "gather",
    "is_first_process",
    "join",
    "leave",
    "make_mesh",
    "process_slice",
    "put_batch",
    "replicated",
]
