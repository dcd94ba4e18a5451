# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Convolutions, tap by tap."""

from __future__ import annotations

import itertools

import numpy as np


def conv3d(
    x: np.ndarray,
    kernel: np.ndarray,
    strides: tuple[int, int, int] = (1, 1, 1),
    padding: tuple[int, int, int] | None = None,
    groups: int = 1,
    dilation: tuple[int, int, int] = (1, 1, 1),
) -> np.ndarray:
    """Sum, over the taps and the channels c of output o's group, x[..., c] * kernel[..., c, o].

    `x` is [B, T, H, W, I], `kernel` [KT, KH, KW, I / groups, O].
    """
    size, taps = x.shape[1:4], kernel.shape[:3]
    if padding is None:
        padding = tuple(d * (k - 1) // 2 for k, d in zip(taps, dilation, strict=True))
    shape = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, taps, strides, padding, dilation, strict=True)
    ]
    inputs, outputs = kernel.shape[3], kernel.shape[4] // groups
    out = np.zeros((x.shape[0], *shape, kernel.shape[4]))
    for position in itertools.product(*map(range, shape)):
        for tap in itertools.product(*map(range, taps)):
            source = tuple(
                n * s + k * d - p
                for n, s, k, d, p in zip(position, strides, tap, dilation, padding, strict=True)
            )
            if any(not 0 <= m < n for m, n in zip(source, size, strict=True)):
                continue
            for group in range(groups):
                read = slice(group * inputs, (group + 1) * inputs)
                write = slice(group * outputs, (group + 1) * outputs)
                out[:, *position, write] += x[:, *source, read] @ kernel[*tap, :, write]
    return out
