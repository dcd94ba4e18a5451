# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Data sets by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from vidpretrain.data.digits import Scene, moving_digits, stills
from vidpretrain.data.motion import show_motion
from vidpretrain.data.source import Source
from vidpretrain.suggest import closest


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A data set of the catalog.

    Attributes:
        make: Makes the source from split, seed and options.
        options: Names of the keyword arguments that it takes.
    """

    make: Callable[..., Source]
    options: tuple[str, ...]


_SCENE = tuple(field.name for field in dataclasses.fields(Scene))
_CATALOG = {
    "moving_digits": _Entry(moving_digits, ("clip_frames", "num_clips", *_SCENE)),
    "stills": _Entry(stills, ("num_clips", *_SCENE)),
}
_MOTION = (
    "modality",
    "flow_method",
    "flow_bound_px",
    "motion_stack",
    "motion_short_side_px",
)
"""Options of every data set: what is shown of its frames."""


def source_names() -> tuple[str, ...]:
    """Return the names that `make_source` knows."""
    return tuple(_CATALOG)


def make_source(name: str, *, split: str, seed: int = 0, **options: Any) -> Source:
    """Make a source by its name.

    Args:
        name: One of `source_names()`.
        split: Name of a part of the data set, such as "train".
        seed: Seed of whatever is random in the data themselves.
        **options: The data set's own options, and those of `motion.show_motion`.

    Raises:
        ValueError: An unknown name, split or option, or an option's value is impossible.
    """
    if name not in _CATALOG:
        raise ValueError(f"source.name={name!r}; {closest(name, _CATALOG)}")
    entry = _CATALOG[name]
    allowed = (*entry.options, *_MOTION)
    for option in options:
        if option not in allowed:
            raise ValueError(
                f"source.{option}: {name} has no such option; {closest(option, allowed)}"
            )
    motion = {option: options.pop(option) for option in _MOTION if option in options}
    return show_motion(entry.make(split, seed, **options), **motion)
