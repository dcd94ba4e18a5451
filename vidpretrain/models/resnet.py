# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Residual networks over clips: one class, from an image ResNet to SlowOnly, CSN and R(2+1)D.

What makes a video network of an image network is which convolutions are replaced by what (see
`vidpretrain.models.layers`); everything else is shared. With nothing replaced, `ResNet` is the
image network applied to each frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax

from vidpretrain import ops
from vidpretrain.models import layers
from vidpretrain.models.layers import ConvBuilder, Convolution, Norm, Replacement, Triple
from vidpretrain.models.settings import ConvKind, Settings, sts_option

# An image network's own convolution.
PLAIN = Convolution()

# Blocks of each stage, by depth (He et al. 2016, Table 1).
BASIC_DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
BOTTLENECK_DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
# Channels of the stem and of the first stage's 3x3 convolutions.
WIDTH = 64


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

    features: int = WIDTH
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
        site = layers.ConvSite(features, kernel, strides, norm=self.norm, dtype=self.dtype)
        return layers.place_unit(
            site, self.replacements, self.stage, self.block, position, activation
        )

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
    width: int = WIDTH
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
        classes = layers.stage_classes(Stage, len(self.depths), self.remat)
        self.stages = [
            classes[stage - 1](
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
        average: What is averaged over frames: `features` before the classifier, or `logits` after
            it
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


def slowonly(
    settings: Settings,
    *,
    depth: int = 50,
    conv: ConvKind = "conv3d",
    ratio: tuple[int, int] | None = None,
    static: ops.Static | None = None,
) -> ResNet:
    """Build SlowOnly: a ResNet whose stages 3 and 4 start their bottlenecks with a 3x1x1.

    References:
        Feichtenhofer et al., SlowFast Networks for Video Recognition, ICCV 2019, Table 1 (slow
        pathway). ResNet50-3x1x1 of STS, Table 5.
    """
    depths = settings.depths_or(BOTTLENECK_DEPTHS[depth])
    temporal = Convolution(settings.temporal(3), sts=sts_option(conv, ratio, static))
    blocks = layers.select_blocks(depths, stages=(3, 4))
    width = settings.width_or(WIDTH)
    return ResNet(
        depths=depths,
        width=width,
        stem=Stem(width),
        replacements=(Replacement(temporal, ("conv1",), blocks),),
        **common_fields(settings),
    )


def csn(
    settings: Settings,
    *,
    depth: int = 50,
    mode: Literal["ir", "ip"] = "ir",
    conv: ConvKind = "conv3d",
    ratio: tuple[int, int] | None = None,
    static: ops.Static | None = None,
    temporal_strides: tuple[int, int, int, int] = (1, 1, 1, 1),
) -> ResNet:
    """Build a channel-separated network: every 3x3 becomes a channel-wise 3x3x3.

    `mode=ir` (interaction-reduced) replaces it; `mode=ip` (interaction-preserved) puts a 1x1x1
    before it. The stem is a dense 3x7x7.

    Note:
        The released STS networks have no temporal stride; `temporal_strides=1+2+2+2` gives the
        original networks', as in mmaction2's zoo.

    References:
        Tran et al., Video Classification with Channel-Separated Convolutional Networks, ICCV 2019,
        section 3.3. ResNet50-3x3x3 of STS, Table 5.
    """
    depths = settings.depths_or(BOTTLENECK_DEPTHS[depth])
    width = settings.width_or(WIDTH)
    channelwise = Convolution(
        settings.temporal(3), channelwise=True, sts=sts_option(conv, ratio, static)
    )
    builder = channelwise if mode == "ir" else layers.PointwiseFirst(channelwise)
    return ResNet(
        depths=depths,
        width=width,
        stem=Stem(width, conv=Convolution(settings.temporal(3))),
        replacements=(Replacement(builder, ("conv2",), layers.select_blocks(depths)),),
        temporal_strides=temporal_strides,
        **common_fields(settings, epsilon=1e-3),
    )


def r2plus1d(
    settings: Settings,
    *,
    depth: int = 34,
    conv: ConvKind = "conv3d",
    ratio: tuple[int, int] | None = None,
    static: ops.Static | None = None,
    temporal_strides: tuple[int, int, int, int] = (1, 1, 1, 1),
) -> ResNet:
    """Build R(2+1)D: a ResNet of basic blocks with every convolution factorised.

    Note:
        As in the released STS networks, a max pool follows the stem, the stem's middle channels
        follow the formula too (83), and there is no temporal stride; `temporal_strides=1+2+2+2`
        gives the original networks', as in mmaction2's zoo.

    References:
        Tran et al., A Closer Look at Spatiotemporal Convolutions for Action Recognition, CVPR 2018,
        section 3.5 and Table 1.
    """
    depths = settings.depths_or(BASIC_DEPTHS[depth])
    width = settings.width_or(WIDTH)
    factorized = layers.FactorizedConvolution(settings.temporal(3), sts_option(conv, ratio, static))
    positions = ("conv1", "conv2", "shortcut")
    return ResNet(
        kind="basic",
        depths=depths,
        width=width,
        stem=Stem(width, conv=factorized),
        replacements=(Replacement(factorized, positions, layers.select_blocks(depths)),),
        temporal_strides=temporal_strides,
        **common_fields(settings, epsilon=1e-3),
    )


def image_resnet(settings: Settings, *, depth: int = 50) -> ResNet:
    """Build an image ResNet, applied to each frame; the logits of a clip are its frames' mean.

    References:
        He et al., Deep Residual Learning for Image Recognition, CVPR 2016, Table 1.
    """
    basic = depth in BASIC_DEPTHS
    width = settings.width_or(WIDTH)
    return ResNet(
        kind="basic" if basic else "bottleneck",
        depths=settings.depths_or(BASIC_DEPTHS[depth] if basic else BOTTLENECK_DEPTHS[depth]),
        width=width,
        stem=Stem(width),
        average="logits",
        **common_fields(settings, default_dropout=0.0),
    )


def resnet(
    settings: Settings,
    *,
    block: Literal["basic", "bottleneck"] = "bottleneck",
    kernel: Literal["1x1x1", "3x1x1", "3x3x3", "2plus1d"] = "3x1x1",
    temporal_stages: tuple[int, ...] | None = None,
    temporal_strides: tuple[int, ...] | None = None,
    stem_temporal: int = 1,
    stem_kernel: int = 7,
    stem_stride: int = 2,
    stem_pool: bool = True,
    conv: ConvKind = "conv3d",
    ratio: tuple[int, int] | None = None,
    static: ops.Static | None = None,
) -> ResNet:
    """Build a residual network of any size, and of any number of stages.

    Args:
        settings: What every network takes; `depths` is 1+1+1+1 and `width` 16 where not set.
        block: Kind of block.
        kernel: What makes it a video network: nothing (`1x1x1`), a `3x1x1` in place of a
            bottleneck's first 1x1 (SlowOnly), a channel-wise `3x3x3` in place of its 3x3 (CSN), or
            `2plus1d` in place of every 3x3 and shortcut (R(2+1)D).
        temporal_stages: Stages that get it; None means all.
        temporal_strides: Of each stage; None means 1 everywhere.
        stem_temporal: Temporal kernel size of the stem.
        stem_kernel: Spatial kernel size of the stem.
        stem_stride: Spatial stride of the stem.
        stem_pool: Whether a max pool of stride 2 follows the stem.
        conv: `conv3d`, or `sts` to compute the temporal convolutions of the stages as STS.
        ratio: Option of `sts`.
        static: Option of `sts`.

    Raises:
        ValueError: The kernel does not fit the block, or numbers per stage do not fit `depths`.
    """
    depths, width = settings.depths or (1, 1, 1, 1), settings.width_or(16)
    strides = (1,) * len(depths) if temporal_strides is None else temporal_strides
    if len(strides) != len(depths):
        raise ValueError(
            f"temporal_strides gives {len(strides)} numbers for the {len(depths)} stages of depths"
        )
    if kernel == "1x1x1" and (conv != "conv3d" or temporal_stages is not None):
        raise ValueError(
            "conv and temporal_stages are about the temporal convolutions, of which kernel=1x1x1 "
            "has none; drop them or choose another kernel"
        )
    if block == "basic" and kernel in ("3x1x1", "3x3x3"):
        raise ValueError(
            f"kernel={kernel} stands for a convolution of bottlenecks; with block=basic take "
            "kernel=2plus1d or kernel=1x1x1"
        )
    temporal = settings.temporal(3)
    sts = sts_option(conv, ratio, static)
    blocks = layers.select_blocks(depths, stages=temporal_stages)
    replacements: dict[str, tuple[Replacement, ...]] = {
        "1x1x1": (),
        "3x1x1": (Replacement(Convolution(temporal, sts=sts), ("conv1",), blocks),),
        "3x3x3": (Replacement(Convolution(temporal, True, sts), ("conv2",), blocks),),
        "2plus1d": (
            Replacement(
                layers.FactorizedConvolution(temporal, sts),
                ("conv1", "conv2", "shortcut"),
                blocks,
            ),
        ),
    }
    return ResNet(
        kind=block,
        depths=depths,
        width=width,
        stem=Stem(
            width,
            (stem_kernel, stem_kernel),
            (1, stem_stride, stem_stride),
            Convolution(settings.temporal(stem_temporal)),
            stem_pool,
        ),
        replacements=replacements[kernel],
        temporal_strides=strides,
        **common_fields(settings),
    )


def common_fields(
    settings: Settings, epsilon: float = 1e-5, default_dropout: float = 0.5
) -> dict[str, Any]:
    """Return the fields of a `ResNet` that follow from the settings alone.

    Args:
        settings: What every network takes.
        epsilon: Of the network's batch norms.
        default_dropout: The network's own rate.
    """
    return {
        "num_classes": settings.num_classes,
        "dropout": settings.dropout_or(default_dropout),
        "drop_path": settings.drop_path,
        "remat": settings.remat,
        "norm": settings.norm(epsilon),
        "dtype": settings.dtype,
    }


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "resnet": resnet,
    "slowonly50": partial(slowonly, depth=50),
    "slowonly101": partial(slowonly, depth=101),
    "resnet50_3x1x1": partial(slowonly, depth=50),
    "csn50": partial(csn, depth=50),
    "csn101": partial(csn, depth=101),
    "csn152": partial(csn, depth=152),
    "resnet50_3x3x3": partial(csn, depth=50, mode="ir"),
    "r2plus1d18": partial(r2plus1d, depth=18),
    "r2plus1d34": partial(r2plus1d, depth=34),
    "resnet18": partial(image_resnet, depth=18),
    "resnet34": partial(image_resnet, depth=34),
    "resnet50": partial(image_resnet, depth=50),
    "resnet101": partial(image_resnet, depth=101),
    "resnet152": partial(image_resnet, depth=152),
}
