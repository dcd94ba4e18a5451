# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
r"""How other codebases name the weights of our networks: data for `vidpretrain.convert.names`.

A `Rule` pairs the path of one of their modules with the path of ours. `{name}` stands for a number
that is the same on both sides; `{name:regex}` for a text of which the whole matches, such as
`{block:\d*[13579]}` for odd numbers. The first rule that fits a module counts.

A table is a codebase's prefix and classifier around the body of a family; the bodies are shared,
for codebases differ in little else.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One array of a module.

    Attributes:
        theirs: Its name in their state dict.
        ours: Collection and name in our variables; None for what we have no use for.
        layout: How its axes are ordered; a key of `names.LAYOUTS`.
    """

    theirs: str
    ours: tuple[str, str] | None
    layout: str = "same"


@dataclasses.dataclass(frozen=True)
class Rule:
    """One of their modules and ours.

    Attributes:
        theirs: Path of their module, joined with dots.
        ours: Path of our module, joined with slashes.
        leaves: The arrays it may have.
    """

    theirs: str
    ours: str
    leaves: tuple[Leaf, ...]


@dataclasses.dataclass(frozen=True)
class NamesTable:
    """All names of a family of networks in one codebase.

    Attributes:
        source: Whose names these are, for messages.
        rules: One for each kind of module.
    """

    source: str
    rules: tuple[Rule, ...]


_BIAS = Leaf("bias", ("params", "bias"))
CONV = (Leaf("weight", ("params", "kernel"), "conv"), _BIAS)
CONV_2D = (Leaf("weight", ("params", "kernel"), "conv_2d"), _BIAS)
LINEAR = (Leaf("weight", ("params", "kernel"), "linear"), _BIAS)
LINEAR_SLOW_FAST = (Leaf("weight", ("params", "kernel"), "linear_slow_fast"), _BIAS)
NORM = (
    Leaf("weight", ("params", "scale")),
    _BIAS,
    Leaf("running_mean", ("batch_stats", "mean")),
    Leaf("running_var", ("batch_stats", "var")),
    # PyTorch counts batches for a running mean of equal weights, which none of the networks use.
    Leaf("num_batches_tracked", None),
)

_BLOCK = "layer{stage}.{block}", "stage{stage}/block{block}"


def conv_norm(theirs: str, ours: str) -> tuple[Rule, Rule]:
    """Return the rules of an mmcv `ConvModule`: a `conv` and a `bn`."""
    return Rule(f"{theirs}.conv", f"{ours}/conv", CONV), Rule(f"{theirs}.bn", f"{ours}/norm", NORM)


def in_block(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Return rules for the modules of a residual block, in every block."""
    return nested(rules, *_BLOCK)


def nested(rules: tuple[Rule, ...], theirs: str, ours: str) -> tuple[Rule, ...]:
    """Return rules for modules inside others."""
    return tuple(
        Rule(f"{theirs}.{rule.theirs}", f"{ours}/{rule.ours}", rule.leaves) for rule in rules
    )


# --- the networks without classifier, as mmaction2 and the released STS code name them ----------

_SHORTCUT = in_block(conv_norm("downsample", "shortcut"))
_STEM = conv_norm("conv1", "stem")
_RESNET3D = (*_STEM, *in_block(conv_norm("conv{n}", "conv{n}")), *_SHORTCUT)
_CSN = (*_STEM, *in_block(conv_norm("conv{n:[13]}", "conv{n}")), *_SHORTCUT)
_CSN_IR = (*_CSN, *in_block(conv_norm("conv2.0", "conv2")))
_CSN_IP = (
    *_CSN,
    *in_block(conv_norm("conv2.0", "conv2/conv/pointwise")),
    *in_block(
        (Rule("conv2.1.conv", "conv2/conv/then", CONV), Rule("conv2.1.bn", "conv2/norm", NORM))
    ),
)


def _factorized(theirs: str, ours: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{theirs}.conv.conv_s", f"{ours}/conv/spatial", CONV),
        Rule(f"{theirs}.conv.bn_s", f"{ours}/conv/norm", NORM),
        Rule(f"{theirs}.conv.conv_t", f"{ours}/conv/temporal", CONV),
        Rule(f"{theirs}.bn", f"{ours}/norm", NORM),
    )


_R2PLUS1D = (
    *_factorized("conv1", "stem"),
    *in_block(_factorized("conv{n}", "conv{n}")),
    *in_block(_factorized("downsample", "shortcut")),
)
_SLOWFAST = (
    Rule("slow_path.conv1_lateral.conv", "lateral_stem/conv", CONV),
    Rule("slow_path.layer{stage}_lateral.conv", "lateral_stage{stage}/conv", CONV),
    *nested(_RESNET3D, "slow_path", "slow"),
    *nested(_RESNET3D, "fast_path", "fast"),
)
_X3D = (
    Rule("conv1_s.conv", "stem/spatial", CONV),
    Rule("conv1_t.conv", "stem/temporal", CONV),
    Rule("conv1_t.bn", "stem/norm", NORM),
    *in_block((Rule("se_module.fc{n}", "se/fc{n}", CONV),)),
    *conv_norm("conv5", "conv5"),
    *in_block(conv_norm("conv{n}", "conv{n}")),
    *_SHORTCUT,
)

# --- image networks, as torchvision and timm name them ------------------------------------------

RESNET_2D = (
    Rule("conv1", "stem/conv", CONV_2D),
    Rule("bn1", "stem/norm", NORM),
    *in_block((Rule("conv{n}", "conv{n}/conv", CONV_2D),)),
    *in_block((Rule("bn{n}", "conv{n}/norm", NORM),)),
    *in_block((Rule("downsample.0", "shortcut/conv", CONV_2D),)),
    *in_block((Rule("downsample.1", "shortcut/norm", NORM),)),
)


# --- CT-Net: a torchvision ResNet whose odd-indexed blocks are built of sequences instead --------


def _sequence(theirs: str, ours: str) -> tuple[Rule, ...]:
    """Return the rules of a convolution and its norm in a `Sequential`."""
    return Rule(f"{theirs}.0", f"{ours}/conv", CONV), Rule(f"{theirs}.1", f"{ours}/norm", NORM)


def _excitation(theirs: str, ours: str) -> tuple[Rule, ...]:
    return (
        *_sequence(f"{theirs}.fc1", f"{ours}/reduce"),
        Rule(f"{theirs}.fc2.0", f"{ours}/expand", CONV),
    )


def _ct_step(number: int, axis: str) -> tuple[Rule, ...]:
    """Return the rules of one sub-dimension, which they call x or y."""
    return nested(
        (
            *_sequence(f"conv{number}_{axis}", "spatial"),
            *_sequence(f"conv{number}_z", "temporal"),
            *_excitation(f"s{axis}_attention", "spatial_excitation"),
            *_excitation(f"t{axis}_attention", "temporal_excitation"),
            *_excitation(f"c{axis}_attention", "channel_excitation"),
        ),
        "conv2",
        f"conv2/conv/step{number}",
    )


_CT_BLOCK = (
    Rule("conv{n:[13]}.0", "conv{n}/conv", CONV_2D),
    Rule("conv{n:[13]}.1", "conv{n}/norm", NORM),
    *_ct_step(1, "x"),
    *_ct_step(2, "y"),
    *_sequence("conv2.fusion", "conv2/conv/pointwise1"),
)
_CT_RESNET = (
    *nested(_CT_BLOCK, r"layer{stage}.{block:\d*[13579]}", "stage{stage}/block{block}"),
    *RESNET_2D,
)


def prefixed(prefix: str, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Return rules whose modules are found behind a prefix in their state dict."""
    return tuple(Rule(prefix + rule.theirs, rule.ours, rule.leaves) for rule in rules)


def _mmaction2(body: tuple[Rule, ...]) -> NamesTable:
    head = Rule("cls_head.fc_cls", "head", LINEAR)
    return NamesTable(
        "mmaction2 and the released STS video code", (*prefixed("backbone.", body), head)
    )


def _sts_image(body: tuple[Rule, ...], *head: Rule) -> NamesTable:
    head = head or (Rule("classifier", "head", LINEAR),)
    return NamesTable("the released STS image code", (*prefixed("get_feature.", body), *head))


TABLES: dict[str, NamesTable] = {
    "mmaction2/slowonly": _mmaction2(_RESNET3D),
    "mmaction2/csn_ir": _mmaction2(_CSN_IR),
    "mmaction2/csn_ip": _mmaction2(_CSN_IP),
    "mmaction2/r2plus1d": _mmaction2(_R2PLUS1D),
    "mmaction2/slowfast": _mmaction2(_SLOWFAST),
    "mmaction2/x3d": NamesTable(
        "mmaction2 and the released STS video code",
        (
            *prefixed("backbone.", _X3D),
            Rule("cls_head.fc1", "projection", LINEAR),
            Rule("cls_head.fc2", "head", LINEAR),
        ),
    ),
    "sts_image/slowonly": _sts_image(_RESNET3D),
    "sts_image/csn_ir": _sts_image(_CSN_IR),
    "sts_image/r2plus1d": _sts_image(_R2PLUS1D),
    "sts_image/slowfast": _sts_image(_SLOWFAST, Rule("classifier", "head", LINEAR_SLOW_FAST)),
    "sts_image/x3d": _sts_image(
        _X3D, Rule("fc1", "projection", LINEAR), Rule("classifier", "head", LINEAR)
    ),
    "torchvision/resnet": NamesTable(
        "torchvision and timm", (*RESNET_2D, Rule("fc", "head", LINEAR))
    ),
    "ctnet/resnet": NamesTable(
        "the released CT-Net code",
        (*prefixed("base_model.", RESNET_2D), Rule("new_fc", "head", LINEAR)),
    ),
    "ctnet/ct": NamesTable(
        "the released CT-Net code",
        (*prefixed("base_model.", _CT_RESNET), Rule("new_fc", "head", LINEAR)),
    ),
}
