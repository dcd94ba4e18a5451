# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The spatio-temporal hybrid (STH) convolution and its attentive integration."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from vidpretrain.ops import conv
from vidpretrain.ops.platform import jit_as
from vidpretrain.ops.pool import adaptive_avg_pool
from vidpretrain.ops.windows import Triple


def sth_conv(
    x: Array,
    spatial_kernel: Array,
    temporal_kernel: Array,
    *,
    groups: int,
    merge: bool = False,
    strides: Triple = (1, 1, 1),
    dilation: Triple = (1, 1, 1),
) -> Array:
    """Sum, in every output channel, temporal convolutions of some inputs and spatial of the rest.

    The input channels lie in `g = 1 / p` equal groups. In the *hybrid* arrangement the output
    channels do, too, and those of group i apply 3x1x1 kernels to input group i and 1x3x3 kernels to
    all other groups. In the *merge* arrangement every output channel applies its temporal kernels
    to input group 0. The plain convolution (p = 0) is `conv3d`.

    Args:
        x: Clip, `[B, T, H, W, I]`.
        spatial_kernel: `[1, KH, KW, I - I / g, O]`; the input channels are in their order in
            `x`, those of the output's temporal group left out.
        temporal_kernel: `[KT, 1, 1, I / g, O]`.
        groups: g, at least 2.
        merge: True for merge, False for hybrid.
        strides: Strides over time, height and width; both kernels carry the spatial strides.
        dilation: Over time for the temporal kernels, over height and width for the spatial ones.

    Returns:
        `[B, T', H', W', O]`.

    Raises:
        ValueError: If the channels cannot be split, or the kernels do not fit.

    References:
        Li et al., STH: Spatio-Temporal Hybrid Convolution for Efficient Action Recognition, 2020,
        equation 2, Figure 2, Table 6.
    """
    temporal, spatial = sth_parts(
        x,
        spatial_kernel,
        temporal_kernel,
        groups=groups,
        merge=merge,
        strides=strides,
        dilation=dilation,
    )
    return temporal + spatial


def sth_parts(
    x: Array,
    spatial_kernel: Array,
    temporal_kernel: Array,
    *,
    groups: int,
    merge: bool = False,
    strides: Triple = (1, 1, 1),
    dilation: Triple = (1, 1, 1),
) -> tuple[Array, Array]:
    """Return the temporal and the spatial summand of `sth_conv`, for `attentive_integration`.

    Returns:
        `(O_T, O_S)`, each `[B, T', H', W', O]`.

    Raises:
        ValueError: If the channels cannot be split, or the kernels do not fit.
    """
    channels, features = x.shape[-1], spatial_kernel.shape[-1]
    if groups < 2 or channels % groups or (not merge and features % groups):
        raise ValueError(
            f"sth with p = 1/{groups} needs at least 2 groups that divide the {channels} input "
            f"and {features} output channels; p = 0 is the plain convolution"
        )
    width = channels // groups
    wanted = {"spatial": channels - width, "temporal": width}
    for kind, kernel in (("spatial", spatial_kernel), ("temporal", temporal_kernel)):
        if kernel.shape[-2:] != (wanted[kind], features):
            raise ValueError(
                f"the {kind} kernel of sth with {channels} channels in {groups} groups must be "
                f"[KT, KH, KW, {wanted[kind]}, {features}], got {list(kernel.shape)}"
            )
    if spatial_kernel.shape[0] != 1 or temporal_kernel.shape[1:3] != (1, 1):
        raise ValueError(
            "sth takes a 1xKHxKW spatial and a KTx1x1 temporal kernel, got "
            f"{spatial_kernel.shape[:3]} and {temporal_kernel.shape[:3]}"
        )
    return _sth_conv(
        x,
        spatial_kernel.astype(x.dtype),
        temporal_kernel.astype(x.dtype),
        groups=groups,
        merge=merge,
        strides=tuple(strides),
        dilation=tuple(dilation),
    )


def attentive_integration(
    temporal: Array, spatial: Array, kernel: Array, bias: Array
) -> tuple[Array, Array]:
    """Weigh the temporal and the spatial part of an STH convolution channel by channel.

    Both parts are pooled to one value per channel and frame; one C x C layer, shared by both
    descriptors, and a softmax over {T, S} turn them into coefficients:
    `a_T = softmax([u_T W + b, u_S W + b])_T`, `O = a_T O_T + (1 - a_T) O_S`.

    Args:
        temporal: `O_T`, `[B, T, H, W, C]`.
        spatial: `O_S`, same shape.
        kernel: W, `[C, C]`.
        bias: b, `[C]`.

    Returns:
        The sum, `[B, T, H, W, C]`, and the temporal coefficients `a_T`, `[B, T, 1, 1, C]`
        float32 in [0, 1].

    References:
        Li et al., STH, 2020, equation 3 and Figure 4.

    Note:
        The paper does not say whether the descriptors are pooled over time. Ours are of single
        frames, as everything outside its convolution is.
    """
    descriptors = [adaptive_avg_pool(part, axes=(2, 3)) for part in (temporal, spatial)]
    logits = jnp.stack([conv.dense(descriptor, kernel) for descriptor in descriptors])
    # In float32, for the coefficients are shared by a whole frame.
    logits = logits.astype(jnp.float32) + bias.astype(jnp.float32)[None, None, None, None, None, :]
    weights = jax.nn.softmax(logits, axis=0)
    weighted = weights[0].astype(temporal.dtype) * temporal
    return weighted + weights[1].astype(spatial.dtype) * spatial, weights[0]


@jit_as("sth_conv", static=("groups", "merge", "strides", "dilation"))
def _sth_conv(
    x: Array,
    spatial_kernel: Array,
    temporal_kernel: Array,
    *,
    groups: int,
    merge: bool,
    strides: Triple,
    dilation: Triple,
) -> tuple[Array, Array]:
    width = x.shape[-1] // groups
    over_space, over_time = (1, *dilation[1:]), (dilation[0], 1, 1)
    if merge:
        temporal, inputs, temporal_groups = x[..., :width], x[..., width:], 1
    else:
        temporal, inputs, temporal_groups = x, x, groups
        spatial_kernel = _fill_temporal_groups(spatial_kernel, groups)
    return (
        conv.conv3d(
            temporal,
            temporal_kernel,
            strides=strides,
            groups=temporal_groups,
            dilation=over_time,
        ),
        conv.conv3d(inputs, spatial_kernel, strides=strides, dilation=over_space),
    )


def _fill_temporal_groups(spatial_kernel: Array, groups: int) -> Array:
    """Insert zeros for the input group that each output group treats temporally.

    One dense convolution with g / (g - 1) times the multiply-accumulates beats g small ones.
    """
    *size, inputs, features = spatial_kernel.shape
    width, outputs = inputs // (groups - 1), features // groups
    zeros = jnp.zeros((*size, width, outputs), spatial_kernel.dtype)
    columns = []
    for group in range(groups):
        column = spatial_kernel[..., group * outputs : (group + 1) * outputs]
        before, after = column[..., : group * width, :], column[..., group * width :, :]
        columns.append(jnp.concatenate([before, zeros, after], axis=-2))
    return jnp.concatenate(columns, axis=-1)
