# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""MobileNetV2 as a backbone: an image network of inverted residuals, applied to each frame."""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax

from vidpretrain import ops
from vidpretrain.models import layers
from vidpretrain.models.layers import ConvSite, Norm, Replacement
from vidpretrain.models.resnet import drop_path_rates

# Expansion, output channels, blocks and first stride of each stage (Sandler et al., Table 2).
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
DEPTHS = tuple(depth for _, _, depth, _ in STAGES)
STEM_FEATURES = 32
LAST_FEATURES = 1280


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 channel-wise, linear 1x1 projection; added to the input if shapes agree.

    Submodules: `expand` (absent where nothing is expanded), `depthwise`, `project`.

    Attributes:
        features: Output channels.
        expansion: Channels inside, as a multiple of the input's.
        stride: Spatial stride.
        stage: Stage number, from 1.
        block: Index in the stage, from 0.
        replacements: Convolutions put in place of the block's own.
        drop_path: Share of clips whose branch is dropped in training.
        norm: Batch norm options.
        dtype: Compute type.

    References:
        Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018, Figure
        4d.
    """

    features: int
    expansion: int
    stride: int
    stage: int
    block: int
    replacements: tuple[Replacement, ...]
    drop_path: float
    norm: Norm
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[B, T, H, W, C]` to `[B, T, H', W', features]`."""
        inside = x.shape[-1] * self.expansion
        y = x
        if self.expansion > 1:
            y = self._unit("expand", self._site(inside), "relu6")(y, train)
        depthwise = dataclasses.replace(
            self._site(inside),
            kernel=(3, 3),
            strides=(1, self.stride, self.stride),
            groups=inside,
        )
        y = self._unit("depthwise", depthwise, "relu6")(y, train)
        y = self._unit("project", self._site(self.features), None)(y, train)
        if x.shape != y.shape:
            return y
        return x + layers.DropPath(self.drop_path, name="drop_path")(y, train)

    def _site(self, features: int) -> ConvSite:
        return ConvSite(features, (1, 1), norm=self.norm, dtype=self.dtype)

    def _unit(self, position: str, site: ConvSite, activation: layers.Activation) -> nn.Module:
        return layers.place_unit(
            site, self.replacements, self.stage, self.block, position, activation
        )


class MobileNetStage(nn.Module):
    """Blocks at one width. Submodules: `block0`, `block1`, ...

    Attributes:
        stage: Stage number, from 1, which says all but what follows.
        replacements: As in `InvertedResidual`.
        drop_path: Of each block.
        norm: Batch norm options.
        dtype: Compute type.
    """

    stage: int
    replacements: tuple[Replacement, ...]
    drop_path: tuple[float, ...]
    norm: Norm
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[B, T, H, W, C]` to `[B, T, H', W', features]`."""
        expansion, features, depth, stride = STAGES[self.stage - 1]
        for block in range(depth):
            x = InvertedResidual(
                features,
                expansion,
                stride if block == 0 else 1,
                self.stage,
                block,
                self.replacements,
                self.drop_path[block],
                self.norm,
                self.dtype,
                name=f"block{block}",
            )(x, train)
        return x


class MobileNetV2(nn.Module):
    """MobileNetV2 of width 1; the logits of a clip are the mean of its frames'.

    Submodules: `stem`, `stage1` to `stage7`, `conv_last`, `head`.

    Attributes:
        replacements: Convolutions put in place of the network's own.
        num_classes: Number of classes.
        dropout: Before the classifier.
        drop_path: Rate at the last block; it grows linearly from 0 at the first.
        remat: Stages whose activations are computed again in the backward pass.
        norm: Batch norm options.
        dtype: Compute type.

    References:
        Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018, Table 2.
    """

    replacements: tuple[Replacement, ...] = ()
    num_classes: int = 400
    dropout: float = 0.5
    drop_path: float = 0.0
    remat: tuple[int, ...] = ()
    norm: Norm = Norm()
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify clips `[B, T, H, W, C]` into float32 logits `[B, num_classes]`."""
        stem = ConvSite(STEM_FEATURES, (3, 3), (1, 2, 2), norm=self.norm, dtype=self.dtype)
        x = layers.ConvNorm(stem, activation="relu6", name="stem")(x, train)
        rates = drop_path_rates(self.drop_path, DEPTHS)
        kinds = layers.stage_classes(MobileNetStage, len(STAGES), self.remat)
        for stage, kind in enumerate(kinds, start=1):
            x = kind(
                stage,
                self.replacements,
                rates[stage - 1],
                self.norm,
                self.dtype,
                name=f"stage{stage}",
            )(x, train)
        last = ConvSite(LAST_FEATURES, (1, 1), norm=self.norm, dtype=self.dtype)
        x = layers.ConvNorm(last, activation="relu6", name="conv_last")(x, train)
        frames = ops.adaptive_avg_pool(x, axes=(2, 3)).squeeze((2, 3))
        head = layers.Classifier(self.num_classes, self.dropout, name="head")
        return head(frames, train).mean(axis=1)
