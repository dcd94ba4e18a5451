# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Image networks with a spatio-temporal convolution plugged in: STH, CT, TSM, and their rivals.

Both papers claim that their convolution goes into any image network. A `Backbone` says how one is
made and where such a convolution fits; a family says which convolution, and in which blocks. The
image twin of them all is the plain image network, averaged over frames.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal

import flax.linen as nn

from vidpretrain.models import inception, layers, mobilenet, resnet, vgg
from vidpretrain.models.ct import ChannelTensorization
from vidpretrain.models.layers import ConvBuilder, Convolution, Replacement
from vidpretrain.models.separable import Separable
from vidpretrain.models.settings import Settings
from vidpretrain.models.shift import TemporalShift
from vidpretrain.models.sth import SpatioTemporalHybrid


@dataclasses.dataclass(frozen=True)
class Backbone:
    """An image network that convolutions can be plugged into.

    Attributes:
        make: Builds it from the settings and the replacements.
        depths: Blocks of each stage.
        spatial: Positions in a block of all convolutions over space that STH takes over.
        square: Positions with as many outputs as inputs and, but for a stage's first block, no
            stride, that CT and its rivals take over.
        first: Position of a residual branch's first convolution, in front of which TSM shifts;
            empty if there are no residual branches.
        residual: Which blocks are residual, as a rule of `select_blocks`.
    """

    make: Callable[[Settings, tuple[Replacement, ...]], nn.Module]
    depths: tuple[int, ...]
    spatial: tuple[str, ...]
    square: tuple[str, ...]
    first: tuple[str, ...] = ()
    residual: str = "all"


def _resnet(depth: int) -> Backbone:
    basic = depth in resnet.BASIC_DEPTHS
    depths = resnet.BASIC_DEPTHS[depth] if basic else resnet.BOTTLENECK_DEPTHS[depth]

    def make(settings: Settings, replacements: tuple[Replacement, ...]) -> nn.Module:
        width = settings.width_or(resnet.WIDTH)
        return resnet.ResNet(
            kind="basic" if basic else "bottleneck",
            depths=settings.depths_or(depths),
            width=width,
            stem=resnet.Stem(width),
            replacements=replacements,
            average="logits",
            **resnet.common_fields(settings),
        )

    spatial = ("conv1", "conv2") if basic else ("conv2",)
    square = ("conv1",) if basic else ("conv2",)
    return Backbone(make, depths, spatial, square, first=("conv1",))


def _mobilenet_v2(settings: Settings, replacements: tuple[Replacement, ...]) -> nn.Module:
    _refuse_sizes("mobilenet_v2", settings)
    return mobilenet.MobileNetV2(replacements, **resnet.common_fields(settings))


def _vgg16(settings: Settings, replacements: tuple[Replacement, ...]) -> nn.Module:
    return vgg.VGG16(replacements, **_fields_without_drop_path("vgg16", settings, 1e-5))


def _inception_v3(settings: Settings, replacements: tuple[Replacement, ...]) -> nn.Module:
    fields = _fields_without_drop_path("inception_v3", settings, 1e-3)
    return inception.InceptionV3(replacements, **fields)


def _fields_without_drop_path(name: str, settings: Settings, epsilon: float) -> dict[str, Any]:
    _refuse_sizes(name, settings)
    fields = resnet.common_fields(settings, epsilon)
    if fields.pop("drop_path"):
        raise ValueError(
            f"drop_path={settings.drop_path}: {name} has no residual branches to drop; set it to 0"
        )
    return fields


def _refuse_sizes(name: str, settings: Settings) -> None:
    if settings.depths is not None or settings.width is not None:
        raise ValueError(
            f"depths={settings.depths}, width={settings.width}: {name} has one size only; leave "
            "them out"
        )


BACKBONES: dict[str, Backbone] = {
    "resnet18": _resnet(18),
    "resnet34": _resnet(34),
    "resnet50": _resnet(50),
    "resnet101": _resnet(101),
    "mobilenet_v2": Backbone(
        _mobilenet_v2, mobilenet.DEPTHS, ("depthwise",), ("depthwise",), ("expand",), "rest"
    ),
    "vgg16": Backbone(_vgg16, vgg.DEPTHS, ("conv",), ("conv",)),
    # The 7x7 of Inception's middle stage is a 1x7 and a 7x1: one of each pair is taken over.
    "inception_v3": Backbone(
        _inception_v3,
        inception.DEPTHS,
        spatial=(
            "branch5x5_2",
            "branch3x3dbl_2",
            "branch3x3dbl_3",
            "branch7x7_2",
            "branch7x7dbl_3",
            "branch7x7x3_2",
        ),
        square=("branch3x3dbl_3", "branch7x7_2"),
    ),
}


def tsn(settings: Settings, *, backbone: str) -> nn.Module:
    """Build an image network that is applied to each frame, the logits averaged.

    References:
        Wang et al., Temporal Segment Networks, ECCV 2016.
    """
    return BACKBONES[backbone].make(settings, ())


def tsm(settings: Settings, *, backbone: str, fraction: float = 1 / 8) -> nn.Module:
    """Build an image network whose residual branches begin with a temporal shift.

    Args:
        settings: What every network takes.
        backbone: A key of `BACKBONES`.
        fraction: Share of the channels shifted each way.

    References:
        Lin et al., TSM: Temporal Shift Module for Efficient Video Understanding, ICCV 2019.
    """
    network = BACKBONES[backbone]
    blocks = layers.select_blocks(settings.depths_or(network.depths), network.residual)
    return _plug(settings, network, TemporalShift(fraction), network.first, blocks)


def sth(
    settings: Settings,
    *,
    backbone: str,
    conv: Literal["sth", "2plus1d_sequential", "2plus1d_parallel"] = "sth",
    p: float = SpatioTemporalHybrid.p,
    mode: Literal["hybrid", "merge"] = "hybrid",
    attention: bool = False,
    dilation: tuple[int, ...] = SpatioTemporalHybrid.dilation,
) -> nn.Module:
    """Build an image network whose convolutions over space become STH convolutions.

    Args:
        settings: What every network takes.
        backbone: A key of `BACKBONES`.
        conv: `sth`, or a convolution that the paper compares it with in the same places.
        p: Proportion of input channels with temporal kernels: 0 or 1/g.
        mode: Arrangement of the temporal kernels.
        attention: Attentive integration of the temporal and spatial parts.
        dilation: Temporal dilations, which take turns over the layers.

    Raises:
        ValueError: An option of STH has an impossible value, or is given for another convolution.

    References:
        Li et al., STH: Spatio-Temporal Hybrid Convolution for Efficient Action Recognition, 2020,
        Tables 6 to 8.
    """
    hybrid = SpatioTemporalHybrid(p, mode, attention, dilation)
    _require_defaults("sth", conv, hybrid, SpatioTemporalHybrid())
    builders: dict[str, ConvBuilder] = {
        "sth": hybrid,
        "2plus1d_sequential": Separable("sequential"),
        "2plus1d_parallel": Separable("parallel"),
    }
    network = BACKBONES[backbone]
    blocks = layers.select_blocks(settings.depths_or(network.depths))
    return _plug(settings, network, builders[conv], network.spatial, blocks)


# Which blocks CT takes over, by how many these are in a ResNet-50: a rule of `select_blocks`, the
# number of last stages (0 means all), and the most blocks of a stage (0 means any).
CT_BLOCKS = {
    1: ("odd", 1, 0),
    4: ("odd", 2, 0),
    6: ("odd", 3, 0),
    7: ("odd", 0, 0),
    11: ("odd", 0, 7),
    12: ("rest", 0, 0),
}


def ct(
    settings: Settings,
    *,
    backbone: str,
    conv: Literal["ct", "c3d", "r2plus1d", "csn"] = "ct",
    blocks: Literal[1, 4, 6, 7, 11, 12] = 7,
    dims: int = ChannelTensorization.num_dims,
    split: tuple[int, ...] | None = None,
    kernels: tuple[int, ...] = ChannelTensorization.kernels,
    arrangement: Literal["parallel", "serial", "coupling"] = "parallel",
    pointwise: bool = True,
    excitation: Literal["te", "se", "none"] = "te",
) -> nn.Module:
    """Build CT-Net: an image network with channel tensorization in some of its blocks.

    Args:
        settings: What every network takes.
        backbone: A key of `BACKBONES`.
        conv: `ct`, or a convolution that the paper compares it with in the same places.
        blocks: Which blocks, by how many these are in a ResNet-50: 7 (all stages), 6, 4 and 1 (the
            last three, two, one) are the odd-indexed ones; 12 all but the first of each stage; 11
            the odd-indexed ones, but no more than 7 in a stage.
        dims: Number K of channel sub-dimensions.
        split: Sizes of the second to the last sub-dimension, in the order in which they are mixed.
        kernels: Kernel size, for all sub-dimensions or for each.
        arrangement: How a sub-dimension's convolutions over space and time are arranged.
        pointwise: A full 1x1x1 convolution between sub-dimensions.
        excitation: `te` (tensor excitation), `se` (squeeze and excitation) or `none`.

    Raises:
        ValueError: An option of CT has an impossible value, or is given for another convolution.

    References:
        Li et al., CT-Net: Channel Tensorization Network for Video Classification, ICLR 2021,
        section 3 and Tables 1 to 3.

    Note:
        `blocks=11` is for `ct101`: the paper's GFLOPs of ResNet-101 are met only with 7 of the 23
        blocks of stage 3 replaced, where the released code replaces all 11 odd-indexed ones.
    """
    tensorization = ChannelTensorization(dims, split, kernels, arrangement, pointwise, excitation)
    _require_defaults("ct", conv, tensorization, ChannelTensorization())
    builders: dict[str, ConvBuilder] = {
        "ct": tensorization,
        "c3d": Convolution(temporal=3),
        "r2plus1d": Separable("sequential", norm_between=True),
        "csn": layers.PointwiseFirst(Convolution(temporal=3, channelwise=True)),
    }
    network = BACKBONES[backbone]
    where, last_stages, most = CT_BLOCKS[blocks]
    depths = settings.depths_or(network.depths)
    stages = range(1, len(depths) + 1)[-last_stages:]
    chosen = tuple(
        block
        for stage in stages
        for block in layers.select_blocks(depths, where, (stage,))[: most or None]
    )
    return _plug(settings, network, builders[conv], network.square, chosen)


def _plug(
    settings: Settings,
    network: Backbone,
    conv: ConvBuilder,
    positions: tuple[str, ...],
    blocks: tuple[tuple[int, int], ...],
) -> nn.Module:
    """Put a convolution into a backbone, or, for the image twin, leave the backbone as it is."""
    replacements = () if settings.image else (Replacement(conv, positions, blocks),)
    return network.make(settings, replacements)


def _require_defaults(family: str, conv: str, given: object, default: object) -> None:
    if conv != family and given != default:
        raise ValueError(
            f"conv={conv} takes none of the options of conv={family}; drop them or conv={conv}"
        )


def _named(
    family: str, build: Callable[..., nn.Module], backbones: Iterable[str]
) -> dict[str, Callable[..., nn.Module]]:
    """Name a family's networks: `sth50` for a ResNet-50, `sth_vgg16` for others."""
    return {
        (
            family + name.removeprefix("resnet")
            if name.startswith("resnet")
            else f"{family}_{name}"
        ): partial(build, backbone=name)
        for name in backbones
    }


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    **_named("tsn", tsn, BACKBONES),
    **_named("tsm", tsm, (name for name, backbone in BACKBONES.items() if backbone.first)),
    **_named("sth", sth, BACKBONES),
    **_named("ct", ct, BACKBONES),
}
