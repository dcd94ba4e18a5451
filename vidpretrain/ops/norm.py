# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation over [B, T, H, W, C] clips."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax

from vidpretrain.ops.platform import jit_as


def batch_norm(
    x: Array, mean: Array, var: Array, scale: Array, bias: Array, *, eps: float
) -> Array:
    """Normalise channels: `(x - mean) / sqrt(var + eps) * scale + bias`.

    Args:
        x: `[..., C]`.
        mean: Mean per channel, `[C]`: of the batch in training, running in evaluation.
        var: Variance per channel, `[C]`.
        scale: Scale per channel, `[C]`.
        bias: Bias per channel, `[C]`.
        eps: Added to the variance.

    Returns:
        `[..., C]` in the dtype of `x`; the arithmetic is in float32.

    References:
        Ioffe and Szegedy, Batch Normalization, ICML 2015.
    """
    return _batch_norm(x, mean, var, scale, bias, eps=eps)


def batch_moments(x: Array) -> tuple[Array, Array]:
    """Return the mean and the biased variance of each channel, `[C]` each, in float32."""
    axes = tuple(range(x.ndim - 1))
    x = x.astype(jnp.float32)
    mean = jnp.mean(x, axis=axes, keepdims=True)
    var = jnp.mean(jnp.square(x - mean), axis=axes)
    return mean.reshape(-1), var


@jit_as("batch_norm", static=("eps",))
def _batch_norm(
    x: Array, mean: Array, var: Array, scale: Array, bias: Array, *, eps: float
) -> Array:
    mean, var, scale, bias = (a.astype(jnp.float32) for a in (mean, var, scale, bias))
    gain = scale * lax.rsqrt(var + eps)
    shift = bias - mean * gain
    shape = (1,) * (x.ndim - 1) + (-1,)
    return (x.astype(jnp.float32) * gain.reshape(shape) + shift.reshape(shape)).astype(x.dtype)
