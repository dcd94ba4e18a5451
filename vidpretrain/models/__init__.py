# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Networks by name: `make_model("csn50:conv=sts", num_classes=174)`.

Every network maps normalised clips `[B, T, H, W, C]` to float32 logits `[B, num_classes]`:

    logits = model.apply(variables, clips, train=False)
    logits, updates = model.apply(
        variables, clips, train=True, mutable=["batch_stats"], rngs={"dropout": key}
    )

`docs/networks.md` lists the names, their options and what they cost.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any

import flax.linen as nn

from vidpretrain.models import plugin, resnet, slowfast, x3d
from vidpretrain.models.settings import Settings
from vidpretrain.models.spec import fit_option, format_spec, parse_spec
from vidpretrain.suggest import closest

__all__ = [
    "Settings",
    "format_spec",
    "image_twin",
    "make_model",
    "model_names",
    "model_options",
    "parse_spec",
]

_NETWORKS: dict[str, Callable[..., nn.Module]] = {
    **resnet.NETWORKS,
    **slowfast.NETWORKS,
    **x3d.NETWORKS,
    **plugin.NETWORKS,
}


def make_model(
    name: str,
    *,
    num_classes: int = 400,
    dtype: str = "float32",
    dropout: float | None = None,
    **options: Any,
) -> Any:
    """Build a network.

    Args:
        name: A name of `model_names()`, or a spec `NAME:option=value,...` with options of
            `model_options(NAME)`.
        num_classes: Number of classes.
        dtype: Compute type, `float32` or `bfloat16`; parameters are float32.
        dropout: Rate before the classifier; None is the network's own.
        **options: More options, which must not contradict the spec's.

    Returns:
        The linen module.

    Raises:
        ValueError: The name or an option is unknown (the closest match is named), or a value does
            not fit.
    """
    name, spec_options = parse_spec(name)
    allowed = _option_types(name)
    given = {"num_classes": num_classes, "dtype": dtype, "dropout": dropout, **options}
    for option, value in spec_options.items():
        if option in options and options[option] != value:
            raise ValueError(
                f"{option} is {value!r} in the spec of {name} and {options[option]!r} beside it; "
                "give it once"
            )
        given[option] = value
    for option in given:
        if option not in allowed:
            raise ValueError(
                f"{name} takes no option {option!r}; {closest(option, sorted(allowed))}"
            )
    fitted = {option: fit_option(option, given[option], allowed[option]) for option in given}
    common = {field.name for field in dataclasses.fields(Settings)}
    settings = Settings(**{key: value for key, value in fitted.items() if key in common})
    own = {key: value for key, value in fitted.items() if key not in common}
    return _NETWORKS[name](settings, **own)


def model_names() -> tuple[str, ...]:
    """Return the names of all networks."""
    return tuple(sorted(_NETWORKS))


def model_options(name: str) -> dict[str, Any]:
    """Return the options that a network takes, with their defaults."""
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    own = inspect.signature(_NETWORKS[_known(name)]).parameters
    return defaults | {option: own[option].default for option in _own_options(name)}


def image_twin(spec: str) -> str:
    """Return the spec of a network's image twin, in which every temporal kernel has size 1.

    The twin of `csn50:conv=sts` is `csn50:conv=sts,image=true`: with temporal kernels of size 1,
    STS has nothing to split and computes the plain convolution.
    """
    name, options = parse_spec(spec)
    return format_spec(_known(name), {**options, "image": True})


def _known(name: str) -> str:
    if name not in _NETWORKS:
        raise ValueError(f"there is no network {name!r}; {closest(name, sorted(_NETWORKS))}")
    return name


def _own_options(name: str) -> list[str]:
    """Return the options of a network's family, less those that its name fixes."""
    builder = _NETWORKS[_known(name)]
    fixed = builder.keywords if isinstance(builder, functools.partial) else {}
    parameters = inspect.signature(builder).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in fixed]


def _option_types(name: str) -> dict[str, Any]:
    """Return each option's type, as annotated."""
    builder = _NETWORKS[_known(name)]
    function = builder.func if isinstance(builder, functools.partial) else builder
    own = typing.get_type_hints(function)
    return typing.get_type_hints(Settings) | {option: own[option] for option in _own_options(name)}
