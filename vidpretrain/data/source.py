# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What every source of clips offers, whatever it reads from."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np


class Modality(enum.StrEnum):
    """What the numbers of a frame mean."""

    RGB = "rgb"
    """Colours: red, green, blue."""
    FLOW = "flow"
    """Movement to the right and downwards, in turn; 128 is none."""
    DIFFERENCE = "difference"
    """Change of colours; 128 is none."""


class Source(Protocol):
    """Labelled clips by random access, frame by frame.

    Frames are chosen before anything is decoded or rendered: `num_frames` is cheap, and
    `frames` makes only what it is asked for. Sources travel to worker processes, so they can be
    pickled, and they give the same bytes in every process.

    `num_frames` and `frames` raise `BadInput`, and nothing else, where an example's file is at
    fault.
    """

    @property
    def num_classes(self) -> int:
        """Return the number of classes."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the classes' names, by label."""

    @property
    def flip_labels(self) -> tuple[int, ...] | None:
        """Return the label of a clip's mirror image, by label of the clip.

        It is the identity where mirroring keeps every class, and None where a mirror image may
        be of no class at all, so that flips are refused.
        """

    def __len__(self) -> int:
        """Return the number of examples."""

    def num_frames(self, example: int) -> int:
        """Return how many frames an example has; 1 for an image."""

    def label(self, example: int) -> int:
        """Return an example's label, from 0."""

    def frames(self, example: int, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the frames asked for, in that order, as uint8 `[T, H, W, C]`."""


def modality_of(source: Source) -> Modality:
    """Return what a source's frames mean: its `modality`, or colours if it has none."""
    return getattr(source, "modality", Modality.RGB)


def name_of(source: Source, example: int) -> str:
    """Return what a source calls an example: its `example_name`, or its number if it has none."""
    name: Callable[[int], str] = getattr(source, "example_name", str)
    return name(example)
