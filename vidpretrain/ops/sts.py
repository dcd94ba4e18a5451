# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The spatio-temporal separable (STS) convolution: a 3D kernel that still sees images."""

from __future__ import annotations

import difflib
from typing import Literal, get_args

import jax.numpy as jnp
from jax import Array

from vidpretrain.ops import conv
from vidpretrain.ops.platform import jit_as
from vidpretrain.ops.windows import Triple

Static = Literal["raster", "axis", "dilated"]


def sts_conv(
    x: Array,
    kernel: Array,
    *,
    strides: Triple = (1, 1, 1),
    groups: int = 1,
    ratio: tuple[int, int] = (1, 1),
    static: Static = "raster",
) -> Array:
    """Convolve some channels over space and time, and the others with the same taps over space.

    The weights are those of the plain 3D convolution. The *dynamic* output channels are computed
    by that convolution. The *static* ones, which come first, lay their three temporal taps out in
    the frame, so that every tap learns from single images.

    A temporal kernel (`[KT, 1, 1, I, O]`, one group; every output sees all inputs) runs as a 1-D
    convolution along the rows of each frame for the first half of the static channels and along
    its columns for the second half. A channel-wise kernel (`[3, 3, 3, 1, C]`, C groups) runs as
    the sum of a 2D convolution with tap 1, a 1-D convolution along the rows with the nine weights
    of tap 0, and one along the columns with those of tap 2, both read row by row.

    Args:
        x: Clip, `[B, T, H, W, I]`.
        kernel: Weights of the plain convolution, `[KT, KH, KW, I / groups, O]`. With KT = 1 there
            is nothing to lay out, and the result is that of `conv3d`.
        strides: The temporal one must be 1.
        groups: 1 for a temporal kernel, the number of channels for a channel-wise one.
        ratio: Static to dynamic output channels; see `static_channels`. (0, 1) is the plain
            convolution, (1, 0) the all-static variant "without splitting" of Table 10.
        static: How taps lie in the frame.
            'raster': on the pixels strung into one line, row after row (column after column), as
            in the released code. Taps at the end of a row see the start of the next. Spatial
            strides s run as s * s on the line, so they must divide the height and width.
            'axis': on the row (column) itself, zero-padded at the borders, aligned with the 2D
            convolution at every stride and size.
            'dilated': taps 0 and 2 of a channel-wise kernel as 3x3 convolutions of dilation 2
            and 3 (Appendix B.2).

    Returns:
        `[B, T, H', W', O]`, static channels first.

    Raises:
        ValueError: If the kernel is neither temporal nor channel-wise, the channels cannot be
            split, the temporal stride is not 1, or `raster` strides do not divide the frame.

    References:
        Li et al., In Defense of Image Pre-Training for Spatiotemporal Recognition, ECCV 2022,
        equation 2, Appendix A and B.2, Table 10.
    """
    if static not in get_args(Static):
        close = difflib.get_close_matches(str(static), get_args(Static), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"static must be one of {get_args(Static)}, got {static!r}{hint}")
    kt, kh, kw, _, features = kernel.shape
    channels = x.shape[-1]
    if kt == 1 or (ratio[0] == 0 and ratio[1] > 0):
        return conv.conv3d(x, kernel, strides=strides, groups=groups)
    temporal = (kh, kw) == (1, 1) and groups == 1
    channelwise = (kt, kh, kw) == (3, 3, 3) and groups == channels == features
    if not temporal and not channelwise:
        raise ValueError(
            "sts takes a temporal kernel (KTx1x1, 1 group) or a channel-wise one (3x3x3, as many "
            f"groups as channels); got {kt}x{kh}x{kw}, {channels} -> {features} channels in "
            f"{groups} groups"
        )
    if temporal and kt % 2 == 0:
        raise ValueError(f"sts takes a temporal kernel of odd size, got {kt}x1x1")
    if temporal and static == "dilated":
        raise ValueError(
            "static 'dilated' lays out 3x3x3 channel-wise kernels only; a temporal kernel takes "
            "'raster' or 'axis'"
        )
    if strides[0] != 1:
        raise ValueError(f"sts needs a temporal stride of 1, got strides {strides}")
    height, width = x.shape[2:4]
    if static == "raster" and (height % strides[1] or width % strides[2]):
        raise ValueError(
            f"static 'raster' with spatial strides {strides[1:]} needs a height and width that "
            f"they divide, got {height} x {width}; use static 'axis' for other sizes"
        )
    split = static_channels(features, ratio, parts=2 if temporal else 1)
    return _sts_conv(x, kernel.astype(x.dtype), strides=tuple(strides), split=split, static=static)


def static_channels(features: int, ratio: tuple[int, int], parts: int) -> int:
    """Return how many of the output channels are static.

    The share `static / (static + dynamic)`, rounded to the nearest multiple of `parts` (up when
    two are as near).

    Args:
        features: Number of output channels.
        ratio: Static to dynamic, two integers of at least 0, not both 0.
        parts: 2 for a temporal kernel (rows and columns), 1 for a channel-wise one.

    Raises:
        ValueError: If the ratio is out of range, or it is 1:1 (or 1:0) and the channels cannot be
            split exactly, for then an unequal split would be a surprise.
    """
    if len(ratio) != 2 or min(ratio) < 0 or sum(ratio) == 0:
        raise ValueError(
            "ratio must be two integers of at least 0, static to dynamic, such as (1, 1) or "
            f"(2, 1), got {ratio}"
        )
    static, dynamic = ratio
    exact = features * static
    total = (static + dynamic) * parts
    if exact % total and (static == dynamic or dynamic == 0):
        raise ValueError(
            f"sts with ratio {static}:{dynamic} splits the output channels into "
            f"{parts * (2 if dynamic else 1)} equal parts; {features} channels do not divide so"
        )
    return min((2 * exact + total) // (2 * total) * parts, features // parts * parts)


@jit_as("sts_conv", static=("strides", "split", "static"))
def _sts_conv(x: Array, kernel: Array, *, strides: Triple, split: int, static: Static) -> Array:
    if kernel.shape[1] == 1:
        return _temporal(x, kernel, strides, split, static)
    return _channelwise(x, kernel, strides, split, static)


def _temporal(x: Array, kernel: Array, strides: Triple, split: int, static: Static) -> Array:
    along_rows = jnp.transpose(kernel[..., : split // 2], (1, 2, 0, 3, 4))
    along_columns = jnp.transpose(kernel[..., split // 2 : split], (1, 0, 2, 3, 4))
    parts = []
    if split and static == "raster":
        parts += [
            _row_line(x, along_rows, strides, groups=1),
            _column_line(x, jnp.swapaxes(along_columns, 1, 2), strides, groups=1),
        ]
    elif split:
        parts += [
            conv.conv3d(x, along_rows, strides=strides),
            conv.conv3d(x, along_columns, strides=strides),
        ]
    if split < kernel.shape[-1]:
        parts.append(conv.conv3d(x, kernel[..., split:], strides=strides))
    return jnp.concatenate(parts, axis=-1)


def _channelwise(x: Array, kernel: Array, strides: Triple, split: int, static: Static) -> Array:
    parts = []
    if split:
        parts.append(_channelwise_static(x[..., :split], kernel[..., :split], strides, static))
    if split < kernel.shape[-1]:
        dynamic = x[..., split:]
        parts.append(
            conv.conv3d(dynamic, kernel[..., split:], strides=strides, groups=dynamic.shape[-1])
        )
    return jnp.concatenate(parts, axis=-1)


def _channelwise_static(x: Array, kernel: Array, strides: Triple, static: Static) -> Array:
    channels = x.shape[-1]
    taps = [kernel[t : t + 1] for t in range(3)]
    # Tap 0 and tap 2 as lines of nine weights, both read row by row.
    rows, columns = (tap.reshape(1, 1, 9, 1, channels) for tap in (taps[0], taps[2]))
    centre = conv.conv3d(x, taps[1], strides=strides, groups=channels)
    if static == "raster":
        return (
            centre
            + _row_line(x, rows, strides, groups=channels)
            + _column_line(x, columns, strides, groups=channels)
        )
    if static == "axis":
        return (
            centre
            + conv.conv3d(x, rows, strides=strides, groups=channels)
            + conv.conv3d(x, jnp.swapaxes(columns, 1, 2), strides=strides, groups=channels)
        )
    return (
        centre
        + conv.conv3d(x, taps[0], strides=strides, groups=channels, dilation=(1, 2, 2))
        + conv.conv3d(x, taps[2], strides=strides, groups=channels, dilation=(1, 3, 3))
    )


def _row_line(x: Array, kernel: Array, strides: Triple, groups: int) -> Array:
    """Convolve the pixels of each frame as one line, row after row; fold the result back."""
    batch, frames, height, width, channels = x.shape
    line = x.reshape(batch, frames, 1, height * width, channels)
    line = conv.conv3d(line, kernel, strides=(1, 1, strides[1] * strides[2]), groups=groups)
    return line.reshape(batch, frames, height // strides[1], width // strides[2], -1)


def _column_line(x: Array, kernel: Array, strides: Triple, groups: int) -> Array:
    """Convolve the pixels of each frame as one line, column after column; fold it back."""
    transposed = _row_line(
        jnp.swapaxes(x, 2, 3), kernel, (strides[0], strides[2], strides[1]), groups
    )
    return jnp.swapaxes(transposed, 2, 3)
