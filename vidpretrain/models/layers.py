# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The pieces that every network is made of, and the rule by which convolutions are exchanged.

A network is a *backbone* and the *convolutions* put into it. A backbone never builds a convolution
itself: it describes the place (a `ConvSite`: features, spatial kernel, strides, ...) and asks a
`ConvBuilder` to fill it. By default that is `Convolution()`, the plain `1 x KH x KW` convolution of
an image network. A `Replacement` names another builder, the convolutions of a block that it takes
over (`positions`) and the blocks (`blocks`, as `select_blocks` returns them):

    SlowOnly  Replacement(Convolution(temporal=3), ("conv1",), select_blocks(depths, stages=(3, 4)))
    irCSN     Replacement(Convolution(temporal=3, channelwise=True), ("conv2",), every_block)
    R(2+1)D   Replacement(FactorizedConvolution(), ("conv1", "conv2", "shortcut"), every_block)

where `every_block = select_blocks(depths)`. A bottleneck has `conv1` (1x1), `conv2` (3x3), `conv3`
(1x1) and, where shapes change, `shortcut`; a basic block has `conv1`, `conv2` (both 3x3) and
`shortcut`.

A new convolution is therefore two things: a linen module called as `module(x, train)`, and a frozen
dataclass with `owns_norm` and `build(site, name)` that makes it. Where `owns_norm` is false, the
backbone puts its batch norm and activation behind the module; where it is true, the module ends in
whatever its paper says, and the backbone adds nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from vidpretrain import ops

Triple = tuple[int, int, int]
Activation = Literal["relu", "relu6", "swish"] | None

# He et al. 2015, equation 10, on the fan out, as the released networks are initialised.
kaiming_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


@dataclasses.dataclass(frozen=True)
class Norm:
    """How the batch norms of a network behave.

    Attributes:
        epsilon: Added to the variance.
        momentum: Share of the old running statistic kept in each update (1 - PyTorch's momentum).
        group_size: Clips over which training statistics are taken; None takes the whole batch, over
            all devices. Per-device statistics are those of `batch_size / num_devices` clips.
        frozen: Use the running statistics in training too, and leave them as they are.
    """

    epsilon: float = 1e-5
    momentum: float = 0.9
    group_size: int | None = None
    frozen: bool = False


@dataclasses.dataclass(frozen=True)
class STS:
    """Which static and dynamic parts an STS convolution has.

    Attributes:
        ratio: Static to dynamic channels, such as `(1, 1)`; `(1, 0)` is without splitting.
        static: How the static path reads a frame: `raster` (as released), `axis` or `dilated`.

    References:
        Li et al., In Defense of Image Pre-Training for Spatiotemporal Recognition, ECCV 2022,
        Appendix A, equation 2; Table 10 for the ratios; Appendix B.2 for `dilated`.
    """

    ratio: tuple[int, int] = (1, 1)
    static: ops.Static = "raster"


@dataclasses.dataclass(frozen=True)
class ConvSite:
    """The place of one convolution in a backbone: all that a convolution put there must fit.

    Attributes:
        features: Output channels.
        kernel: Spatial kernel size `(KH, KW)` of the convolution that an image network has here.
        strides: `(ST, SH, SW)`.
        groups: Channel groups of the image network's convolution.
        padding: Zeros on both sides of `(T, H, W)`; None is half the kernel. A place with a padding
            of its own (Inception's reductions) takes plain convolutions only.
        index: `Replacement.index` of this place, which counts blocks first and positions within
            them second (for schemes that vary by layer, such as dilation 1, 2, 3).
        norm: Options for batch norms inside the convolution.
        dtype: Compute type.
    """

    features: int
    kernel: tuple[int, int] = (3, 3)
    strides: Triple = (1, 1, 1)
    groups: int = 1
    padding: Triple | None = None
    index: int = 0
    norm: Norm = Norm()
    dtype: str = "float32"


class ConvBuilder(Protocol):
    """Makes the linen module that fills a `ConvSite`; implementations are frozen dataclasses."""

    @property
    def owns_norm(self) -> bool:
        """Whether the module brings its own norms and activations."""
        ...

    def build(self, site: ConvSite, name: str) -> nn.Module:
        """Return the module, to be called as `module(x, train)`."""
        ...


@dataclasses.dataclass(frozen=True)
class Replacement:
    """Which convolutions of a backbone another one takes over.

    Attributes:
        conv: Builder of the convolution put in.
        positions: Names of the convolutions inside a block, as in the parameter paths.
        blocks: `(stage, block)` pairs, stages from 1 and blocks from 0; see `select_blocks`.
    """

    conv: ConvBuilder
    positions: tuple[str, ...]
    blocks: tuple[tuple[int, int], ...]

    def index(self, stage: int, block: int, position: str) -> int | None:
        """Return the running number of a convolution taken over, or None if it is not."""
        if position not in self.positions or (stage, block) not in self.blocks:
            return None
        return self.blocks.index((stage, block)) * len(self.positions) + self.positions.index(
            position
        )


# Which blocks of a stage `select_blocks` takes, by name, from the block's index in its stage.
BLOCK_RULES: dict[str, Callable[[int], bool]] = {
    "all": lambda block: True,
    "odd": lambda block: block % 2 == 1,
    "rest": lambda block: block > 0,
}


def select_blocks(
    depths: Sequence[int], where: str = "all", stages: Sequence[int] | None = None
) -> tuple[tuple[int, int], ...]:
    """Return the `(stage, block)` pairs that a rule names.

    Args:
        depths: Blocks of each stage.
        where: `all`, `odd` (odd-indexed blocks, counted from 0) or `rest` (all but the first).
        stages: Stages to choose from, numbered from 1; None means all.

    Returns:
        Pairs in the order of the forward pass, stages from 1 and blocks from 0.

    Raises:
        ValueError: The rule or a stage does not exist.
    """
    if where not in BLOCK_RULES:
        raise ValueError(f"where={where!r} is not one of {', '.join(BLOCK_RULES)}")
    chosen = tuple(range(1, len(depths) + 1)) if stages is None else tuple(stages)
    _check_stages(chosen, len(depths))
    rule = BLOCK_RULES[where]
    return tuple(
        (stage, block)
        for stage, depth in enumerate(depths, start=1)
        for block in range(depth)
        if stage in chosen and rule(block)
    )


def _check_stages(stages: Sequence[int], num_stages: int) -> None:
    for stage in stages:
        if not 1 <= stage <= num_stages:
            raise ValueError(f"stage {stage} does not exist: stages are 1 to {num_stages}")


class Conv(nn.Module):
    """A convolution over time and space, plain or STS: both have the very same parameters.

    Parameters: `kernel` `[KT, KH, KW, I / groups, O]`, `bias` `[O]` if `use_bias`.

    Attributes:
        features: Output channels O.
        kernel_size: `(KT, KH, KW)`.
        strides: `(ST, SH, SW)`.
        groups: Channel groups; `features` makes it channel-wise.
        padding: Zeros on both sides of `(T, H, W)`; None is `dilation * (K - 1) // 2`. Not for STS.
        dilation: `(DT, DH, DW)`.
        use_bias: Whether a bias is added.
        sts: Read the kernel as an STS convolution. Needs a temporal kernel (`KT x 1 x 1`) or a
            channel-wise one; a kernel without temporal extent (KT = 1) has nothing to split.
        dtype: Compute type; parameters are float32.
    """

    features: int
    kernel_size: Triple
    strides: Triple = (1, 1, 1)
    groups: int = 1
    padding: Triple | None = None
    dilation: Triple = (1, 1, 1)
    use_bias: bool = False
    sts: STS | None = None
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Convolve `x` `[B, T, H, W, I]` into `[B, T', H', W', O]`.

        Raises:
            ValueError: The convolution does not fit its input; the message names the layer.
        """
        del train
        channels = x.shape[-1]
        if channels % self.groups or self.features % self.groups:
            raise ValueError(
                f"{layer_path(self)}: {channels} input and {self.features} output channels are "
                f"not both divisible by {self.groups} groups"
            )
        shape = (*self.kernel_size, channels // self.groups, self.features)
        kernel = self.param("kernel", kaiming_fan_out, shape, jnp.float32).astype(self.dtype)
        x = x.astype(self.dtype)
        try:
            if self.sts is None:
                y = ops.conv3d(
                    x,
                    kernel,
                    strides=self.strides,
                    padding=self.padding,
                    groups=self.groups,
                    dilation=self.dilation,
                )
            else:
                y = ops.sts_conv(
                    x,
                    kernel,
                    strides=self.strides,
                    groups=self.groups,
                    ratio=self.sts.ratio,
                    static=self.sts.static,
                )
        except ValueError as error:
            raise ValueError(f"{layer_path(self)}: {error}") from error
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            y = y + bias.astype(self.dtype).reshape(1, 1, 1, 1, -1)
        return y


class BatchNorm(nn.Module):
    """Batch normalisation over B, T, H, W, with statistics in float32 whatever the compute type.

    Parameters: `scale`, `bias` `[C]`; batch statistics: `mean`, `var` `[C]`; all float32.

    Under `jit` with a sharded batch the statistics are those of the whole batch. With
    `norm.group_size` the batch is cut into groups of that many clips, each normalised by itself
    as the released code does on each GPU; running statistics take the groups' mean. Groups that lie
    within devices are normalised without communication; only the means for the running statistics,
    2 C numbers that nothing waits for, travel.

    Note:
        As in PyTorch, the running variance is the unbiased one, and the batch's is not.

    References:
        Ioffe and Szegedy, Batch Normalization, ICML 2015, Algorithm 1.
    """

    norm: Norm = Norm()
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Normalise `x` `[B, ..., C]`; in training also update the running statistics.

        Raises:
            ValueError: The batch cannot be cut into groups of `norm.group_size` clips.
        """
        features = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (features,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (features,), jnp.float32)
        mean = self.variable("batch_stats", "mean", jnp.zeros, (features,), jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, (features,), jnp.float32)
        eps = self.norm.epsilon
        if not train or self.norm.frozen:
            y = ops.batch_norm(x, mean.value, var.value, scale, bias, eps=eps)
            return y.astype(self.dtype)

        size = min(self.norm.group_size or x.shape[0], x.shape[0])
        if x.shape[0] % size:
            raise ValueError(
                f"{layer_path(self)}: a batch of {x.shape[0]} clips cannot be cut into groups of "
                f"{size}; choose a group size that divides it"
            )
        if size == x.shape[0]:
            batch_mean, batch_var = ops.batch_moments(x)
            y = ops.batch_norm(x, batch_mean, batch_var, scale, bias, eps=eps)
        else:
            groups = x.reshape(-1, size, *x.shape[1:])
            means, variances = jax.vmap(ops.batch_moments)(groups)
            normalise = functools.partial(ops.batch_norm, scale=scale, bias=bias, eps=eps)
            y = jax.vmap(normalise)(groups, means, variances).reshape(x.shape)
            batch_mean, batch_var = means.mean(0), variances.mean(0)
        if not self.is_initializing():
            count = size * math.prod(x.shape[1:-1])
            keep = self.norm.momentum
            unbiased = batch_var * (count / max(count - 1, 1))
            mean.value = keep * mean.value + (1 - keep) * batch_mean
            var.value = keep * var.value + (1 - keep) * unbiased
        return y.astype(self.dtype)


def activate(x: jax.Array, activation: Activation) -> jax.Array:
    """Return `x` after the activation named."""
    match activation:
        case "relu":
            return ops.relu(x)
        case "relu6":
            return ops.relu6(x)
        case "swish":
            return ops.swish(x)
        case None:
            return x


def layer_path(module: nn.Module) -> str:
    """Return a bound module's place in its network, such as `stage3/block0/conv1/conv`."""
    return "/".join(module.path) or type(module).__name__


@dataclasses.dataclass(frozen=True)
class Convolution:
    """Builds a `Conv`: an image network's convolution, given a temporal extent.

    Attributes:
        temporal: Temporal kernel size KT; 1 is the image network's own convolution.
        channelwise: One filter a channel (CSN, X3D), whatever groups the site has.
        sts: Make it an STS convolution; see `Conv`.
    """

    temporal: int = 1
    channelwise: bool = False
    sts: STS | None = None

    owns_norm: ClassVar[bool] = False

    def build(self, site: ConvSite, name: str) -> Conv:
        """Return the convolution for a site."""
        return Conv(
            site.features,
            (self.temporal, *site.kernel),
            site.strides,
            groups=site.features if self.channelwise else site.groups,
            padding=site.padding,
            sts=self.sts,
            dtype=site.dtype,
            name=name,
        )


@dataclasses.dataclass(frozen=True)
class PointwiseFirst:
    """Builds a `PointwiseThen`: a 1x1x1 convolution before another one.

    Attributes:
        then: Builder of the second convolution.
    """

    then: Convolution

    owns_norm: ClassVar[bool] = False

    def build(self, site: ConvSite, name: str) -> PointwiseThen:
        """Return the pair of convolutions for a site."""
        return PointwiseThen(site, self.then, name=name)


class PointwiseThen(nn.Module):
    """A 1x1x1 convolution with norm, then another convolution: interaction-preserved CSN.

    Submodules: `pointwise` (a `ConvNorm` without activation), `then`.

    References:
        Tran et al., Video Classification with Channel-Separated Convolutional Networks, ICCV 2019,
        Figure 2 (b); norm without activation as in mmaction2's networks.
    """

    site: ConvSite
    then: Convolution

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[B, T, H, W, I]` to `[B, T', H', W', O]`."""
        point = dataclasses.replace(self.site, kernel=(1, 1), strides=(1, 1, 1))
        x = ConvNorm(point, activation=None, name="pointwise")(x, train)
        return self.then.build(self.site, "then")(x, train)


@dataclasses.dataclass(frozen=True)
class FactorizedConvolution:
    """Builds a `FactorizedConv`, the (2+1)D convolution.

    Attributes:
        temporal: Temporal kernel size; a 1x1 site (a shortcut) has no temporal extent, whatever
            this.
        sts: Make the temporal half an STS convolution.
    """

    temporal: int = 3
    sts: STS | None = None

    owns_norm: ClassVar[bool] = False

    def build(self, site: ConvSite, name: str) -> FactorizedConv:
        """Return the convolution for a site."""
        temporal = 1 if site.kernel == (1, 1) else self.temporal
        return FactorizedConv(site, temporal, self.sts, name=name)


class FactorizedConv(nn.Module):
    """The (2+1)D convolution: a spatial one, norm, ReLU, and a temporal one.

    The channels between them are chosen so that a 3 x K x K convolution has as many weights:
    M = floor(3 K^2 I O / (K^2 I + 3 O)).

    Submodules: `spatial`, `norm`, `temporal`.

    Note:
        As in the released networks, the constant 3 stays where the temporal kernel is 1 (shortcuts
        and image twins), so that a twin has the same channels; and the norm inside keeps epsilon
        1e-5 where the network's own differs.

    References:
        Tran et al., A Closer Look at Spatiotemporal Convolutions for Action Recognition, CVPR 2018,
        section 3.5.
    """

    site: ConvSite
    temporal: int = 3
    sts: STS | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[B, T, H, W, I]` to `[B, T', H', W', O]`."""
        site = self.site
        inputs = math.prod(site.kernel) * x.shape[-1]
        middle = 3 * inputs * site.features // (inputs + 3 * site.features)
        spatial = dataclasses.replace(
            site,
            features=middle,
            strides=(1, *site.strides[1:]),
            norm=dataclasses.replace(site.norm, epsilon=1e-5),
        )
        x = Convolution().build(spatial, "spatial")(x)
        x = BatchNorm(spatial.norm, site.dtype, name="norm")(x, train)
        x = ops.relu(x)
        temporal = dataclasses.replace(site, kernel=(1, 1), strides=(site.strides[0], 1, 1))
        return Convolution(self.temporal, sts=self.sts).build(temporal, "temporal")(x)


class ConvNorm(nn.Module):
    """A convolution, its batch norm and its activation: the unit that blocks are made of.

    Submodules: `conv`, and `norm` unless the convolution owns its norms (it then also owns what
    follows, and no activation is applied here).

    Attributes:
        site: Where the convolution stands.
        conv: Builder of the convolution.
        activation: What follows the norm.
    """

    site: ConvSite
    conv: ConvBuilder = Convolution()
    activation: Activation = "relu"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[B, T, H, W, C]` to `[B, T', H', W', features]`."""
        x = self.conv.build(self.site, "conv")(x, train)
        if self.conv.owns_norm:
            return x
        x = BatchNorm(self.site.norm, self.site.dtype, name="norm")(x, train)
        return activate(x, self.activation)


def place_unit(
    site: ConvSite,
    replacements: Sequence[Replacement],
    stage: int,
    block: int,
    position: str,
    activation: Activation = "relu",
) -> ConvNorm:
    """Return the unit named `position` of a block, plain or with the convolution put in there.

    Args:
        site: The place; its index is set here.
        replacements: Convolutions put into the network; the first that covers the place is taken.
        stage: Stage number, from 1.
        block: Index in the stage, from 0.
        position: Name of the unit in its block.
        activation: What follows the norm.
    """
    for replacement in replacements:
        index = replacement.index(stage, block, position)
        if index is not None and site.padding is None:
            site = dataclasses.replace(site, index=index)
            return ConvNorm(site, replacement.conv, activation, name=position)
    return ConvNorm(site, activation=activation, name=position)


def stage_classes(kind: type[nn.Module], num_stages: int, remat: Sequence[int]) -> list[Any]:
    """Return the class to make each stage of: `kind`, made to recompute where `remat` says so.

    Args:
        kind: Class of all stages, called as `stage(x, train)`.
        num_stages: Number of stages.
        remat: Stages, from 1, whose activations are computed again in the backward pass instead of
            kept.

    Raises:
        ValueError: A stage of `remat` does not exist.
    """
    _check_stages(remat, num_stages)
    recomputed = nn.remat(kind, static_argnums=(2,))
    return [recomputed if stage in remat else kind for stage in range(1, num_stages + 1)]


class DropPath(nn.Module):
    """Stochastic depth: drops a whole residual branch, clip by clip, in training.

    Applied to the branch before the shortcut is added; a branch kept is scaled by
    `1 / (1 - rate)`, so that its expectation stays.

    Note:
        The released STS code applies it to projection shortcuts only, which is not stochastic
        depth.

    References:
        Huang et al., Deep Networks with Stochastic Depth, ECCV 2016, equation 2.
    """

    rate: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Return `x` `[B, ...]` with some clips' values zeroed."""
        if not train or self.rate == 0.0:
            return x
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        keep = jax.random.bernoulli(self.make_rng("dropout"), 1.0 - self.rate, shape)
        return jnp.where(keep, x / (1.0 - self.rate), jnp.zeros_like(x))


class SqueezeExcite(nn.Module):
    """Squeeze and excitation: scales each channel by a gate computed from all channels' means.

    Submodules: `fc1` and `fc2`, 1x1x1 convolutions with biases.

    Attributes:
        squeezed: Channels between the two layers.
        dtype: Compute type.

    References:
        Hu et al., Squeeze-and-Excitation Networks, CVPR 2018, equations 2 to 4.
    """

    squeezed: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Return `x` `[B, T, H, W, C]` times its gates `[B, 1, 1, 1, C]`."""
        del train
        point = (1, 1, 1)
        gate = ops.adaptive_avg_pool(x)
        gate = Conv(self.squeezed, point, use_bias=True, dtype=self.dtype, name="fc1")(gate)
        gate = ops.relu(gate)
        gate = Conv(x.shape[-1], point, use_bias=True, dtype=self.dtype, name="fc2")(gate)
        return x * ops.sigmoid(gate)


class Classifier(nn.Module):
    """Dropout and a linear layer, in float32 whatever the network computes in.

    Parameters: `kernel` `[C, num_classes]`, drawn from N(0, 0.01^2), and `bias` `[num_classes]`.

    Attributes:
        num_classes: Number of classes.
        dropout: Share of the features dropped in training.
    """

    num_classes: int
    dropout: float = 0.5

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map features `[..., C]` to logits `[..., num_classes]`."""
        x = nn.Dropout(self.dropout, name="dropout")(x, deterministic=not train)
        shape = (x.shape[-1], self.num_classes)
        kernel = self.param("kernel", nn.initializers.normal(0.01), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.num_classes,), jnp.float32)
        logits = ops.dense(x.astype(jnp.float32), kernel)
        return logits + bias.reshape((1,) * (logits.ndim - 1) + (-1,))
