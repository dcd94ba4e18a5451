# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""SlowFast: a wide network on few frames, fed by a narrow one on many."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vidpretrain import ops
from vidpretrain.models import layers
from vidpretrain.models.layers import Conv, Convolution, Norm, Replacement
from vidpretrain.models.resnet import BOTTLENECK_DEPTHS, WIDTH, Stem, Trunk
from vidpretrain.models.settings import ConvKind, Settings, sts_option

Variant = Literal["released", "facebook"]

# Channels of the slow pathway to one of the fast.
FAST_SHARE = 8


class Lateral(nn.Module):
    """A connection from the fast pathway to the slow one: a temporal convolution with stride.

    Submodules: `conv`, and `norm` if `normalise`.

    Attributes:
        features: Output channels.
        kernel: Temporal kernel size.
        stride: Temporal stride, fast frames to a slow frame.
        normalise: Whether norm and ReLU follow.
        norm: Batch norm options.
        dtype: Compute type.
    """

    features: int
    kernel: int
    stride: int
    normalise: bool
    norm: Norm
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map fast features `[B, T, H, W, C]` to `[B, ceil(T / stride), H, W, features]`."""
        kernel_size, strides = (self.kernel, 1, 1), (self.stride, 1, 1)
        x = Conv(self.features, kernel_size, strides, dtype=self.dtype, name="conv")(x)
        if self.normalise:
            x = layers.BatchNorm(self.norm, self.dtype, name="norm")(x, train)
            x = ops.relu(x)
        return x


class SlowFast(nn.Module):
    """Two residual networks, joined by lateral connections and one classifier.

    Submodules: `slow`, `fast` (each a `Trunk`), `lateral_stem`, `lateral_stage1` to
    `lateral_stage3` and `head`, whose input channels are [fast | slow] (`released`) or
    [slow | fast] (`facebook`).

    Attributes:
        slow: The slow pathway.
        fast: The fast pathway.
        alpha: Fast frames to a slow frame.
        lateral_kernel: Temporal kernel size of the lateral connections.
        variant: `released` is the STS paper's code: laterals without norm and ReLU, slow frames 0,
            alpha, 2 alpha, ... `facebook` is the original: laterals with norm and ReLU, slow frames
            spread evenly from the first to the last.
        num_classes: Number of classes.
        dropout: Before the classifier.
        norm: Batch norm options of the lateral connections.
        dtype: Compute type.

    References:
        Feichtenhofer et al., SlowFast Networks for Video Recognition, ICCV 2019, section 3, Table
        1.
    """

    slow: Trunk
    fast: Trunk
    alpha: int = 8
    lateral_kernel: int = 5
    variant: Variant = "released"
    num_classes: int = 400
    dropout: float = 0.5
    norm: Norm = Norm()
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify clips `[B, T, H, W, C]` into float32 logits `[B, num_classes]`.

        The fast pathway sees all frames, the slow one ceil(T / alpha) of them.
        """
        slow, fast = x[:, slow_frames(x.shape[1], self.alpha, self.variant)], x
        num_stages = len(self.slow.depths)
        for layer in range(num_stages + 1):
            slow = _run_layer(self.slow, layer, slow, train)
            fast = _run_layer(self.fast, layer, fast, train)
            if layer < num_stages:
                lateral = Lateral(
                    2 * fast.shape[-1],
                    self.lateral_kernel,
                    self.alpha,
                    self.variant == "facebook",
                    self.norm,
                    self.dtype,
                    name=f"lateral_stage{layer}" if layer else "lateral_stem",
                )
                slow = jnp.concatenate([slow, lateral(fast, train)], axis=-1)
        pathways = [slow, fast] if self.variant == "facebook" else [fast, slow]
        pooled = [ops.adaptive_avg_pool(pathway).squeeze((1, 2, 3)) for pathway in pathways]
        head = layers.Classifier(self.num_classes, self.dropout, name="head")
        return head(jnp.concatenate(pooled, axis=-1), train)


def slow_frames(num_frames: int, alpha: int, variant: Variant) -> np.ndarray:
    """Return which of a clip's frames the slow pathway sees: ceil(num_frames / alpha) of them.

    Of 32 frames with alpha 8, `released` takes 0, 8, 16, 24 and `facebook` 0, 10, 20, 31.

    Note:
        The released code takes floor(num_frames / alpha) frames, which differs from the lateral
        connections' ceil where alpha does not divide, and fails there.
    """
    if variant == "released":
        return np.arange(0, num_frames, alpha)
    return np.linspace(0, num_frames - 1, -(-num_frames // alpha)).astype(int)


def _run_layer(trunk: Trunk, layer: int, x: jax.Array, train: bool) -> jax.Array:
    """Apply the stem (layer 0) or a stage of a pathway."""
    # Calling the layers one by one skips the pathway's own name scope, which counters read.
    with jax.named_scope(str(trunk.name)):
        return trunk.stages[layer - 1](x, train) if layer else trunk.stem_layers(x, train)


def slowfast(
    settings: Settings,
    *,
    depth: int = 50,
    alpha: int = 8,
    lateral_kernel: int = 5,
    variant: Variant = "released",
    conv: ConvKind = "conv3d",
    ratio: tuple[int, int] | None = None,
    static: ops.Static | None = None,
) -> SlowFast:
    """Build SlowFast: SlowOnly, and a network of 1/8 of its channels that is temporal all along.

    Args:
        settings: What every network takes.
        depth: Of both pathways.
        alpha: Fast frames to a slow frame: 8 for 4x16, 4 for 8x8.
        lateral_kernel: Temporal kernel size of the lateral connections: 5 for 4x16, 7 for 8x8.
        variant: See `SlowFast`.
        conv: `conv3d`, or `sts` to compute the 3x1x1 convolutions of both pathways as STS (neither
            the stems nor the lateral connections).
        ratio: Option of `sts`.
        static: Option of `sts`.
    """
    depths = settings.depths_or(BOTTLENECK_DEPTHS[depth])
    width = settings.width_or(WIDTH)
    if width < FAST_SHARE:
        raise ValueError(
            f"width={width}: the fast pathway has 1/{FAST_SHARE} of it; give at least {FAST_SHARE}"
        )
    temporal = Convolution(settings.temporal(3), sts=sts_option(conv, ratio, static))

    def pathway(name: str, width: int, stem_temporal: int, stages: tuple[int, ...]) -> Trunk:
        blocks = layers.select_blocks(depths, stages=stages)
        return Trunk(
            depths=depths,
            width=width,
            stem=Stem(width, conv=Convolution(settings.temporal(stem_temporal))),
            replacements=(Replacement(temporal, ("conv1",), blocks),),
            drop_path=settings.drop_path,
            remat=settings.remat,
            norm=settings.norm(),
            dtype=settings.dtype,
            name=name,
        )

    return SlowFast(
        slow=pathway("slow", width, 1, (3, 4)),
        fast=pathway("fast", width // FAST_SHARE, 5, (1, 2, 3, 4)),
        alpha=alpha,
        lateral_kernel=settings.temporal(lateral_kernel),
        variant=variant,
        num_classes=settings.num_classes,
        dropout=settings.dropout_or(0.5),
        norm=settings.norm(),
        dtype=settings.dtype,
    )


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "slowfast50_4x16": partial(slowfast, depth=50, alpha=8, lateral_kernel=5),
    "slowfast50_8x8": partial(slowfast, depth=50, alpha=4, lateral_kernel=7),
}
