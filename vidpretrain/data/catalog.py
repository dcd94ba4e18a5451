# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Data sets by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from vidpretrain.data.clips import ListedClips, frame_folders, video_files
from vidpretrain.data.digits import Scene, moving_digits, stills
from vidpretrain.data.every_frame import every_frame
from vidpretrain.data.images import image_files
from vidpretrain.data.motion import show_motion
from vidpretrain.data.packed import packed_videos
from vidpretrain.data.prepared import prepared_images
from vidpretrain.data.published import PUBLISHED, StandIn
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


_LISTED = (
    "train",
    "validation",
    "test",
    "root",
    "list_format",
    "template",
    "classes",
    "only_classes",
    "num_classes",
    "index",
    "short_side_px",
)


def _with_train_clips(make: Callable[..., Source]) -> Callable[..., Source]:
    """Let the training split alone have a number of clips, so that tests stay quick."""

    def make_split(
        split: str, seed: int, *, num_train_clips: int | None = None, **options: Any
    ) -> Source:
        if split == "train" and num_train_clips is not None:
            options["num_clips"] = num_train_clips
        return make(split, seed, **options)

    return make_split


_DIGITS = ("num_clips", "num_train_clips")
_SCENE = tuple(field.name for field in dataclasses.fields(Scene))
_CATALOG = {
    "moving_digits": _Entry(
        _with_train_clips(moving_digits), ("clip_frames", "tell_digits", *_DIGITS, *_SCENE)
    ),
    "stills": _Entry(_with_train_clips(stills), (*_DIGITS, *_SCENE)),
    "videos": _Entry(video_files, _LISTED),
    "frames": _Entry(frame_folders, ("frame_template", *_LISTED)),
    "images": _Entry(image_files, _LISTED),
    "tfds_images": _Entry(
        prepared_images, ("folder", "train", "test", "image", "label", "short_side_px")
    ),
    "packed": _Entry(packed_videos, ("folder", "train", "test", "short_side_px")),
}
_MOTION = (
    "modality",
    "flow_method",
    "flow_bound_px",
    "motion_short_side_px",
    "stack",
)
"""Options of every data set: what is shown of its frames."""


_STILLS_EVERY = "stills_every"
"""Option of every data set: 0 for clips, n for each n-th frame as an image."""


_PUBLISHED = "published"
"""Option of every data set: what it is, of `published.PUBLISHED`."""


def source_names() -> tuple[str, ...]:
    """Return the names that `make_source` knows."""
    return tuple(_CATALOG)


def make_source(
    name: str, *, split: str, seed: int = 0, stand_in: bool = False, **options: Any
) -> Source:
    """Make a source by its name.

    Args:
        name: One of `source_names()`.
        split: Name of a part of the data set, such as "train".
        seed: Seed of whatever is random in the data themselves.
        stand_in: Whether a `published.StandIn` may take the place of a data set that cannot be
            opened.
        **options: The data set's own options, those of `motion.show_motion`, and `stills_every`:
            0 for clips, n to make an image example of each n-th frame; and `published`: which
            published data set it is, for stand-ins.

    Raises:
        ValueError: An unknown name, split or option, or an option's value is impossible.
    """
    if name not in _CATALOG:
        raise ValueError(f"source.name={name!r}; {closest(name, _CATALOG)}")
    entry = _CATALOG[name]
    allowed = (*entry.options, _STILLS_EVERY, _PUBLISHED, *_MOTION)
    for option in options:
        if option not in allowed:
            raise ValueError(
                f"source.{option}: {name} has no such option; {closest(option, allowed)}"
            )
    every = options.pop(_STILLS_EVERY, 0)
    motion = {option: options.pop(option) for option in _MOTION if option in options}
    published = options.pop(_PUBLISHED, "")
    if published and published not in PUBLISHED:
        raise ValueError(f"source.{_PUBLISHED}={published!r}; {closest(published, PUBLISHED)}")
    try:
        source = entry.make(split, seed, **options)
    except (ValueError, OSError) as error:
        if not (stand_in and published):
            raise
        source = StandIn(published, split, missing=str(error))
    if every:
        if isinstance(source, ListedClips) and source.index is None:
            raise ValueError(
                f"source.{_STILLS_EVERY} needs to know how many frames every video has; run "
                "`python -m vidpretrain.data index` on the list first"
            )
        source = every_frame(source, every)
    return show_motion(source, **motion)
