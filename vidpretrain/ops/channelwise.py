# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The channel-wise convolution as a sum of shifted, weighted clips.

XLA has it as a convolution with as many groups as channels, which its CPU backend runs a hundred
times slower than this. GPUs take this way, too, for their libraries have no fast kernel for it in
3D; there it has not been measured. TPUs keep XLA's instruction.
"""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
from jax import Array, lax

from vidpretrain.ops.windows import Sizes, Window

# The weight gradient adds up this many blocks elementwise before it reduces the rest.
MAX_BLOCKS = 16


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def channelwise_conv(x: Array, kernel: Array, window: Window) -> Array:
    """Convolve every channel with weights of its own.

    Args:
        x: Clip, `[B, T, H, W, C]`.
        kernel: Weights, `[KT, KH, KW, 1, C]`.
        window: The window; its taps are the kernel's.

    Returns:
        `[B, T', H', W', C]` in the dtype of `x`, accumulated in float32.
    """
    weights = kernel.astype(jnp.float32)
    total = sum(
        view * weights[tap][None, None, None, :]
        for tap, view in window.views(x.astype(jnp.float32))
    )
    return jnp.asarray(total, x.dtype)


def _forward(x: Array, kernel: Array, window: Window) -> tuple[Array, tuple[Array, Array]]:
    return channelwise_conv(x, kernel, window), (x, kernel)


def _backward(window: Window, saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    x, kernel = saved
    weights, cotangent = kernel.astype(jnp.float32), cotangent.astype(jnp.float32)
    x_gradient = window.scatter(
        (cotangent,), lambda tap, block: block * weights[tap][None, None, None, :], x.shape[1:4]
    )
    kernel_gradient = _kernel_gradient(x.astype(jnp.float32), cotangent, window)
    return x_gradient.astype(x.dtype), kernel_gradient.reshape(kernel.shape).astype(kernel.dtype)


def _kernel_gradient(x: Array, cotangent: Array, window: Window) -> Array:
    """Sum, for every tap and channel, the products of what it reads and the cotangent.

    A plain sum of products would be a reduction, before which each tap's view is copied. Adding
    blocks of the clip elementwise leaves the reduction a small part. One loop body serves all taps,
    for 27 of them would compile four times as long.
    """
    blocks, shape = _blocks(cotangent.shape)
    phases, places = window.phases(x)

    def products(place: Array) -> Array:
        def product(start: Sizes) -> Array:
            batch, *position, channel = start
            read = [n + shift for n, shift in zip(position, place, strict=True)]
            stop = [n + size for n, size in zip(start, shape, strict=True)]
            block = lax.dynamic_slice(phases, (batch, *read, channel), shape)
            return block * lax.slice(cotangent, start, stop)

        return functools.reduce(jnp.add, map(product, blocks))

    return jnp.sum(lax.map(products, jnp.asarray(list(places.values()))), axis=(1, 2, 3, 4))


def _blocks(shape: Sizes) -> tuple[list[Sizes], Sizes]:
    """Return the starts and the shape of equal blocks of a clip, cut along time, height, width."""
    size, limit = list(shape), MAX_BLOCKS
    for axis in (1, 2, 3):
        parts = max(n for n in range(1, limit + 1) if shape[axis] % n == 0)
        size[axis] //= parts
        limit //= parts
    starts = itertools.product(*(range(0, n, step) for n, step in zip(shape, size, strict=True)))
    return list(starts), tuple(size)


channelwise_conv.defvjp(_forward, _backward)
