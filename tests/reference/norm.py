# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation, channel by channel."""

from __future__ import annotations

import numpy as np


def batch_norm(x: np.ndarray, scale: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    """Normalise with the batch's own mean and biased variance."""
    out = np.zeros_like(x)
    for c in range(x.shape[-1]):
        values = x[..., c]
        mean = values.sum() / values.size
        var = ((values - mean) ** 2).sum() / values.size
        out[..., c] = (values - mean) / np.sqrt(var + eps) * scale[c] + bias[c]
    return out


def grouped_batch_norm(
    x: np.ndarray, group: int, scale: np.ndarray, bias: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalise each `group` clips alone; return also the groups' mean means and variances.

    The variances are unbiased, as running ones are.
    """
    parts = [x[start : start + group] for start in range(0, len(x), group)]
    axes = tuple(range(x.ndim - 1))
    return (
        np.concatenate([batch_norm(part, scale, bias, eps) for part in parts]),
        np.mean([part.mean(axes) for part in parts], axis=0),
        np.mean([part.var(axes, ddof=1) for part in parts], axis=0),
    )
