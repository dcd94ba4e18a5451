# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The STH convolution: Li et al., 2020, equations 2 and 3, Figures 2 and 4."""

from __future__ import annotations

import numpy as np

from tests.reference.conv import conv3d


def sth_parts(
    x: np.ndarray,
    spatial_kernel: np.ndarray,
    temporal_kernel: np.ndarray,
    groups: int,
    merge: bool = False,
    strides: tuple[int, int, int] = (1, 1, 1),
    dilation: tuple[int, int, int] = (1, 1, 1),
) -> tuple[np.ndarray, np.ndarray]:
    """Output by output: temporal taps on one input group, spatial taps on the others.

    `x` is [B, T, H, W, I], `spatial_kernel` [1, KH, KW, I - I / g, O], `temporal_kernel`
    [KT, 1, 1, I / g, O].
    """
    features = spatial_kernel.shape[-1]
    by_group = np.split(x, groups, axis=-1)
    temporal, spatial = [], []
    for o in range(features):
        own = 0 if merge else o * groups // features
        others = np.concatenate(by_group[:own] + by_group[own + 1 :], axis=-1)
        one = slice(o, o + 1)
        temporal.append(
            conv3d(
                by_group[own],
                temporal_kernel[..., one],
                strides,
                dilation=(dilation[0], 1, 1),
            )
        )
        spatial.append(
            conv3d(others, spatial_kernel[..., one], strides, dilation=(1, *dilation[1:]))
        )
    return np.concatenate(temporal, axis=-1), np.concatenate(spatial, axis=-1)


def attentive_integration(
    temporal: np.ndarray, spatial: np.ndarray, kernel: np.ndarray, bias: np.ndarray
) -> np.ndarray:
    """a = softmax over {T, S} of one layer on both descriptors; a_T O_T + a_S O_S."""
    out = np.zeros_like(temporal)
    for b, t in np.ndindex(temporal.shape[:2]):
        logits = [part[b, t].mean((0, 1)) @ kernel + bias for part in (temporal, spatial)]
        weights = np.exp(logits) / np.exp(logits).sum(0)
        out[b, t] = weights[0] * temporal[b, t] + weights[1] * spatial[b, t]
    return out
