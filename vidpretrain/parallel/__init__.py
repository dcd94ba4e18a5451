# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Devices, meshes and hosts."""

from vidpretrain.parallel.agreement import (
    DisagreementError,
    PeerError,
    gather_texts,
    require_same,
    together,
)
from vidpretrain.parallel.hosts import (
    AUTO,
    HEARTBEAT_SEC,
    JOIN_SEC,
    MODES,
    JoinError,
    find_launcher,
    is_first_process,
    is_joined,
    join,
    leave,
)
from vidpretrain.parallel.mesh import (
    batch_sharding,
    fsdp_sharding,
    gather,
    make_mesh,
    process_slice,
    put_batch,
    put_whole,
    replicated,
)

__all__ = [
    "AUTO",
    "HEARTBEAT_SEC",
    "JOIN_SEC",
    "MODES",
    "DisagreementError",
    "JoinError",
    "PeerError",
    "batch_sharding",
    "find_launcher",
    "fsdp_sharding",
    "gather",
    "gather_texts",
    "is_first_process",
    "is_joined",
    "join",
    "leave",
    "make_mesh",
    "process_slice",
    "put_batch",
    "put_whole",
    "replicated",
    "require_same",
    "together",
]
