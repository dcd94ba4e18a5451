# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Convolutions over [B, T, H, W, C] clips, and the linear layer."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax

from vidpretrain.ops import cpu
from vidpretrain.ops.channelwise import channelwise_conv
from vidpretrain.ops.platform import jit_as, target_platform
from vidpretrain.ops.windows import Triple, Window, output_size


def conv3d(
    x: Array,
    kernel: Array,
    *,
    strides: Triple = (1, 1, 1),
    padding: Triple | None = None,
    groups: int = 1,
    dilation: Triple = (1, 1, 1),
) -> Array:
    """Convolve a clip over time, height and width (cross-correlation, zero padding, no bias).

    Args:
        x: Clip, `[B, T, H, W, I]`.
        kernel: Weights, `[KT, KH, KW, I / groups, O]`; the outputs of a group are contiguous.
        strides: Strides over time, height and width.
        padding: Zeros on both sides of each axis; None is `dilation * (K - 1) // 2`, which keeps
            the size at stride 1 when K is odd.
        groups: Number of channel groups; `I` for a channel-wise convolution.
        dilation: Distance between taps over time, height and width.

    Returns:
        `[B, T', H', W', O]` in the dtype of `x`, where
        `T' = (T + 2 * padding - dilation * (KT - 1) - 1) // stride + 1`, and so on.

    Raises:
        ValueError: If the shapes do not fit together or no output position remains.
    """
    if padding is None:
        t, h, w = (d * (k - 1) // 2 for k, d in zip(kernel.shape[:3], dilation, strict=True))
        padding = (t, h, w)
    _check(x, kernel, strides, padding, groups, dilation)
    return _conv3d(
        x,
        kernel.astype(x.dtype),
        strides=tuple(strides),
        padding=tuple(padding),
        groups=groups,
        dilation=tuple(dilation),
    )


def dense(x: Array, kernel: Array) -> Array:
    """Multiply the channels by a matrix: `[..., I] @ [I, O] -> [..., O]`, without bias.

    Raises:
        ValueError: If the channels differ from the rows of the matrix.
    """
    if kernel.ndim != 2 or x.shape[-1] != kernel.shape[0]:
        raise ValueError(
            f"dense kernel must be [I, O] with I = the {x.shape[-1]} channels given, "
            f"got {list(kernel.shape)}"
        )
    return _dense(x, kernel.astype(x.dtype))


def _check(
    x: Array, kernel: Array, strides: Triple, padding: Triple, groups: int, dilation: Triple
) -> None:
    if x.ndim != 5:
        raise ValueError(f"a clip must be [B, T, H, W, C], got shape {list(x.shape)}")
    if kernel.ndim != 5:
        raise ValueError(f"a kernel must be [KT, KH, KW, I, O], got shape {list(kernel.shape)}")
    for name, triple in (("strides", strides), ("dilation", dilation)):
        if len(triple) != 3 or min(triple) < 1:
            raise ValueError(f"{name} must be three integers of at least 1, got {triple}")
    if len(padding) != 3 or min(padding) < 0:
        raise ValueError(f"padding must be three integers of at least 0, got {padding}")
    channels, features = x.shape[-1], kernel.shape[-1]
    if groups < 1 or channels % groups or features % groups:
        raise ValueError(
            f"{groups} groups do not divide the {channels} input channels and the {features} "
            "output channels; choose a common divisor"
        )
    if kernel.shape[3] != channels // groups:
        raise ValueError(
            f"kernel {list(kernel.shape)} takes {kernel.shape[3]} input channels per group, but "
            f"{channels} channels in {groups} groups have {channels // groups}"
        )
    size = output_size(x.shape[1:4], kernel.shape[:3], strides, padding, dilation)
    if min(size) < 1:
        raise ValueError(
            f"a kernel of {kernel.shape[:3]} with dilation {dilation} and padding {padding} is "
            f"larger than the clip of {x.shape[1:4]} (frames, height, width); give a larger clip"
        )


@jit_as("conv3d", static=("strides", "padding", "groups", "dilation"))
def _conv3d(
    x: Array, kernel: Array, *, strides: Triple, padding: Triple, groups: int, dilation: Triple
) -> Array:
    kernel, padding = _taps_that_see(x, kernel, padding, dilation)
    if groups == x.shape[-1] == kernel.shape[-1] > 1 and target_platform() != "tpu":
        window = Window(kernel.shape[:3], strides, padding, dilation)
        return channelwise_conv(x, kernel, window)
    if target_platform() == "cpu":
        return cpu.convolve(x, kernel, strides, padding, groups, dilation)
    return _convolve(x, kernel, strides, padding, groups, dilation)


def _taps_that_see(
    x: Array, kernel: Array, padding: Triple, dilation: Triple
) -> tuple[Array, Triple]:
    """Leave only the tap that sees the frame of a one-frame clip; the others see padding."""
    tap, remainder = divmod(padding[0], dilation[0])
    one_output = 2 * padding[0] == dilation[0] * (kernel.shape[0] - 1)
    if x.shape[1] > 1 or remainder or not one_output:
        return kernel, padding
    return kernel[tap : tap + 1], (0, *padding[1:])


def _convolve(
    x: Array, kernel: Array, strides: Triple, padding: Triple, groups: int, dilation: Triple
) -> Array:
    """Convolve by XLA's own instruction; in 2D, frames folded into the batch, where that does."""
    if kernel.shape[0] == 1 and padding[0] == 0:
        x = x[:, :: strides[0]]
        y = lax.conv_general_dilated(
            x.reshape(-1, *x.shape[2:]),
            kernel[0],
            strides[1:],
            [(p, p) for p in padding[1:]],
            rhs_dilation=dilation[1:],
            feature_group_count=groups,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return y.reshape(*x.shape[:2], *y.shape[1:])
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        [(p, p) for p in padding],
        rhs_dilation=dilation,
        feature_group_count=groups,
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
    )


@jit_as("dense")
def _dense(x: Array, kernel: Array) -> Array:
    return jnp.dot(x, kernel, preferred_element_type=jnp.float32).astype(x.dtype)
