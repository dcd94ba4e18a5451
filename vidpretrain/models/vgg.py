# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""VGG-16 with batch norm as a backbone: an image network applied to each frame."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vidpretrain import ops
from vidpretrain.models import layers
from vidpretrain.models.layers import ConvSite, Norm, Replacement
from vidpretrain.ops.platform import jit_as

# Channels and convolutions of each stage; a 2x2 max pool ends each (Simonyan and Zisserman,
# Table 1, column D). The very first convolution, which sees RGB, is the stem.
WIDTHS = (64, 128, 256, 512, 512)
DEPTHS = (1, 2, 3, 3, 3)
# Bins to a side that the linear layers see, and their width.
BINS = 7
HIDDEN = 4096


class VGGStage(nn.Module):
    """3x3 convolutions at one resolution. Submodules: `block0/conv`, `block1/conv`, ...

    Attributes:
        stage: Stage number, from 1, which says width and depth.
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
        """Map `[B, T, H, W, C]` to `[B, T, H, W, features]`."""
        for block in range(DEPTHS[self.stage - 1]):
            x = VGGBlock(
                self.stage, block, self.replacements, self.norm, self.dtype, name=f"block{block}"
            )(x, train)
        return x


class VGGBlock(nn.Module):
    """One 3x3 convolution, so that paths are those of other networks. Submodule: `conv`.

    Attributes:
        stage: Stage number, from 1.
        block: Index in the stage, from 0.
        replacements: Convolutions put in place of the network's own.
        norm: Batch norm options.
        dtype: Compute type.
    """

    stage: int
    block: int
    replacements: tuple[Replacement, ...]
    norm: Norm
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[B, T, H, W, C]` to `[B, T, H, W, features]`."""
        site = ConvSite(WIDTHS[self.stage - 1], norm=self.norm, dtype=self.dtype)
        return layers.place_unit(site, self.replacements, self.stage, self.block, "conv")(x, train)


class VGG16(nn.Module):
    """VGG-16 with batch norm; the logits of a clip are the mean of its frames'.

    Submodules: `stem`, `stage1` to `stage5`, `fc6`, `fc7`, `head`.

    Attributes:
        replacements: Convolutions put in place of the network's own.
        num_classes: Number of classes.
        dropout: Before the second and the third linear layer.
        remat: Stages whose activations are computed again in the backward pass.
        norm: Batch norm options.
        dtype: Compute type.

    References:
        Simonyan and Zisserman, Very Deep Convolutional Networks, ICLR 2015, Table 1.

    Note:
        Convolutions have no biases (torchvision's do), for the batch norms behind them have.
    """

    replacements: tuple[Replacement, ...] = ()
    num_classes: int = 400
    dropout: float = 0.5
    remat: tuple[int, ...] = ()
    norm: Norm = Norm()
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify clips `[B, T, H, W, C]` into float32 logits `[B, num_classes]`."""
        site = ConvSite(WIDTHS[0], norm=self.norm, dtype=self.dtype)
        x = layers.ConvNorm(site, name="stem")(x, train)
        kinds = layers.stage_classes(VGGStage, len(DEPTHS), self.remat)
        for stage, kind in enumerate(kinds, start=1):
            x = kind(stage, self.replacements, self.norm, self.dtype, name=f"stage{stage}")(
                x, train
            )
            x = ops.max_pool(x, (1, 2, 2), strides=(1, 2, 2))
        x = average_bins(x, bins=BINS).reshape(*x.shape[:2], -1)
        x = ops.relu(layers.Classifier(HIDDEN, 0.0, name="fc6")(x, train))
        x = ops.relu(layers.Classifier(HIDDEN, self.dropout, name="fc7")(x, train))
        head = layers.Classifier(self.num_classes, self.dropout, name="head")
        return head(x, train).mean(axis=1)


@jit_as("adaptive_avg_pool", static=("bins",))
def average_bins(x: jax.Array, *, bins: int) -> jax.Array:
    """Average frames into `bins` x `bins` even parts, so that linear layers take any frame size.

    Part i of a side of n pixels covers those from floor(i n / bins) to ceil((i + 1) n / bins), so
    parts overlap, and repeat pixels where n is smaller.

    Args:
        x: Clip `[B, T, H, W, C]`.
        bins: Parts to a side.

    Returns:
        `[B, T, bins, bins, C]`.
    """
    over_height, over_width = (bin_weights(size, bins) for size in x.shape[2:4])
    x = jnp.einsum("bthwc,ih->btiwc", x, over_height.astype(x.dtype))
    return jnp.einsum("btiwc,jw->btijc", x, over_width.astype(x.dtype))


def bin_weights(size: int, bins: int) -> np.ndarray:
    """Return the averaging matrix `[bins, size]` of one side."""
    weights = np.zeros((bins, size), np.float32)
    for part in range(bins):
        start, stop = part * size // bins, -(-(part + 1) * size // bins)
        weights[part, start:stop] = 1 / (stop - start)
    return weights
