# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The STS convolution: Li et al., ECCV 2022, equation 2 and Appendices A and B.2."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from tests.reference.conv import conv3d


def temporal_sts(
    x: np.ndarray,
    kernel: np.ndarray,
    num_static: int,
    strides: tuple[int, int, int] = (1, 1, 1),
    static: str = "raster",
) -> np.ndarray:
    """Lay the taps of the first channels along rows, of the next along columns, the rest in time.

    `x` is [B, T, H, W, I], `kernel` [KT, 1, 1, I, O]; `num_static` of the O are static.
    """
    out = conv3d(x, kernel, strides)
    out[..., :num_static] = 0
    for line, channels in (
        ("row", slice(0, num_static // 2)),
        ("column", slice(num_static // 2, num_static)),
    ):
        weights = kernel[:, 0, 0, :, channels]
        for place, (k, source) in _line_taps(x, out, len(weights), strides, static, line):
            out[:, :, *place, channels] += x[:, :, *source] @ weights[k]
    return out


def channelwise_sts(
    x: np.ndarray,
    kernel: np.ndarray,
    num_static: int,
    strides: tuple[int, int, int] = (1, 1, 1),
    static: str = "raster",
) -> np.ndarray:
    """Convolve the first channels with tap 1 in 2D, tap 0 along rows, tap 2 along columns.

    `x` is [B, T, H, W, C], `kernel` [3, 3, 3, 1, C]; `num_static` of the C are static.
    """
    channels = x.shape[-1]
    out = conv3d(x, kernel, strides, groups=channels)
    first, only = x[..., :num_static], slice(0, num_static)
    out[..., only] = conv3d(first, kernel[1:2, ..., only], strides, groups=num_static)
    if static == "dilated":
        for tap, rate in ((0, 2), (2, 3)):
            out[..., only] += conv3d(
                first,
                kernel[tap : tap + 1, ..., only],
                strides,
                groups=num_static,
                dilation=(1, rate, rate),
            )
        return out
    for line, tap in (("row", 0), ("column", 2)):
        # Both are read row by row, the one along the columns, too.
        weights = kernel[tap, :, :, 0, only].reshape(9, num_static)
        for place, (k, source) in _line_taps(x, out, 9, strides, static, line):
            out[:, :, *place, only] += first[:, :, *source] * weights[k]
    return out


def _line_taps(
    x: np.ndarray,
    out: np.ndarray,
    num_taps: int,
    strides: tuple[int, int, int],
    static: str,
    line: str,
) -> Iterator[tuple[tuple[int, int], tuple[int, tuple[int, int]]]]:
    """Yield (i, j), (k, (row, column)): output (i, j) reads that pixel with weight k."""
    (height, width), (out_height, out_width) = x.shape[2:4], out.shape[2:4]
    for i, j, k in itertools.product(range(out_height), range(out_width), range(num_taps)):
        offset = k - num_taps // 2
        if static == "raster":
            step = strides[1] * strides[2]
            start = step * (i * out_width + j if line == "row" else j * out_height + i)
            index = start + offset
            if not 0 <= index < height * width:
                continue
            if line == "row":
                pixel = (index // width, index % width)
            else:
                pixel = (index % height, index // height)
        else:
            pixel = (i * strides[1], j * strides[2])
            if line == "row":
                pixel = (pixel[0], pixel[1] + offset)
            else:
                pixel = (pixel[0] + offset, pixel[1])
            if not (0 <= pixel[0] < height and 0 <= pixel[1] < width):
                continue
        yield (i, j), (k, pixel)
