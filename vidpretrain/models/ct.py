# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Channel tensorization (CT): a spatio-temporal convolution along one sub-dimension at a time."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import flax.linen as nn
import jax

from vidpretrain import ops
from vidpretrain.models import layers
from vidpretrain.models.layers import ConvNorm, Convolution, ConvSite, Triple

# How a step convolves space and time: summed, one after the other, or with one 3D kernel.
ARRANGEMENTS = ("parallel", "serial", "coupling")
# Gates within a step: the paper's tensor excitation, squeeze and excitation, or none.
EXCITATIONS = ("te", "se", "none")
# Both excitations work on fewer channels, by this factor.
REDUCTION = 4


@dataclasses.dataclass(frozen=True)
class ChannelTensorization:
    """Builds a `CTConv`.

    Attributes:
        num_dims: Number K of sub-dimensions.
        split: Sizes of the second to the last sub-dimension, in the order in which they are mixed;
            the first takes the rest of the channels. None is the rule of `ops.channel_dims`.
        kernels: Kernel size for each sub-dimension in the order in which they are mixed, or one for
            all: k stands for 1 x k x k and k x 1 x 1.
        arrangement: `parallel`, `serial` or `coupling` (one k x k x k kernel).
        pointwise: A full 1x1x1 convolution between two sub-dimensions.
        excitation: `te`, `se` or `none`.

    Raises:
        ValueError: A number or name is not one of those, or they contradict each other.

    References:
        Li et al., CT-Net: Channel Tensorization Network for Video Classification, ICLR 2021,
        section 3 and its ablations of every attribute.
    """

    num_dims: int = 2
    split: tuple[int, ...] | None = None
    kernels: tuple[int, ...] = (3,)
    arrangement: str = "parallel"
    pointwise: bool = True
    excitation: str = "te"

    owns_norm: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.num_dims < 1:
            raise ValueError(f"dims={self.num_dims}: at least 1 sub-dimension is needed")
        if self.split is not None and len(self.split) != self.num_dims - 1:
            raise ValueError(
                f"split={self.split} names the sizes of sub-dimensions 2 to {len(self.split) + 1}, "
                f"but dims={self.num_dims}; give dims={len(self.split) + 1}"
            )
        if len(self.kernels) not in (1, self.num_dims) or any(k % 2 == 0 for k in self.kernels):
            raise ValueError(
                f"kernels={self.kernels}: give one odd size for all, or one for each of the "
                f"{self.num_dims} sub-dimensions"
            )
        for option, allowed in (("arrangement", ARRANGEMENTS), ("excitation", EXCITATIONS)):
            if getattr(self, option) not in allowed:
                raise ValueError(
                    f"{option}={getattr(self, option)!r} is not one of {', '.join(allowed)}"
                )

    def dims(self, channels: int) -> tuple[int, ...]:
        """Return the sub-dimensions of so many channels; the last is mixed first.

        Raises:
            ValueError: The channels cannot be split so.
        """
        if self.split is None:
            return ops.channel_dims(channels, self.num_dims)
        rest, remainder = divmod(channels, math.prod(self.split))
        if remainder:
            raise ValueError(
                f"split={self.split}: {channels} channels are not divisible by "
                f"{math.prod(self.split)}"
            )
        return *reversed(self.split), rest

    def build(self, site: ConvSite, name: str) -> CTConv:
        """Return the convolution for a site; its kernel sizes are the builder's own."""
        return CTConv(site, self, name=name)


class CTConv(nn.Module):
    """Mixes channels along one sub-dimension after the other, each with a convolution over space.

    Submodules: `step1` to `stepK`, and `pointwise1` to `pointwise{K - 1}` between them. It brings
    its own norms and ends, as in the released code, in a sum without activation.

    Attributes:
        site: Where the convolution stands; strides are carried by the first step.
        options: The variant.
    """

    site: ConvSite
    options: ChannelTensorization = ChannelTensorization()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[B, T, H, W, C]` to `[B, T', H', W', C]`.

        Raises:
            ValueError: The channels cannot be split, or are not kept; the message names the layer.
        """
        options = self.options
        channels = x.shape[-1]
        if channels != self.site.features:
            raise ValueError(
                f"{layers.layer_path(self)}: ct keeps the number of channels, but this convolution "
                f"has {channels} inputs and {self.site.features} outputs; leave it as it is"
            )
        try:
            dims = options.dims(channels)
        except ValueError as error:
            raise ValueError(f"{layers.layer_path(self)}: {error}") from error
        kernels = options.kernels * (options.num_dims if len(options.kernels) == 1 else 1)
        for number, kernel in enumerate(kernels, start=1):
            site = dataclasses.replace(
                self.site,
                kernel=(kernel, kernel),
                strides=self.site.strides if number == 1 else (1, 1, 1),
                groups=channels // dims[-1],
            )
            step = CTStep(site, options.arrangement, options.excitation, name=f"step{number}")
            x = step(x, train)
            if options.pointwise and number < options.num_dims:
                point = ConvSite(channels, (1, 1), norm=site.norm, dtype=site.dtype)
                x = ConvNorm(point, name=f"pointwise{number}")(x, train)
            x = ops.transpose_channels(x, dims)
            dims = (dims[-1], *dims[:-1])
        return x


class CTStep(nn.Module):
    """The convolutions along one sub-dimension, which is the last, and their excitations.

    Submodules: `spatial` and `temporal`, or `joint` where they are coupled, each a convolution
    with norm and ReLU; `spatial_excitation`, `temporal_excitation`, `channel_excitation`, or
    `squeeze_excitation`.

    Attributes:
        site: Kernel size, strides and channel groups of the step.
        arrangement: As in `ChannelTensorization`.
        excitation: As in `ChannelTensorization`.
    """

    site: ConvSite
    arrangement: str = "parallel"
    excitation: str = "te"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[B, T, H, W, C]` to `[B, T', H', W', C]`."""
        match self.arrangement:
            case "parallel":
                strides = self.site.strides
                y = self._spatial(x, strides, train) + self._temporal(x, strides, train)
            case "serial":
                frames, rows, columns = self.site.strides
                y = self._spatial(x, (1, rows, columns), train)
                y = self._temporal(y, (frames, 1, 1), train)
            case _:
                y = ConvNorm(self.site, Convolution(self.site.kernel[0]), name="joint")(x, train)
        match self.excitation:
            case "te":
                return Excitation(self.site, 1, (1, 1), (2, 3), name="channel_excitation")(y, train)
            case "se":
                squeezed = max(y.shape[-1] // REDUCTION, 1)
                return layers.SqueezeExcite(squeezed, self.site.dtype, name="squeeze_excitation")(y)
            case _:
                return y

    def _spatial(self, x: jax.Array, strides: Triple, train: bool) -> jax.Array:
        site = dataclasses.replace(self.site, strides=strides)
        x = ConvNorm(site, name="spatial")(x, train)
        if self.excitation != "te":
            return x
        return Excitation(self.site, 1, (3, 3), (1,), name="spatial_excitation")(x, train)

    def _temporal(self, x: jax.Array, strides: Triple, train: bool) -> jax.Array:
        site = dataclasses.replace(self.site, kernel=(1, 1), strides=strides)
        x = ConvNorm(site, Convolution(self.site.kernel[0]), name="temporal")(x, train)
        if self.excitation != "te":
            return x
        return Excitation(self.site, 3, (1, 1), (2, 3), name="temporal_excitation")(x, train)


class Excitation(nn.Module):
    """Scales activations by a gate computed from their mean over some axes.

    mean -> convolution, norm, ReLU -> convolution, sigmoid, both convolutions along the same
    channel sub-dimension as the step that they belong to.

    Submodules: `reduce` (with `conv` and `norm`), `expand` (a convolution).

    Attributes:
        site: Features, channel groups, norm and dtype of the step.
        temporal: Temporal kernel size.
        kernel: Spatial kernel size.
        axes: Axes of `[B, T, H, W, C]` that are averaged.

    Note:
        As in the released code, the channel excitation averages over H and W only and keeps T.
        Channels between the two convolutions are C / 4 as there, rounded down within each group and
        at least one, so that every split works.
    """

    site: ConvSite
    temporal: int
    kernel: tuple[int, int]
    axes: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Return `x` `[B, T, H, W, C]` times its gates, which are 1 along the axes averaged."""
        groups = self.site.groups
        reduced = groups * max(x.shape[-1] // groups // REDUCTION, 1)
        expand = dataclasses.replace(self.site, kernel=self.kernel, strides=(1, 1, 1))
        reduce = dataclasses.replace(expand, features=reduced)
        conv = Convolution(self.temporal)
        gate = ops.functional_avg_pool(x, self.axes)
        gate = ConvNorm(reduce, conv, name="reduce")(gate, train)
        gate = conv.build(expand, "expand")(gate)
        return x * ops.sigmoid(gate)
