# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Network specs: a name and options in one string, as command lines and cards write them.

    csn50:conv=sts,ratio=1:2        resnet:block=basic,depths=1+1+1,kernel=2plus1d

A spec is `NAME` or `NAME:option=value,option=value`. A value is `true` or `false`, an integer, a
decimal, or text; items joined by `+` (a list) or `:` (a ratio) make a tuple.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

from vidpretrain.suggest import closest

Option = bool | int | float | str | tuple["Option", ...]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def parse_spec(spec: str) -> tuple[str, dict[str, Option]]:
    """Split a spec into its name and its options.

    Args:
        spec: Such as `csn50:conv=sts,ratio=1:2`.

    Returns:
        `("csn50", {"conv": "sts", "ratio": (1, 2)})`.

    Raises:
        ValueError: The text is no spec, or gives an option twice.
    """
    name, colon, text = spec.partition(":")
    if not _NAME.fullmatch(name) or (colon and not text):
        raise ValueError(f"{spec!r} is not a network spec; write NAME or NAME:option=value,...")
    options: dict[str, Option] = {}
    for item in text.split(",") if text else ():
        option, equals, value = item.partition("=")
        if not (_NAME.fullmatch(option) and equals and value):
            raise ValueError(
                f"{item!r} in the network spec {spec!r} is not an option; write option=value"
            )
        if option in options:
            raise ValueError(f"the network spec {spec!r} gives {option} twice; give it once")
        options[option] = _parse_value(value)
    return name, options


def format_spec(name: str, options: Mapping[str, Option]) -> str:
    """Write a name and options as a spec that `parse_spec` reads back, options sorted by name.

    A tuple of one item is written as the item, which `fit_option` makes a tuple again.
    """
    items = [f"{option}={_format_value(value)}" for option, value in sorted(options.items())]
    return f"{name}:{','.join(items)}" if items else name


def fit_option(option: str, value: Any, kind: Any) -> Any:
    """Return an option's value as the type that its annotation says.

    Integers pass as floats, lists and single items as tuples.

    Args:
        option: Name of the option, for the error.
        value: As parsed from a spec or given by a config.
        kind: A type: bool, int, float, str, Literal, tuple, or a union of these and None.

    Raises:
        ValueError: The value does not fit; a wrong word gets the closest one allowed.
    """
    choices = _choices(kind)
    for choice in choices:
        fitted = _fit(value, choice)
        if fitted is not _NO_FIT:
            return fitted
    words = [word for choice in choices for word in get_args(choice) if isinstance(word, str)]
    if isinstance(value, str) and words:
        raise ValueError(f"{option}={value!r} is not known; {closest(value, words)}")
    allowed = " or ".join(_describe(choice) for choice in choices if choice is not type(None))
    raise ValueError(f"{option}={_format_value(value)} does not fit: give {allowed}")


def _parse_value(text: str) -> Option:
    for separator in "+:":
        if separator in text:
            return tuple(_parse_value(item) for item in text.split(separator))
    if text in ("true", "false"):
        return text == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _format_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return "+".join(map(_format_value, value))
    return str(value)


_NO_FIT = object()


def _choices(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _fit(value: Any, kind: Any) -> Any:
    """Return `value` as `kind`, which is no union, or `_NO_FIT`."""
    if get_origin(kind) is Literal:
        return value if value in get_args(kind) else _NO_FIT
    if get_origin(kind) is tuple:
        items = tuple(value) if isinstance(value, (tuple, list)) else (value,)
        kinds = get_args(kind)
        kinds = (kinds[0],) * len(items) if kinds[-1] is Ellipsis else kinds
        if len(items) != len(kinds):
            return _NO_FIT
        fitted = tuple(_fit(item, item_kind) for item, item_kind in zip(items, kinds, strict=True))
        return _NO_FIT if _NO_FIT in fitted else fitted
    if kind is float and type(value) is int:
        return float(value)
    return value if type(value) is kind else _NO_FIT


def _describe(kind: Any) -> str:
    """Return what to write for a value of `kind`."""
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        *kinds, last = get_args(kind)
        if last is Ellipsis:
            return f"items joined by + ({_describe(kinds[0])} each)"
        return " + ".join(map(_describe, (*kinds, last)))
    return {bool: "true or false", int: "an integer", float: "a number"}.get(kind, "text")
