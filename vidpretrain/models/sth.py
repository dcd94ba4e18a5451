# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The spatio-temporal hybrid (STH) convolution as a drop-in for a spatial one."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from vidpretrain import ops
from vidpretrain.models import layers
from vidpretrain.models.layers import Convolution, ConvSite, Triple

# Arrangements of the temporal kernels (Table 6).
MODES = ("hybrid", "merge")


class Kernel(nn.Module):
    """A kernel of its own path: `kernel`, of the shape given."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self) -> jax.Array:
        """Return the kernel in float32."""
        return self.param("kernel", layers.kaiming_fan_out, self.shape, jnp.float32)


class STHConv(nn.Module):
    """Temporal kernels on some input channels of each output channel, spatial ones on the rest.

    Parameters: `spatial/kernel` `[1, KH, KW, I - I / g, O]` (the input channels of an output in
    their order, its temporal group left out), `temporal/kernel` `[3, 1, 1, I / g, O]`, and with
    attention `attention/kernel` `[O, O]` and `attention/bias` `[O]`.

    With attention, the temporal coefficients `[B, T, 1, 1, O]` are sown as the intermediate
    `coefficients`.

    On a channel-wise site (MobileNet's) an output has a single input channel, so the channels of
    group 0 take temporal kernels and all others spatial ones: `spatial/kernel`
    `[1, KH, KW, 1, C - C / g]`, `temporal/kernel` `[3, 1, 1, 1, C / g]`.

    Attributes:
        features: Output channels O.
        kernel: Spatial kernel size.
        groups: g = 1 / p, at least 2.
        mode: `hybrid` (equation 2) or `merge`: every output takes its temporal kernels on group 0.
        attention: Weigh the two parts by attentive integration (equation 3) instead of adding them.
        strides: `(ST, SH, SW)`, carried by both parts.
        channelwise: One input channel for each output channel.
        dilation: Distance in frames between the taps of the temporal kernels.
        dtype: Compute type; parameters are float32.

    References:
        Li et al., STH: Spatio-Temporal Hybrid Convolution for Efficient Action Recognition, 2020,
        equations 2 and 3, Figures 2 and 4.

    Note:
        No code was released. The paper says of its dilated variant only that rates 1, 2, 3 take
        turns; ours dilates the temporal kernels, for the spatial ones carry an image network's
        weights, which know no dilation. Channel-wise sites are not in the paper either.
    """

    features: int
    kernel: tuple[int, int]
    groups: int
    mode: str = "hybrid"
    attention: bool = False
    strides: Triple = (1, 1, 1)
    channelwise: bool = False
    dilation: int = 1
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[B, T, H, W, I]` to `[B, T', H', W', O]`.

        Raises:
            ValueError: The channels do not split into the groups; the message names the layer.
        """
        del train
        x = x.astype(self.dtype)
        try:
            if self.channelwise:
                return self._channelwise(x)
            return self._dense(x)
        except ValueError as error:
            raise ValueError(f"{layers.layer_path(self)}: {error}") from error

    def _dense(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        width = channels // self.groups
        spatial, temporal = self._kernels(channels - width, width, self.features, self.features)
        parts = ops.sth_parts(
            x,
            spatial,
            temporal,
            groups=self.groups,
            merge=self.mode == "merge",
            strides=self.strides,
            dilation=(self.dilation, 1, 1),
        )
        if not self.attention:
            return parts[0] + parts[1]
        layer = AttentionLayer(self.features, name="attention")
        y, coefficients = ops.attentive_integration(*parts, *layer())
        self.sow("intermediates", "coefficients", coefficients)
        return y

    def _channelwise(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        if self.attention:
            raise ValueError(
                "a channel-wise sth convolution gives each channel a temporal or a spatial part, "
                "so there is nothing for attention to weigh; set attention=false"
            )
        if channels % self.groups or channels != self.features:
            raise ValueError(
                f"channel-wise sth with p = 1/{self.groups} needs {self.groups} groups that "
                f"divide the channels, and as many outputs as inputs; got {channels} input and "
                f"{self.features} output channels"
            )
        width = channels // self.groups
        spatial, temporal = self._kernels(1, 1, channels - width, width)
        over_time = ops.conv3d(
            x[..., :width],
            temporal,
            strides=self.strides,
            groups=width,
            dilation=(self.dilation, 1, 1),
        )
        over_space = ops.conv3d(
            x[..., width:], spatial, strides=self.strides, groups=channels - width
        )
        return jnp.concatenate([over_time, over_space], axis=-1)

    def _kernels(
        self,
        spatial_inputs: int,
        temporal_inputs: int,
        spatial_outputs: int,
        temporal_outputs: int,
    ) -> tuple[jax.Array, jax.Array]:
        spatial_shape = (1, *self.kernel, spatial_inputs, spatial_outputs)
        temporal_shape = (3, 1, 1, temporal_inputs, temporal_outputs)
        return (
            Kernel(spatial_shape, name="spatial")().astype(self.dtype),
            Kernel(temporal_shape, name="temporal")().astype(self.dtype),
        )


class AttentionLayer(nn.Module):
    """Weights of attentive integration: `kernel` `[C, C]` and `bias` `[C]`, for both parts."""

    channels: int

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        """Return kernel and bias in float32."""
        shape = (self.channels, self.channels)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        return kernel, self.param("bias", nn.initializers.zeros, shape[:1], jnp.float32)


@dataclasses.dataclass(frozen=True)
class SpatioTemporalHybrid:
    """Builds `STHConv`, or the plain convolution for p = 0.

    Attributes:
        p: Proportion of input channels with temporal kernels: 0 or 1/g for a whole g of at least 2.
        mode: `hybrid` or `merge`.
        attention: Weigh the temporal and spatial parts by attentive integration.
        dilation: Temporal dilations, which take turns over the layers.

    Raises:
        ValueError: p is no such proportion, the mode does not exist, or a dilation is below 1.

    References:
        Li et al., STH, 2020: Table 6 (mode), Table 7 (p), Table 8 (attention, dilation).
    """

    p: float = 0.25
    mode: str = "hybrid"
    attention: bool = False
    dilation: tuple[int, ...] = (1,)

    owns_norm: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 0.5 or (self.p > 0 and abs(1 / self.p - self.num_groups) > 1e-2):
            raise ValueError(
                f"p={self.p}: the temporal proportion must be 0 or 1/g for a whole number g of "
                "groups, such as 0.5, 0.25 or 0.125"
            )
        if self.mode not in MODES:
            raise ValueError(f"mode={self.mode!r} is not one of {', '.join(MODES)}")
        if not self.dilation or min(self.dilation) < 1:
            raise ValueError(f"dilation={self.dilation}: every rate must be at least 1")

    @property
    def num_groups(self) -> int:
        """The number g of channel groups; 1 where p = 0."""
        return round(1 / self.p) if self.p else 1

    def build(self, site: ConvSite, name: str) -> nn.Module:
        """Return the convolution for a site."""
        if self.p == 0:
            return Convolution().build(site, name)
        return STHConv(
            site.features,
            site.kernel,
            self.num_groups,
            self.mode,
            self.attention,
            site.strides,
            channelwise=site.groups > 1,
            dilation=self.dilation[site.index % len(self.dilation)],
            dtype=site.dtype,
            name=name,
        )
