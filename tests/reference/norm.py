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
