# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a network is shown of a video: one random view in training, fixed ones in tests."""

from __future__ import annotations

import dataclasses

from vidpretrain.data.sampling import DenseWindow, Sampling, Segments, ShortVideo
from vidpretrain.data.source import Source
from vidpretrain.data.transforms import (
    Augmentation,
    Flip,
    RandomCrop,
    ResizedCrop,
    ShiftedCrop,
    SpreadCrops,
)
from vidpretrain.suggest import closest


@dataclasses.dataclass(frozen=True)
class Views:
    """Which frames are taken and what is cut out of them.

    Attributes:
        sampling: Chooses the frames, in training and in tests.
        augmentation: Cuts and flips training clips.
        test_crops: Cuts test clips.
    """

    sampling: Sampling
    augmentation: Augmentation
    test_crops: SpreadCrops

    @property
    def frames(self) -> int:
        """Return the number of frames of a clip."""
        return self.sampling.frames

    @property
    def per_example(self) -> int:
        """Return how many views tests average for one example."""
        return self.sampling.num_clips * self.test_crops.num_crops


def make_views(
    source: Source,
    *,
    sampling: str = "dense",
    frames: int = 8,
    stride: int = 1,
    short: str = "loop",
    crop: str = "resized",
    size_px: int = 224,
    short_side_px: int = 0,
    pad_px: int = 0,
    flip: bool = False,
    test_size_px: int = 0,
    test_short_side_px: int = 256,
    test_clips: int = 1,
    test_crops: int = 1,
) -> Views:
    """Make the views of a data set from a configuration's numbers.

    Args:
        source: The training set; says what a mirror does to labels.
        sampling: "dense" (a window) or "segments" (one frame of each).
        frames: Frames of a clip.
        stride: Distance between two frames; dense only.
        short: What a window does beyond the end of a short video: "loop", "hold" or "refuse".
        crop: "resized" (random area and shape) or "shifted" (random place).
        size_px: Side of training clips.
        short_side_px: Frames are first resized so, for "shifted" crops; 0 keeps them.
        pad_px: Black border added before "shifted" crops.
        flip: Mirror half of the training clips.
        test_size_px: Side of test clips; 0 for that of training clips.
        test_short_side_px: Frames are first resized so in tests; 0 keeps them.
        test_clips: Clips per video in tests.
        test_crops: Crops per clip in tests.

    Raises:
        ValueError: A word that is not allowed, numbers that do not fit each other or the shortest
            video of the source, or a flip of a data set whose mirror images have no class.
    """
    windows: dict[str, Sampling] = {
        "dense": DenseWindow(frames, stride, test_clips, _short_video(short)),
        "segments": Segments(frames, test_clips),
    }
    if sampling not in windows:
        raise ValueError(f"views.sampling={sampling!r}; {closest(sampling, windows)}")
    # The shortest video is where a window that refuses short videos refuses.
    windows[sampling].centred(min(map(source.num_frames, range(len(source)))))
    if crop not in ("resized", "shifted"):
        raise ValueError(f"views.crop={crop!r}; {closest(crop, ('resized', 'shifted'))}")
    cut: RandomCrop
    if crop == "resized":
        cut = ResizedCrop(size_px)
    else:
        cut = ShiftedCrop(size_px, short_side_px or None, pad_px)
    labels = source.flip_labels
    if flip and labels is None:
        raise ValueError(
            "views.flip is true, but a mirror image has no class in this data set; set it to false"
        )
    return Views(
        sampling=windows[sampling],
        augmentation=Augmentation(cut, Flip(labels) if flip and labels is not None else None),
        test_crops=SpreadCrops(test_size_px or size_px, test_short_side_px or None, test_crops),
    )


def _short_video(word: str) -> ShortVideo:
    allowed = [choice.value for choice in ShortVideo]
    if word not in allowed:
        raise ValueError(f"views.short={word!r}; {closest(word, allowed)}")
    return ShortVideo(word)
