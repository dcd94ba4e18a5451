# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Convolutions and their company as pure functions of [B, T, H, W, C] arrays.

Every operation that the papers' counters know is one `jit[name=...]` equation in the jaxpr of a
network. Its first operand is the data; nothing inside it need be looked at:

| name | operands | counted on |
|---|---|---|
| `conv3d`, `sts_conv` | x, kernel `[KT, KH, KW, I / groups, O]` | first result, kernel |
| `sth_conv` | x, spatial kernel, temporal kernel; two results | first result, kernels |
| `dense` | x, kernel `[I, O]` | result, kernel |
| `batch_norm` | x, mean, var, scale, bias | result |
| `relu`, `relu6`, `swish`, `sigmoid` | x | result |
| `max_pool`, `avg_pool`, `adaptive_avg_pool`, `functional_avg_pool` | x | operand |
| `temporal_shift` | x | nothing |

The multiply-accumulates of the first four are the elements of the *first result* times the sum,
over the kernels, of `prod(kernel.shape[:-1])`. `attentive_integration` and
`batch_moments` are made of these and have no name of their own.

Operations raise ValueError saying what was given and what would do; the layer that calls them adds
its own name.
"""

from vidpretrain.ops.activation import relu, relu6, sigmoid, swish
from vidpretrain.ops.conv import conv3d, dense
from vidpretrain.ops.ct import channel_dims, transpose_channels
from vidpretrain.ops.norm import batch_moments, batch_norm
from vidpretrain.ops.platform import compile_for, target_platform
from vidpretrain.ops.pool import adaptive_avg_pool, avg_pool, functional_avg_pool, max_pool
from vidpretrain.ops.shift import temporal_shift
from vidpretrain.ops.sth import attentive_integration, sth_conv, sth_parts
from vidpretrain.ops.sts import Static, static_channels, sts_conv

__all__ = [
    "Static",
    "adaptive_avg_pool",
    "attentive_integration",
    "avg_pool",
    "batch_moments",
    "batch_norm",
    "channel_dims",
    "compile_for",
    "conv3d",
    "dense",
    "functional_avg_pool",
    "max_pool",
    "relu",
    "relu6",
    "sigmoid",
    "static_channels",
    "sth_conv",
    "sth_parts",
    "sts_conv",
    "swish",
    "target_platform",
    "temporal_shift",
    "transpose_channels",
]
