# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The frames of a video data set as a set of images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from vidpretrain.data.bad_input import BadInput
from vidpretrain.data.source import Source, name_of


@dataclasses.dataclass(frozen=True, eq=False)
class EveryFrame:
    """Each n-th frame of every video as an example of its own, with the video's label; a source.

    A video that cannot be used stays as one example, so that it is reported when it is read.

    Attributes:
        source: The videos.
        every: Distance of the frames that become examples.
        ends: int64 `[N]`, for each video the number of the first example behind it.

    References:
        Li et al., In Defense of Image Pre-Training for Spatiotemporal Recognition, ECCV 2022,
        Table 8: pre-training on the frames of Kinetics-400.
    """

    source: Source
    every: int
    ends: np.ndarray = dataclasses.field(repr=False)

    @property
    def num_classes(self) -> int:
        """Return the number of classes."""
        return self.source.num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the classes' names, by label."""
        return self.source.class_names

    @property
    def flip_labels(self) -> tuple[int, ...] | None:
        """Return the label of mirror images, that of the videos."""
        return self.source.flip_labels

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def num_frames(self, example: int) -> int:
        """Return 1: an image."""
        return 1

    def label(self, example: int) -> int:
        """Return the label of the video that the frame is from."""
        return self.source.label(self._video(example)[0])

    def example_name(self, example: int) -> str:
        """Return the video's name and the frame's number in it, from 0."""
        video, frame = self._video(example)
        return f"{name_of(self.source, video)}:{frame}"

    def frames(self, example: int, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the one frame, as often as asked for, uint8 `[T, H, W, C]`."""
        if any(at != 0 for at in indices):
            raise IndexError(f"Frames {list(indices)} asked of an image.")
        video, frame = self._video(example)
        return np.repeat(self.source.frames(video, [frame]), len(indices), axis=0)

    def _video(self, example: int) -> tuple[int, int]:
        """Return an example's video and its frame there."""
        video = int(np.searchsorted(self.ends, example, side="right"))
        start = int(self.ends[video - 1]) if video else 0
        return video, (example - start) * self.every


def every_frame(source: Source, every: int) -> EveryFrame:
    """Make an image source of a video source.

    Args:
        source: The videos. Their lengths are asked for, so their list should have an index.
        every: 1 for all frames, n for each n-th from the first.

    Raises:
        ValueError: `every` is not positive.
    """
    if every < 1:
        raise ValueError(f"every is {every}; it must be at least 1.")
    counts = [-(-_num_frames(source, example) // every) for example in range(len(source))]
    return EveryFrame(source, every, np.cumsum(counts, dtype=np.int64))


def _num_frames(source: Source, example: int) -> int:
    try:
        return source.num_frames(example)
    except BadInput:
        return 1
