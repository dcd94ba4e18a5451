# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which leaves of a network its image twin has not, and what they are made of.

A network whose convolutions are those of its twin, but for their temporal extent, needs no rules.
Networks that plug another convolution into an image network do:

| plugged in | made of the image network's 3x3 | new |
|---|---|---|
| STH | the spatial kernels: the 3x3 without the groups that are temporal | temporal, attention |
| (2+1)D | the spatial half: all of the 3x3 | the temporal half, the norm between |
| CT | nothing: the 3x3 and its norm go unused | all of it |
| channel-separated | nothing: the 3x3 goes unused | all of it |

Everything around them, such as 1x1 convolutions and their norms, is copied.

References:
    Li et al., STH, 2020, section 4.1: spatial kernels from ImageNet, temporal ones at random.
    Li et al., CT-Net, ICLR 2021, section 4: ImageNet's weights but for the CT modules.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from vidpretrain.convert.inflate import LeafRule
from vidpretrain.models import parse_spec

# Leaves of the plugged-in convolutions, which are all called `conv`.
_PLUGGED = r"(?:params|batch_stats)/.*/conv"


def leaf_rules(network: str) -> tuple[LeafRule, ...]:
    """Return the rules by which a network is filled from its image twin.

    They are for leaves that the source lacks: from a network like it, everything is copied.

    Args:
        network: `NAME[:option=value,...]`.

    Returns:
        Exceptions for `inflate`; empty where there are none, as for image twins.
    """
    name, options = parse_spec(network)
    if options.get("image"):
        return ()
    if name.startswith("sth"):
        if options.get("conv", "sth") != "sth":
            return _SEPARABLE
        return _STH[str(options.get("mode", "hybrid"))]
    if name.startswith("ct"):
        return _CT[str(options.get("conv", "ct"))]
    return ()


def spatial_part(kernel: np.ndarray, shape: tuple[int, ...], *, mode: str) -> np.ndarray:
    """Leave out of an image network's kernel what STH treats temporally.

    Args:
        kernel: `[1, KH, KW, I, O]`, or `[1, KH, KW, 1, C]` if channel-wise.
        shape: Of the spatial kernel wanted: `[1, KH, KW, I - I / g, O]`, or
            `[1, KH, KW, 1, C - C / g]`.
        mode: `hybrid`, where output group i lacks input group i, or `merge`, where all lack group
            0.

    Returns:
        The spatial kernel.
    """
    *_, inputs, outputs = kernel.shape
    if inputs == shape[-2]:
        return kernel[..., outputs - shape[-1] :]
    width = inputs - shape[-2]
    if mode == "merge":
        return kernel[..., width:, :]
    groups = np.split(kernel, inputs // width, axis=-1)
    kept = [
        np.delete(group, np.s_[index * width : (index + 1) * width], axis=-2)
        for index, group in enumerate(groups)
    ]
    return np.concatenate(kept, axis=-1)


def _sth(mode: str) -> tuple[LeafRule, ...]:
    return (
        LeafRule(
            r"(params/.*/conv)/spatial/kernel",
            source=r"\1/kernel",
            derive=partial(spatial_part, mode=mode),
            action="spatial part",
        ),
        LeafRule(rf"{_PLUGGED}/(?:temporal|attention)/\w+"),
    )


_STH = {mode: _sth(mode) for mode in ("hybrid", "merge")}
_SEPARABLE = (
    LeafRule(r"(params/.*/conv)/spatial/kernel", source=r"\1/kernel"),
    LeafRule(rf"{_PLUGGED}/(?:temporal|norm)/\w+"),
)
_CT = {
    "ct": (
        LeafRule(rf"{_PLUGGED}/(?:step|pointwise)\d+/.*"),
        LeafRule(unused=r"params/stage.*/conv/kernel|(?:params|batch_stats)/stage.*/norm/\w+"),
    ),
    "c3d": (),
    "r2plus1d": _SEPARABLE,
    "csn": (
        LeafRule(rf"{_PLUGGED}/(?:pointwise|then)/.*"),
        LeafRule(unused=r"params/stage.*/conv/kernel"),
    ),
}
