# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Network specs: a name and options in one string, as command lines and cards write them.

    csn50:conv=sts,ratio=1:2        resnet:block=basic,depths=1+1+1,kernel=2plus1d

A spec is `NAME` or `NAME:option=value,option=value`. A value is `true` or `false`, an integer, a
decimal, or text; items joined by `+` (a list) or `:` (a ratio) make a tuple.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

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

    Raises:
      ValueError: A value cannot be written in a spec.
    """
    if not options:
        return name
    items = (f"{option}={_format_value(value)}" for option, value in sorted(options.items()))
    spec = f"{name}:{','.join(items)}"
    if parse_spec(spec) != (name, dict(options)):
        raise ValueError(f"these options of {name} cannot be written in a spec: {dict(options)}")
    return spec


def closest(word: str, allowed: Iterable[str]) -> str:
    """Return the hint of an error message: the closest match, if any, and all allowed words."""
    allowed = sorted(allowed)
    match = difflib.get_close_matches(word, allowed, n=1)
    guess = f"did you mean {match[0]!r}? " if match else ""
    return f"{guess}allowed: {', '.join(allowed)}"


def _parse_value(text: str) -> Option:
    for separator in "+:":
        if separator in text.strip(separator):
            return tuple(_parse_value(item) for item in text.split(separator))
    if text in ("true", "false"):
        return text == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _format_value(value: Option) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "+".join(map(_format_value, value))
    return repr(value) if isinstance(value, float) else str(value)
