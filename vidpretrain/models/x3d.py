# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""X3D: small networks expanded step by step along depth, width, frames and resolution."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from vidpretrain import ops
from vidpretrain.models import layers
from vidpretrain.models.layers import Convolution, ConvSite, Norm, Replacement
from vidpretrain.models.resnet import ResidualBlock, drop_path_rates
from vidpretrain.models.settings import ConvKind, Settings, sts_option

# Before expansion (X3D, Table 1); the width is multiplied by 2 in all published networks.
BASE_DEPTHS = (1, 2, 5, 3)
WIDTHS = (24, 48, 96, 192)
BOTTLENECK_FACTOR = 2.25
SQUEEZE_FACTOR = 1 / 16
PROJECTED = 2048


class X3DStem(nn.Module):
    """A 1x3x3 convolution of stride 2, a channel-wise temporal one, norm and ReLU.

    Submodules: `spatial`, `temporal`, `norm`.
    """

    features: int
    temporal: int
    norm: Norm
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map clips `[B, T, H, W, C]` to `[B, T, H / 2, W / 2, features]`."""
        site = ConvSite(self.features, (3, 3), (1, 2, 2), dtype=self.dtype)
        x = Convolution().build(site, "spatial")(x, train)
        site = ConvSite(self.features, (1, 1), dtype=self.dtype)
        x = Convolution(self.temporal, channelwise=True).build(site, "temporal")(x, train)
        x = layers.BatchNorm(self.norm, self.dtype, name="norm")(x, train)
        return ops.relu(x)


class X3DBlock(ResidualBlock):
    """1x1x1, channel-wise 3x3x3, squeeze-excite (every other block), swish, 1x1x1.

    Submodules: `conv1`, `conv2`, `se` (in even blocks), `conv3`, `shortcut` where shapes change.

    Attributes:
        outputs: Output channels; `features` are the channels inside.

    References:
        Feichtenhofer, X3D: Expanding Architectures for Efficient Video Recognition, CVPR 2020,
        Table 1 and section 3.
    """

    outputs: int = 24

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[B, T, H, W, C]` to `[B, T, H', W', outputs]`."""
        y = self.unit("conv1", self.features)(x, train)
        y = self.unit("conv2", self.features, (3, 3), self.strides, activation=None)(y, train)
        if self.block % 2 == 0:
            y = layers.SqueezeExcite(squeezed(self.features), self.dtype, name="se")(y)
        y = ops.swish(y)
        y = self.unit("conv3", self.outputs, activation=None)(y, train)
        return self.join(x, y, train)


class X3DStage(nn.Module):
    """Blocks at one resolution, the first of which strides by 2. Submodules: `block0`, ...

    Attributes:
        depth: Number of blocks.
        outputs: Output channels of each.
        stage: Stage number, from 1.
        replacements: As in `ResidualBlock`.
        drop_path: Of each block.
        norm: Batch norm options.
        dtype: Compute type.
    """

    depth: int
    outputs: int
    stage: int
    replacements: tuple[Replacement, ...]
    drop_path: tuple[float, ...]
    norm: Norm
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[B, T, H, W, C]` to `[B, T, H / 2, W / 2, outputs]`."""
        for block in range(self.depth):
            x = X3DBlock(
                int(BOTTLENECK_FACTOR * self.outputs),
                (1, 2, 2) if block == 0 else (1, 1, 1),
                self.stage,
                block,
                self.replacements,
                self.drop_path[block],
                self.norm,
                self.dtype,
                self.outputs,
                name=f"block{block}",
            )(x, train)
        return x


class X3D(nn.Module):
    """An X3D network.

    Submodules: `stem`, `stage1` to `stage4`, `conv5`, `projection` (linear), `head`.

    Attributes:
        depths: Blocks of each stage.
        widths: Output channels of each stage; the stem has the first's.
        stem_temporal: Temporal kernel size of the stem.
        conv: Builder of the blocks' channel-wise convolutions.
        projection_bias: Whether the linear layer before the classifier has a bias.
        num_classes: Number of classes.
        dropout: Before the classifier.
        drop_path: Rate at the last block; it grows linearly from 0 at the first.
        remat: Stages whose activations are computed again in the backward pass.
        norm: Batch norm options.
        dtype: Compute type.

    References:
        Feichtenhofer, X3D: Expanding Architectures for Efficient Video Recognition, CVPR 2020.
    """

    depths: tuple[int, ...]
    stem_temporal: int
    conv: Convolution
    widths: tuple[int, ...] = WIDTHS
    projection_bias: bool = False
    num_classes: int = 400
    dropout: float = 0.5
    drop_path: float = 0.0
    remat: tuple[int, ...] = ()
    norm: Norm = Norm()
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify clips `[B, T, H, W, C]` into float32 logits `[B, num_classes]`."""
        replacements = (Replacement(self.conv, ("conv2",), layers.select_blocks(self.depths)),)
        rates = drop_path_rates(self.drop_path, self.depths)
        classes = layers.stage_classes(X3DStage, len(self.depths), self.remat)
        x = X3DStem(self.widths[0], self.stem_temporal, self.norm, self.dtype, name="stem")(
            x, train
        )
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), start=1):
            x = classes[stage - 1](
                depth,
                width,
                stage,
                replacements,
                rates[stage - 1],
                self.norm,
                self.dtype,
                name=f"stage{stage}",
            )(x, train)
        site = ConvSite(
            int(BOTTLENECK_FACTOR * self.widths[-1]), (1, 1), norm=self.norm, dtype=self.dtype
        )
        x = layers.ConvNorm(site, name="conv5")(x, train)
        x = ops.adaptive_avg_pool(x).squeeze((1, 2, 3))
        x = ops.relu(Projection(PROJECTED, self.projection_bias, name="projection")(x))
        return layers.Classifier(self.num_classes, self.dropout, name="head")(x, train)


class Projection(nn.Module):
    """A linear layer in float32. Parameters: `kernel` `[C, features]`, `bias` if `use_bias`."""

    features: int
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[..., C]` to `[..., features]`."""
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.normal(0.01), shape, jnp.float32)
        y = ops.dense(x.astype(jnp.float32), kernel)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            y = y + bias[None]
        return y


def squeezed(features: int) -> int:
    """Return the squeezed channels: 1/16, to the nearest multiple of 8, no less than 90 %."""
    exact = features * SQUEEZE_FACTOR
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


def x3d(
    settings: Settings,
    *,
    depth_factor: float = 2.2,
    projection_bias: bool = False,
    conv: ConvKind = "conv3d",
    ratio: tuple[int, int] | None = None,
    static: ops.Static | None = None,
) -> X3D:
    """Build an X3D network.

    XS, S and M are the same network at 4 x 160, 13 x 160 and 16 x 224 (frames x size); L is deeper,
    for 16 x 312.

    Note:
        The released image pre-training gives the linear layer before the classifier a bias, which
        the video networks have not; `projection_bias=true` opens those files whole.

    References:
        Feichtenhofer, X3D: Expanding Architectures for Efficient Video Recognition, CVPR 2020,
        Table 1 (S and L: depth factors 2.2 and 5.0, bottleneck factor 2.25).
    """
    own_depths = tuple(math.ceil(depth_factor * depth) for depth in BASE_DEPTHS)
    return X3D(
        depths=settings.depths_or(own_depths),
        widths=tuple(settings.width_or(WIDTHS[0]) * times // WIDTHS[0] for times in WIDTHS),
        stem_temporal=settings.temporal(5),
        conv=Convolution(
            settings.temporal(3), channelwise=True, sts=sts_option(conv, ratio, static)
        ),
        projection_bias=projection_bias,
        num_classes=settings.num_classes,
        dropout=settings.dropout_or(0.5),
        drop_path=settings.drop_path,
        remat=settings.remat,
        norm=settings.norm(),
        dtype=settings.dtype,
    )


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "x3d_xs": partial(x3d, depth_factor=2.2),
    "x3d_s": partial(x3d, depth_factor=2.2),
    "x3d_m": partial(x3d, depth_factor=2.2),
    "x3d_l": partial(x3d, depth_factor=5.0),
}
