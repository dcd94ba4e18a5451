# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""InceptionV3 as a backbone: an image network of parallel branches, applied to each frame."""

from __future__ import annotations

import dataclasses
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from vidpretrain import ops
from vidpretrain.models import layers
from vidpretrain.models.layers import ConvSite, Norm, Replacement

# Of every pool.
WINDOW = (1, 3, 3)


@dataclasses.dataclass(frozen=True)
class Unit:
    """A convolution of a branch, with norm and ReLU.

    Attributes:
        name: Its name in the block, which is torchvision's.
        features: Output channels.
        kernel: Spatial kernel size.
        stride: Spatial stride.
        padded: Whether zeros at the borders keep the size (at stride 1).
    """

    name: str
    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padded: bool = True

    def site(self, norm: Norm, dtype: str) -> ConvSite:
        """Return the place of the convolution."""
        return ConvSite(
            self.features,
            self.kernel,
            (1, self.stride, self.stride),
            padding=None if self.padded else (0, 0, 0),
            norm=norm,
            dtype=dtype,
        )


@dataclasses.dataclass(frozen=True)
class Branch:
    """What one branch of a block does with the block's input.

    Attributes:
        pool: Comes first: a 3x3 average pool that keeps the resolution, or a max pool that halves
            it.
        units: Convolutions, one after the other.
        fork: Convolutions that each take the last one's output, all of which are outputs.
    """

    units: tuple[Unit, ...] = ()
    fork: tuple[Unit, ...] = ()
    pool: Literal["average", "max"] | None = None


def _block_a(pool_features: int) -> tuple[Branch, ...]:
    return (
        Branch((Unit("branch1x1", 64),)),
        Branch((Unit("branch5x5_1", 48), Unit("branch5x5_2", 64, (5, 5)))),
        Branch(
            (
                Unit("branch3x3dbl_1", 64),
                Unit("branch3x3dbl_2", 96, (3, 3)),
                Unit("branch3x3dbl_3", 96, (3, 3)),
            )
        ),
        Branch((Unit("branch_pool", pool_features),), pool="average"),
    )


def _block_b() -> tuple[Branch, ...]:
    return (
        Branch((Unit("branch3x3", 384, (3, 3), stride=2, padded=False),)),
        Branch(
            (
                Unit("branch3x3dbl_1", 64),
                Unit("branch3x3dbl_2", 96, (3, 3)),
                Unit("branch3x3dbl_3", 96, (3, 3), stride=2, padded=False),
            )
        ),
        Branch(pool="max"),
    )


def _block_c(inside: int) -> tuple[Branch, ...]:
    return (
        Branch((Unit("branch1x1", 192),)),
        Branch(
            (
                Unit("branch7x7_1", inside),
                Unit("branch7x7_2", inside, (1, 7)),
                Unit("branch7x7_3", 192, (7, 1)),
            )
        ),
        Branch(
            (
                Unit("branch7x7dbl_1", inside),
                Unit("branch7x7dbl_2", inside, (7, 1)),
                Unit("branch7x7dbl_3", inside, (1, 7)),
                Unit("branch7x7dbl_4", inside, (7, 1)),
                Unit("branch7x7dbl_5", 192, (1, 7)),
            )
        ),
        Branch((Unit("branch_pool", 192),), pool="average"),
    )


def _block_d() -> tuple[Branch, ...]:
    return (
        Branch(
            (Unit("branch3x3_1", 192), Unit("branch3x3_2", 320, (3, 3), stride=2, padded=False))
        ),
        Branch(
            (
                Unit("branch7x7x3_1", 192),
                Unit("branch7x7x3_2", 192, (1, 7)),
                Unit("branch7x7x3_3", 192, (7, 1)),
                Unit("branch7x7x3_4", 192, (3, 3), stride=2, padded=False),
            )
        ),
        Branch(pool="max"),
    )


def _block_e() -> tuple[Branch, ...]:
    return (
        Branch((Unit("branch1x1", 320),)),
        Branch(
            (Unit("branch3x3_1", 384),),
            fork=(Unit("branch3x3_2a", 384, (1, 3)), Unit("branch3x3_2b", 384, (3, 1))),
        ),
        Branch(
            (Unit("branch3x3dbl_1", 448), Unit("branch3x3dbl_2", 384, (3, 3))),
            fork=(Unit("branch3x3dbl_3a", 384, (1, 3)), Unit("branch3x3dbl_3b", 384, (3, 1))),
        ),
        Branch((Unit("branch_pool", 192),), pool="average"),
    )


# Two groups of convolutions, a max pool after each.
STEM = (
    (
        Unit("conv1a", 32, (3, 3), stride=2, padded=False),
        Unit("conv2a", 32, (3, 3), padded=False),
        Unit("conv2b", 64, (3, 3)),
    ),
    (Unit("conv3b", 80), Unit("conv4a", 192, (3, 3), padded=False)),
)
# Blocks of each stage: torchvision's Mixed_5b to 5d, 6a to 6e, 7a to 7c.
STAGES: tuple[tuple[tuple[Branch, ...], ...], ...] = (
    (_block_a(32), _block_a(64), _block_a(64)),
    (_block_b(), _block_c(128), _block_c(160), _block_c(160), _block_c(192)),
    (_block_d(), _block_e(), _block_e()),
)
DEPTHS = tuple(len(blocks) for blocks in STAGES)


class InceptionStem(nn.Module):
    """Five convolutions and two max pools, to 1/8 of the resolution.

    Submodules: `conv1a`, `conv2a`, `conv2b`, `conv3b`, `conv4a`.
    """

    norm: Norm
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map clips `[B, T, H, W, C]` to `[B, T, H', W', 192]`."""
        for group in STEM:
            for unit in group:
                site = unit.site(self.norm, self.dtype)
                x = layers.ConvNorm(site, name=unit.name)(x, train)
            x = ops.max_pool(x, WINDOW, strides=(1, 2, 2))
        return x


class InceptionBlock(nn.Module):
    """Branches on the same input, concatenated. Submodules: its units, by their names.

    Attributes:
        branches: What the block is made of.
        stage: Stage number, from 1.
        block: Index in the stage, from 0.
        replacements: Convolutions put in place of the block's own.
        norm: Batch norm options.
        dtype: Compute type.

    References:
        Szegedy et al., Rethinking the Inception Architecture for Computer Vision, CVPR 2016,
        Figures 5 to 7 and 10; sizes as in torchvision.
    """

    branches: tuple[Branch, ...]
    stage: int
    block: int
    replacements: tuple[Replacement, ...]
    norm: Norm
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[B, T, H, W, C]` to `[B, T, H', W', D]`, D summed over the branches."""
        outputs = []
        for branch in self.branches:
            y = x
            if branch.pool == "average":
                y = ops.avg_pool(y, WINDOW, padding=(0, 1, 1))
            elif branch.pool == "max":
                y = ops.max_pool(y, WINDOW, strides=(1, 2, 2))
            for unit in branch.units:
                y = self._unit(unit)(y, train)
            outputs += [self._unit(unit)(y, train) for unit in branch.fork] or [y]
        return jnp.concatenate(outputs, axis=-1)

    def _unit(self, unit: Unit) -> nn.Module:
        site = unit.site(self.norm, self.dtype)
        return layers.place_unit(site, self.replacements, self.stage, self.block, unit.name)


class InceptionStage(nn.Module):
    """Blocks at one resolution. Submodules: `block0`, `block1`, ...

    Attributes:
        stage: Stage number, from 1, which says which blocks.
        replacements: Convolutions put in place of the network's own.
        norm: Batch norm options.
        dtype: Compute type.
    """

    stage: int
    replacements: tuple[Replacement, ...]
    norm: Norm
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[B, T, H, W, C]` to `[B, T, H', W', D]`."""
        for block, branches in enumerate(STAGES[self.stage - 1]):
            x = InceptionBlock(
                branches,
                self.stage,
                block,
                self.replacements,
                self.norm,
                self.dtype,
                name=f"block{block}",
            )(x, train)
        return x


class InceptionV3(nn.Module):
    """InceptionV3; the logits of a clip are the mean of its frames'. Frames of 75 pixels or more.

    Submodules: `stem`, `stage1` to `stage3`, `head`.

    Attributes:
        replacements: Convolutions put in place of the network's own.
        num_classes: Number of classes.
        dropout: Before the classifier.
        remat: Stages whose activations are computed again in the backward pass.
        norm: Batch norm options.
        dtype: Compute type.

    References:
        Szegedy et al., Rethinking the Inception Architecture for Computer Vision, CVPR 2016, Table
        1.

    Note:
        Without the auxiliary classifier, which only regularises image training.
    """

    replacements: tuple[Replacement, ...] = ()
    num_classes: int = 400
    dropout: float = 0.5
    remat: tuple[int, ...] = ()
    norm: Norm = Norm(epsilon=1e-3)
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify clips `[B, T, H, W, C]` into float32 logits `[B, num_classes]`."""
        x = InceptionStem(self.norm, self.dtype, name="stem")(x, train)
        kinds = layers.stage_classes(InceptionStage, len(STAGES), self.remat)
        for stage, kind in enumerate(kinds, start=1):
            x = kind(stage, self.replacements, self.norm, self.dtype, name=f"stage{stage}")(
                x, train
            )
        frames = ops.adaptive_avg_pool(x, axes=(2, 3)).squeeze((2, 3))
        head = layers.Classifier(self.num_classes, self.dropout, name="head")
        return head(frames, train).mean(axis=1)
