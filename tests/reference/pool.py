# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pooling, window by window."""

from __future__ import annotations

import itertools

import numpy as np


def pool(
    x: np.ndarray,
    window: tuple[int, int, int],
    strides: tuple[int, int, int],
    padding: tuple[int, int, int],
    kind: str,
) -> np.ndarray:
    """Take the 'max' (padded with -inf) or 'avg' (padded with 0) of every window."""
    fill = -np.inf if kind == "max" else 0.0
    padded = np.pad(x, [(0, 0), *((p, p) for p in padding), (0, 0)], constant_values=fill)
    shape = [(n - k) // s + 1 for n, k, s in zip(padded.shape[1:4], window, strides, strict=True)]
    out = np.zeros((x.shape[0], *shape, x.shape[-1]))
    for position in itertools.product(*map(range, shape)):
        at = tuple(
            slice(n * s, n * s + k) for n, s, k in zip(position, strides, window, strict=True)
        )
        seen = padded[:, *at]
        out[:, *position] = seen.max((1, 2, 3)) if kind == "max" else seen.mean((1, 2, 3))
    return out
