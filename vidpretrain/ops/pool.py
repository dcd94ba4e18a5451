# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pooling over [B, T, H, W, C] clips."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jax import Array, lax

from vidpretrain.ops.platform import jit_as, target_platform
from vidpretrain.ops.windows import Triple, Window, output_size


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
    return _max_pool(x, window=Window(tuple(window), tuple(strides), tuple(padding)))


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


@jit_as("max_pool", static=("window",))
def _max_pool(x: Array, *, window: Window) -> Array:
    if target_platform() == "cpu":
        return _max_of_views(x, window)
    return lax.reduce_window(
        x,
        -jnp.inf,
        lax.max,
        (1, *window.taps, 1),
        (1, *window.strides, 1),
        [(0, 0), *((p, p) for p in window.padding), (0, 0)],
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_of_views(x: Array, window: Window) -> Array:
    """Pool as an elementwise maximum: the CPU's own gradient takes ten times as long."""
    return functools.reduce(jnp.maximum, (view for _, view in window.views(x, -jnp.inf)))


def _max_of_views_forward(x: Array, window: Window) -> tuple[Array, tuple[Array, Array]]:
    y = _max_of_views(x, window)
    return y, (x, y)


def _max_of_views_backward(
    window: Window, saved: tuple[Array, Array], cotangent: Array
) -> tuple[Array]:
    x, y = saved
    views = list(window.views(x, -jnp.inf))
    number = {tap: i for i, (tap, _) in enumerate(views)}
    # The first tap that holds the maximum, as the other backends have it.
    winner = jnp.full(y.shape, -1, jnp.int32)
    for tap, view in reversed(views):
        winner = jnp.where(view == y, number[tap], winner)

    def term(tap: tuple[int, ...], winner: Array, cotangent: Array) -> Array:
        return jnp.where(winner == number[tap], cotangent, 0)

    return (window.scatter((winner, cotangent), term, x.shape[1:4]),)


_max_of_views.defvjp(_max_of_views_forward, _max_of_views_backward)


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
