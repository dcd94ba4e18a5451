# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The temporal shift (TSM)."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from vidpretrain.ops.platform import jit_as


def temporal_shift(x: Array, fraction: float = 1 / 8) -> Array:
    """Shift some channels by a frame: the first fraction back in time, the second forward.

    Frame t reads the first `floor(C * fraction)` channels from frame t + 1, as many more from
    frame t - 1, and the rest from itself; beyond the clip are zeros.

    Args:
        x: Clip, `[B, T, H, W, C]`.
        fraction: Share of the channels shifted each way, from 0 to 1/2.

    Returns:
        `[B, T, H, W, C]`.

    Raises:
        ValueError: If the fraction is out of range.

    References:
        Lin et al., TSM: Temporal Shift Module for Efficient Video Understanding, ICCV 2019,
        bi-directional shift, zero padding.
    """
    if not 0 <= fraction <= 0.5:
        raise ValueError(f"the shifted fraction must be from 0 to 1/2, got {fraction}")
    return _temporal_shift(x, fold=int(x.shape[-1] * fraction))


@jit_as("temporal_shift", static=("fold",))
def _temporal_shift(x: Array, *, fold: int) -> Array:
    zeros = jnp.zeros_like(x[:, :1, ..., :fold])
    from_next = jnp.concatenate([x[:, 1:, ..., :fold], zeros], axis=1)
    from_previous = jnp.concatenate([zeros, x[:, :-1, ..., fold : 2 * fold]], axis=1)
    return jnp.concatenate([from_next, from_previous, x[..., 2 * fold :]], axis=-1)
