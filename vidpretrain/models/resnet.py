# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Residual networks over clips: one class, from an image ResNet to SlowOnly, CSN and R(2+1)D.

What makes a video network of an image network is which convolutions are replaced by what (see
`vidpretrain.models.layers`); everything else is shared. With nothing replaced, `ResNet` is the
image network applied to each frame.
"""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax

from vidpretrain import ops
from vidpretrain.models import layers
from vidpretrain.models.layers import ConvBuilder, Convolution, Norm, Replacement, Triple

# An image network's own convolution.
PLAIN = Convolution()

# Blocks of each stage, by depth (He et al. 2016, Table 1).
BASIC_DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
BOTTLENECK_DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


@dataclasses.dataclass(frozen=True)
class Stem:
    """The first layers: convolution, norm, ReLU, and a 1x3x3 max pool of stride (1, 2, 2).

    Attributes:
      features: Output channels.
      kernel: Spatial kernel size.
      strides: `(ST, SH, SW)` of the convolution.
      conv: Builder of the convolution.
      pool: Whether the max pool follows.
    """

    features: int = 64
    kernel: tuple[int, int] = (7, 7)
    strides: Triple = (1, 2, 2)
    conv: ConvBuilder = PLAIN
    pool: bool = True


class StemLayers(nn.Module):
    """`Stem` as a module. Submodules: `conv`, `norm`."""

    stem: Stem
    norm: Norm = Norm()
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map clips `[B, T, H, W, C]` to `[B, T', H', W', features]`."""
        stem = self.stem
        site = layers.ConvSite(
            stem.features, stem.kernel, stem.strides, norm=self.norm, dtype=self.dtype
        )
        x = stem.conv.build(site, "conv")(x, train)
        x = layers.BatchNorm(self.norm, self.dtype, name="norm")(x, train)
        x = ops.relu(x)
        if stem.pool:
            x = ops.max_pool(x, (1, 3, 3), strides=(1, 2, 2), padding=(0, 1, 1))
        return x


class ResidualBlock(nn.Module):
    """What basic and bottleneck blocks share: relu(shortcut(x) + branch(x)).

    Attributes:
      features: Channels of the block's 3x3 convolutions.
      strides: `(ST, SH, SW)`, on the (first) 3x3 convolution and the shortcut.
      stage: Stage number, from 1.
      block: Index in the stage, from 0.
      replacements: Convolutions put in place of the block's own; the first that fits is taken.
      drop_path: Share of clips whose branch is dropped in training.
      norm: Batch norm options.
      dtype: Compute type.

    References:
      He et al., Deep Residual Learning for Image Recognition, CVPR 2016, Figure 5.
    """

    features: int
    strides: Triple = (1, 1, 1)
    stage: int = 1
    block: int = 0
    replacements: tuple[Replacement, ...] = ()
    drop_path: float = 0.0
    norm: Norm = Norm()
    dtype: str = "float32"

    def unit(
        self,
        position: str,
        features: int,
        kernel: tuple[int, int] = (1, 1),
        strides: Triple = (1, 1, 1),
        activation: layers.Activation = "relu",
    ) -> layers.ConvNorm:
        """Return the block's convolution at `position`, with norm and activation."""
        conv: ConvBuilder = PLAIN
        index = 0
        for replacement in self.replacements:
            number = replacement.index(self.stage, self.block, position)
            if number is not None:
                conv, index = replacement.conv, number
                break
        site = layers.ConvSite(
            features, kernel, strides, index=index, norm=self.norm, dtype=self.dtype
        )
        return layers.ConvNorm(site, conv, activation, name=position)

    def join(self, x: jax.Array, y: jax.Array, train: bool) -> jax.Array:
        """Add the branch `y` to the block's input `x`, projected if shapes differ."""
        y = layers.DropPath(self.drop_path, name="drop_path")(y, train)
        if x.shape[-1] != y.shape[-1] or self.strides != (1, 1, 1):
            shortcut = self.unit("shortcut", y.shape[-1], strides=self.strides, activation=None)
            x = shortcut(x, train)
        return ops.relu(x + y)


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions. Submodules: `conv1`, `conv2`, `shortcut` where shapes change."""

    expansion = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[B, T, H, W, C]` to `[B, T', H', W', features]`."""
        y = self.unit("conv1", self.features, (3, 3), self.strides)(x, train)
        y = self.unit("conv2", self.features, (3, 3), activation=None)(y, train)
        return self.join(x, y, train)


class BottleneckBlock(ResidualBlock):
    """1x1, 3x3, 1x1. Submodules: `conv1`, `conv2`, `conv3`, `shortcut` where shapes change.

    The stride is on the 3x3 (torchvision's and the released networks' variant).
    """

    expansion = 4

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[B, T, H, W, C]` to `[B, T', H', W', 4 * features]`."""
        y = self.unit("conv1", self.features)(x, train)
        y = self.unit("conv2", self.features, (3, 3), self.strides)(y, train)
        y = self.unit("conv3", self.expansion * self.features, activation=None)(y, train)
        return self.join(x, y, train)


BLOCKS: dict[str, type[BasicBlock] | type[BottleneckBlock]] = {
    "basic": BasicBlock,
    "bottleneck": BottleneckBlock,
}


class Stage(nn.Module):
    """Blocks at one resolution, the first of which strides. Submodules: `block0`, `block1`, ...

    Attributes:
      kind: `basic` or `bottleneck`.
      depth: Number of blocks.
      features: As in `ResidualBlock`.
      strides: Of the first block.
      stage: Stage number, from 1.
      replacements: As in `ResidualBlock`.
      drop_path: Of each block.
      norm: Batch norm options.
      dtype: Compute type.
    """

    kind: str
    depth: int
    features: int
    strides: Triple
    stage: int
    replacements: tuple[Replacement, ...]
    drop_path: tuple[float, ...]
    norm: Norm
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[B, T, H, W, C]` to `[B, T', H', W', features * expansion]`."""
        for block in range(self.depth):
            x = BLOCKS[self.kind](
                self.features,
                self.strides if block == 0 else (1, 1, 1),
                self.stage,
                block,
                self.replacements,
                self.drop_path[block],
                self.norm,
                self.dtype,
                name=f"block{block}",
            )(x, train)
        return x


class Trunk(nn.Module):
    """Stem and stages of a residual network: all but the classifier.

    Submodules: `stem`, `stage1` to `stage4` (or as many as `depths` has).

    Attributes:
      kind: `basic` or `bottleneck`.
      depths: Blocks of each stage.
      width: Channels of the first stage's 3x3 convolutions; each later stage doubles them.
      stem: The first layers.
      replacements: Convolutions put in place of the blocks' own.
      temporal_strides: Of each stage.
      drop_path: Rate at the last block; it grows linearly from 0 at the first.
      remat: Stages whose activations are computed again in the backward pass instead of kept.
      norm: Batch norm options.
      dtype: Compute type.
    """

    kind: str = "bottleneck"
    depths: tuple[int, ...] = BOTTLENECK_DEPTHS[50]
    width: int = 64
    stem: Stem = Stem()
    replacements: tuple[Replacement, ...] = ()
    temporal_strides: tuple[int, ...] = (1, 1, 1, 1)
    drop_path: float = 0.0
    remat: tuple[int, ...] = ()
    norm: Norm = Norm()
    dtype: str = "float32"

    def setup(self) -> None:
        """Make the stem and the stages."""
        self.stem_layers = StemLayers(self.stem, self.norm, self.dtype, name="stem")
        rates = drop_path_rates(self.drop_path, self.depths)
        self.stages = [
            (nn.remat(Stage, static_argnums=(2,)) if stage in self.remat else Stage)(
                self.kind,
                depth,
                self.width * 2 ** (stage - 1),
                (self.temporal_strides[stage - 1], *((1, 1) if stage == 1 else (2, 2))),
                stage,
                self.replacements,
                rates[stage - 1],
                self.norm,
                self.dtype,
                name=f"stage{stage}",
            )
            for stage, depth in enumerate(self.depths, start=1)
        ]

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map clips `[B, T, H, W, C]` to features `[B, T', H / 32, W / 32, D]`."""
        x = self.stem_layers(x, train)
        for stage in self.stages:
            x = stage(x, train)
        return x


class ResNet(Trunk):
    """A residual network over clips, with its classifier `head`.

    Attributes:
      num_classes: Number of classes.
      dropout: Before the classifier.
      average: What is averaged over frames: `features` before the classifier, or `logits` after it
        (TSN, STH, CT). The two differ only in training, where each frame draws its own dropout.
    """

    num_classes: int = 400
    dropout: float = 0.5
    average: str = "features"

    def setup(self) -> None:
        """Make the trunk and the classifier."""
        super().setup()
        self.head = layers.Classifier(self.num_classes, self.dropout)

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify clips `[B, T, H, W, C]` into float32 logits `[B, num_classes]`."""
        x = super().__call__(x, train)
        if self.average == "features":
            return self.head(ops.adaptive_avg_pool(x).squeeze((1, 2, 3)), train)
        frames = ops.adaptive_avg_pool(x, axes=(2, 3)).squeeze((2, 3))
        return self.head(frames, train).mean(axis=1)


def drop_path_rates(rate: float, depths: tuple[int, ...]) -> tuple[tuple[float, ...], ...]:
    """Return each block's drop-path rate by stage, growing linearly from 0 to `rate`.

    References:
      Huang et al., Deep Networks with Stochastic Depth, ECCV 2016, equation 4.
    """
    last = max(sum(depths) - 1, 1)
    starts = [sum(depths[:stage]) for stage in range(len(depths))]
    return tuple(
        tuple(rate * (start + block) / last for block in range(depth))
        for start, depth in zip(starts, depths, strict=True)
    )
