# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pooling over [B, T, H, W, C] clips."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax import Array, lax

from vidpretrain.ops.platform import jit_as
from vidpretrain.ops.windows import Triple, output_size


def max_pool(
    x: Array, window: Triple, *, strides: Triple = (1, 1, 1), padding: Triple = (0, 0, 0)
) -> Array:
    """Take the maximum of each window; padding is minus infinity.

    Args:
        x: Clip, `[B, T, H, W, C]`.
        window: Frames, height and width of the window.
        strides: Strides over time, height and width.
        padding: Symmetric padding of each axis.

    Returns:
        `[B, T', H', W', C]`.

    Raises:
        ValueError: If no window fits into the clip.
    """
    _check_window(x, window, strides, padding)
    return _max_pool(x, window=tuple(window), strides=tuple(strides), padding=tuple(padding))


def avg_pool(
    x: Array, window: Triple, *, strides: Triple = (1, 1, 1), padding: Triple = (0, 0, 0)
) -> Array:
    """Average each window; zeros of the padding count, as in PyTorch's default.

    Args:
        x: Clip, `[B, T, H, W, C]`.
        window: Frames, height and width of the window.
        strides: Strides over time, height and width.
        padding: Symmetric padding of each axis.

    Returns:
        `[B, T', H', W', C]`.

    Raises:
        ValueError: If no window fits into the clip.
    """
    _check_window(x, window, strides, padding)
    return _avg_pool(x, window=tuple(window), strides=tuple(strides), padding=tuple(padding))


def adaptive_avg_pool(x: Array, axes: tuple[int, ...] = (1, 2, 3)) -> Array:
    """Average over whole axes, which stay with size 1: a pooling *layer*, which counters count.

    Args:
        x: Clip, `[B, T, H, W, C]`.
        axes: Axes to average over.
    """
    return _adaptive_avg_pool(x, axes=tuple(axes))


def functional_avg_pool(x: Array, axes: tuple[int, ...] = (1, 2, 3)) -> Array:
    """Average over whole axes, which stay with size 1: a *function*, which counters pass over.

    The papers' counters see layers only; `adaptive_avg_pool` is the same sum, counted.
    """
    return _functional_avg_pool(x, axes=tuple(axes))


def _check_window(x: Array, window: Triple, strides: Triple, padding: Triple) -> None:
    if min(output_size(x.shape[1:4], window, strides, padding)) < 1:
        raise ValueError(
            f"a pooling window of {tuple(window)} with padding {tuple(padding)} is larger than "
            f"the clip of {x.shape[1:4]} (frames, height, width); give a larger clip"
        )


@jit_as("max_pool", static=("window", "strides", "padding"))
def _max_pool(x: Array, *, window: Triple, strides: Triple, padding: Triple) -> Array:
    return lax.reduce_window(
        x,
        -jnp.inf,
        lax.max,
        (1, *window, 1),
        (1, *strides, 1),
        [(0, 0), *((p, p) for p in padding), (0, 0)],
    )


@jit_as("avg_pool", static=("window", "strides", "padding"))
def _avg_pool(x: Array, *, window: Triple, strides: Triple, padding: Triple) -> Array:
    total = lax.reduce_window(
        x.astype(jnp.float32),
        0.0,
        lax.add,
        (1, *window, 1),
        (1, *strides, 1),
        [(0, 0), *((p, p) for p in padding), (0, 0)],
    )
    return (total / math.prod(window)).astype(x.dtype)


@jit_as("adaptive_avg_pool", static=("axes",))
def _adaptive_avg_pool(x: Array, *, axes: tuple[int, ...]) -> Array:
    return jnp.mean(x, axis=axes, keepdims=True)


@jit_as("functional_avg_pool", static=("axes",))
def _functional_avg_pool(x: Array, *, axes: tuple[int, ...]) -> Array:
    return jnp.mean(x, axis=axes, keepdims=True)
