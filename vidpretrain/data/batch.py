# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The one thing that leaves this room: a batch of clips."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

PADDING = -1
"""The `example` of a row that stands for no example."""


class Batch(NamedTuple):
    """Clips with their labels, as hosts hand them to devices.

    An image is a clip with one frame. In evaluation with `V` views of every example (temporal
    clips times spatial crops), the views of one example are `V` consecutive rows with the same
    `label`, `mask` and `example`, so that `scores.reshape(-1, V, num_classes).mean(axis=1)`
    averages them.

    Attributes:
        video: uint8 `[B, T, H, W, C]`, raw grey levels 0 to 255.
        label: int32 `[B]`, from 0.
        mask: bool `[B]`, False for rows that only fill the batch up. Those are zeros, and they
            must not count.
        example: int32 `[B]`, position of the row's example in its source, `PADDING` where
            `mask` is False.
    """

    video: np.ndarray
    label: np.ndarray
    mask: np.ndarray
    example: np.ndarray
