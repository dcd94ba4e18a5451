# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Weights in and out: checkpoint folders, 2D to 3D, other frameworks' files, export."""

from vidpretrain.convert.folder import (
    Card,
    CheckpointError,
    find_checkpoint,
    read_card,
    read_variables,
    write_checkpoint,
)
from vidpretrain.convert.inflate import Report
from vidpretrain.convert.transfer import initialise
from vidpretrain.convert.tree import MismatchError

__all__ = [
    "Card",
    "CheckpointError",
    "MismatchError",
    "Report",
    "find_checkpoint",
    "initialise",
    "read_card",
    "read_variables",
    "write_checkpoint",
]
