# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Channel tensorization (CT): channels as a grid of sub-dimensions, mixed one at a time.

Channels along the last sub-dimension are neighbours, so mixing those is a convolution with as many
groups as the other sub-dimensions have places; transposing brings the next sub-dimension there.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax import Array


def channel_dims(channels: int, num_dims: int) -> tuple[int, ...]:
    """Return the sub-dimensions into which channels are split by default.

    For two, `2^floor(log2(C) / 2)` and the rest: 64 -> 8 x 8, 128 -> 8 x 16, 256 -> 16 x 16,
    512 -> 16 x 32, as in the released code. For three and more, `log2(C)` is split as evenly as
    possible, the remainder going to the leading dimensions: 64 in four -> 4 x 4 x 2 x 2.

    Args:
        channels: C, at least 1.
        num_dims: K, at least 1.

    Raises:
        ValueError: If the channels cannot be split so; give the sub-dimensions then.

    References:
        Li et al., CT-Net: Channel Tensorization Network for Video Classification, ICLR 2021.
    """
    if channels < 1 or num_dims < 1:
        raise ValueError(
            f"channels and sub-dimensions must be at least 1, got {channels} and {num_dims}"
        )
    bits = channels.bit_length() - 1
    even, remainder = divmod(bits, num_dims)
    if num_dims == 2:
        remainder = 0
    leading = [2 ** (even + (i < remainder)) for i in range(num_dims - 1)]
    if channels % math.prod(leading):
        raise ValueError(
            f"{channels} channels do not split into {num_dims} sub-dimensions by powers of two "
            f"({leading} and a rest); give sub-dimensions whose product is {channels}"
        )
    return *leading, channels // math.prod(leading)


def transpose_channels(x: Array, dims: tuple[int, ...]) -> Array:
    """Move the last sub-dimension of the channels to the front.

    With two sub-dimensions this is the transposition (x, y) -> (y, x). Applied once per
    sub-dimension, to the dimensions rotated alike, it returns to where it began.

    Args:
        x: `[..., C]`, channel `(i * dims[1] + j) * dims[2] + ...`.
        dims: Sub-dimensions, of product C.

    Returns:
        `[..., C]` in sub-dimensions `(dims[-1], *dims[:-1])`.

    Raises:
        ValueError: If the product of the sub-dimensions is not C.
    """
    _check_dims(x.shape[-1], dims)
    grid = x.reshape(*x.shape[:-1], -1, dims[-1])
    return jnp.swapaxes(grid, -1, -2).reshape(x.shape)


def _check_dims(channels: int, dims: tuple[int, ...]) -> None:
    if math.prod(dims) != channels:
        raise ValueError(
            f"the product of the sub-dimensions must be the {channels} channels, got "
            f"{' x '.join(map(str, dims))} = {math.prod(dims)}"
        )
