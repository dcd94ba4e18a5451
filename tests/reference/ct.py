# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Channel tensorization: Li et al., ICLR 2021."""

from __future__ import annotations

import math

import numpy as np

from tests.reference.conv import conv3d


def ct_conv(
    x: np.ndarray,
    kernel: np.ndarray,
    dims: tuple[int, ...],
    axis: int,
    strides: tuple[int, int, int] = (1, 1, 1),
) -> np.ndarray:
    """Mix channels along one sub-dimension: line by line of the grid that the channels form.

    `x` is [B, T, H, W, C] with channels in row-major order of `dims`; `kernel` is
    [KT, KH, KW, dims[axis], *dims], the last axes naming the output channel.
    """
    grid = x.reshape(*x.shape[:4], *dims)
    out = None
    for line in np.ndindex(dims[:axis] + dims[axis + 1 :]):
        at = (*line[:axis], slice(None), *line[axis:])
        y = conv3d(grid[..., *at], kernel[..., *at], strides)
        if out is None:
            out = np.zeros((*y.shape[:4], *dims))
        out[..., *at] = y
    return out.reshape(*out.shape[:4], math.prod(dims))
