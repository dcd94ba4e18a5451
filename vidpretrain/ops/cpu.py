# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Dense and grouped 3D convolutions in the forms that XLA's CPU backend is fast in.

Its matrix products and 2D convolutions are near the machine's speed. Its 3D convolutions are two to
four times slower than sums of 2D ones, the weight gradients of its grouped ones up to a hundred
times slower than their forward pass. Everything is in float32, for there is no faster format.
"""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
from jax import Array, lax

from vidpretrain.ops.windows import Triple, output_size

Pair = tuple[int, int]

# Groups are merged into dense convolutions whose kernels are block-diagonal. Their zeros cost
# arithmetic, every convolution costs compilation, and narrow ones are slow. So there are as few of
# them as need no more multiply-accumulates than MAX_MACS in all, within the other two limits.
MAX_MACS = 2**26
MAX_PARTS = 4
MIN_PART_CHANNELS = 32


def convolve(
    x: Array, kernel: Array, strides: Triple, padding: Triple, groups: int, dilation: Triple
) -> Array:
    """Convolve a clip; arguments and result are those of `conv3d`, the padding given."""
    dtype = x.dtype
    x, kernel = x.astype(jnp.float32), kernel.astype(jnp.float32)
    if groups > 1:
        y = _grouped(x, kernel, strides, padding, groups, dilation)
    else:
        y = _dense(x, kernel, strides, padding, dilation)
    return y.astype(dtype)


def _grouped(
    x: Array, kernel: Array, strides: Triple, padding: Triple, groups: int, dilation: Triple
) -> Array:
    """Convolve as a few dense convolutions whose kernels are block-diagonal."""
    channels, width, features = x.shape[4], kernel.shape[3], kernel.shape[4]
    size = output_size(x.shape[1:4], kernel.shape[:3], strides, padding, dilation)
    macs = x.shape[0] * math.prod(size) * math.prod(kernel.shape[:3]) * channels * features
    parts = 1
    for number in range(2, MAX_PARTS + 1):
        fits = groups % number == 0 and channels // number >= MIN_PART_CHANNELS
        if fits and macs > parts * MAX_MACS:
            parts = number
    merged = groups // parts
    rows = jnp.arange(merged * width) // width
    columns = jnp.arange(features) // (features // groups) % merged
    kernel = jnp.where(
        (rows[:, None] == columns[None, :])[None, None, None],
        jnp.tile(kernel, (1, 1, 1, merged, 1)),
        0.0,
    )
    if parts == 1:
        return _dense(x, kernel, strides, padding, dilation)
    return jnp.concatenate(
        [
            _dense(inputs, weights, strides, padding, dilation)
            for inputs, weights in zip(
                jnp.split(x, parts, axis=-1), jnp.split(kernel, parts, axis=-1), strict=True
            )
        ],
        axis=-1,
    )


def _dense(x: Array, kernel: Array, strides: Triple, padding: Triple, dilation: Triple) -> Array:
    kt, kh, kw, _, features = kernel.shape
    if (kh, kw) == (1, 1) and padding[1:] == (0, 0):
        x = x[:, :, :: strides[1], :: strides[2]]
        if kt == 1 and padding[0] == 0:
            x = x[:, :: strides[0]]
            return (_rows(x) @ kernel[0, 0, 0]).reshape(*x.shape[:4], features)
        # Only time is convolved: pixels are one axis of an image that is T high.
        batch, frames, height, width, channels = x.shape
        y = _conv2d(
            x.reshape(batch, frames, height * width, channels),
            kernel[:, 0],
            (strides[0], 1),
            (padding[0], 0),
            (dilation[0], 1),
        )
        return y.reshape(batch, y.shape[1], height, width, features)
    size = output_size(x.shape[1:4], kernel.shape[:3], strides, padding, dilation)
    total = jnp.zeros((x.shape[0], *size, features), x.dtype)
    for tap in range(kt):
        # Outputs first to last read frames of the clip through this tap, the others only padding.
        offset = tap * dilation[0] - padding[0]
        first = max(0, -(offset // strides[0]))
        last = min(size[0] - 1, (x.shape[1] - 1 - offset) // strides[0])
        if first > last:
            continue
        start, stop = first * strides[0] + offset, last * strides[0] + offset + 1
        y = _by_frame(x[:, start : stop : strides[0]], kernel[tap], strides, padding, dilation)
        total += jnp.pad(y, ((0, 0), (first, size[0] - 1 - last), (0, 0), (0, 0), (0, 0)))
    return total


def _by_frame(x: Array, kernel: Array, strides: Triple, padding: Triple, dilation: Triple) -> Array:
    """Convolve each frame with a 2D kernel, frames folded into the batch."""
    images = x.reshape(-1, *x.shape[2:])
    y = _conv2d(images, kernel, strides[1:], padding[1:], dilation[1:])
    return y.reshape(*x.shape[:2], *y.shape[1:])


def _conv2d(x: Array, kernel: Array, strides: Pair, padding: Pair, dilation: Pair) -> Array:
    if min(kernel.shape[:2]) == 1 and strides == (1, 1):
        return _conv_line(x, kernel, padding, dilation)
    return _native_conv2d(x, kernel, strides, padding, dilation)


def _native_conv2d(x: Array, kernel: Array, strides: Pair, padding: Pair, dilation: Pair) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        [(p, p) for p in padding],
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv_line(x: Array, kernel: Array, padding: Pair, dilation: Pair) -> Array:
    """Convolve along one axis: a 2D convolution whose weight gradient is a matrix product.

    The general rule makes that gradient a convolution with a kernel as large as the image, which
    costs as much for three taps as for nine.
    """
    return _native_conv2d(x, kernel, (1, 1), padding, dilation)


def _conv_line_forward(
    x: Array, kernel: Array, padding: Pair, dilation: Pair
) -> tuple[Array, tuple[Array, Array]]:
    return _conv_line(x, kernel, padding, dilation), (x, kernel)


def _conv_line_backward(
    padding: Pair, dilation: Pair, saved: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    _, pullback = jax.vjp(lambda x: _native_conv2d(x, kernel, (1, 1), padding, dilation), x)
    (x_gradient,) = pullback(cotangent)
    # Tap k of output o reads x at o + k * dilation - padding; seen from x, the cotangents lie in
    # reverse, and those of all taps go side by side into one product.
    kh, kw, inputs, features = kernel.shape
    reach = tuple((k - 1) * d for k, d in zip((kh, kw), dilation, strict=True))
    around = [(r - p, p, 0) for r, p in zip(reach, padding, strict=True)]
    padded = lax.pad(cotangent, jnp.zeros((), cotangent.dtype), [(0, 0, 0), *around, (0, 0, 0)])
    height, width = x.shape[1:3]
    by_tap = [
        padded[:, reach[0] - i * dilation[0] :, reach[1] - j * dilation[1] :][:, :height, :width]
        for i, j in itertools.product(range(kh), range(kw))
    ]
    products = _rows(x).T @ _rows(jnp.concatenate(by_tap, axis=-1))
    kernel_gradient = jnp.moveaxis(products.reshape(inputs, kh, kw, features), 0, 2)
    return x_gradient, kernel_gradient


def _rows(x: Array) -> Array:
    """Flatten to a matrix of rows of channels: products over several axes at once are slow."""
    return x.reshape(-1, x.shape[-1])


_conv_line.defvjp(_conv_line_forward, _conv_line_backward)
