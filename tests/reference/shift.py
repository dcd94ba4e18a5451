# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The temporal shift: Lin et al., ICCV 2019."""

from __future__ import annotations

import numpy as np


def temporal_shift(x: np.ndarray, num_shifted: int) -> np.ndarray:
    """Read the first channels from the next frame, as many more from the one before."""
    out = np.zeros_like(x)
    frames = x.shape[1]
    for t in range(frames):
        for c in range(x.shape[-1]):
            source = t + 1 if c < num_shifted else t - 1 if c < 2 * num_shifted else t
            if 0 <= source < frames:
                out[:, t, ..., c] = x[:, source, ..., c]
    return out
