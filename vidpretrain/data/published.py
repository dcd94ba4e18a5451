# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Sizes of published data sets, and a source that stands in for one whose files are elsewhere.

A recipe can so be planned, counted and costed on a machine that has none of its data. Nothing is
ever trained or tested on a stand-in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from vidpretrain.data.source import Source

_FRAME_PX = (256, 340)


@dataclasses.dataclass(frozen=True)
class Size:
    """How large a data set is.

    Attributes:
        num_classes: Classes.
        num_train: Training examples.
        num_test: Examples of the part that results are reported on.
        num_frames: Frames of a typical example; 1 for images.
    """

    num_classes: int
    num_train: int
    num_test: int
    num_frames: int


PUBLISHED: Mapping[str, Size] = {
    "imagenet": Size(1000, 1_281_167, 50_000, 1),
    # What mmaction2's lists hold; the STS paper counts 0.24M. 10 seconds at 30 frames.
    "kinetics400": Size(400, 240_436, 19_796, 300),
    "minikinetics200": Size(200, 80_000, 5_000, 300),
    "something_v1": Size(174, 86_017, 11_522, 48),
    "something_v2": Size(174, 168_913, 24_777, 48),
    "jester": Size(27, 118_562, 14_787, 36),
    # Of split 1.
    "ucf101": Size(101, 9_537, 3_783, 186),
    "hmdb51": Size(51, 3_570, 1_530, 94),
}
"""By the name that a recipe gives as `source.published`."""


@dataclasses.dataclass(frozen=True)
class StandIn:
    """Grey frames, as many as a published data set has.

    Attributes:
        name: Of the data set, in `PUBLISHED`.
        split: "train", or another.
        missing: What is wrong with the files that it stands in for.
    """

    name: str
    split: str
    missing: str

    @property
    def num_classes(self) -> int:
        """Return the number of classes."""
        return PUBLISHED[self.name].num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return made-up names, by label."""
        return tuple(f"{self.name} {label}" for label in range(self.num_classes))

    @property
    def flip_labels(self) -> tuple[int, ...] | None:
        """Return labels that mirroring keeps."""
        return tuple(range(self.num_classes))

    def __len__(self) -> int:
        size = PUBLISHED[self.name]
        return size.num_train if self.split == "train" else size.num_test

    def num_frames(self, example: int) -> int:
        """Return how many frames a typical example has."""
        return PUBLISHED[self.name].num_frames

    def label(self, example: int) -> int:
        """Return a label, one after the other."""
        return example % self.num_classes

    def frames(self, example: int, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return grey frames, uint8 `[T, H, W, 3]`."""
        return np.full((len(indices), *_FRAME_PX, 3), 128, np.uint8)


def find_stand_in(source: Source) -> StandIn | None:
    """Return the stand-in that a source is, or is made of; None if there is none."""
    while not isinstance(source, StandIn):
        if not hasattr(source, "source"):
            return None
        source = source.source
    return source
