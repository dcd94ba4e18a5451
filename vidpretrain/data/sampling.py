# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which frames of a video make a clip: integer arithmetic, without touching a frame.

A sampling offers `draw`, the frames of one random clip for training, and `centred`, the frames
of `num_clips` fixed clips spread evenly over the video for tests. Both are told only how many
frames the video has, so frames are chosen before any is decoded.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Protocol

import numpy as np


class ShortVideo(enum.StrEnum):
    """What a dense window does beyond the end of a video that is shorter than it."""

    LOOP = "loop"
    """Start again at the first frame."""
    HOLD = "hold"
    """Repeat the last frame."""
    REFUSE = "refuse"
    """Raise an error."""


class Sampling(Protocol):
    """Chooses frames."""

    @property
    def frames(self) -> int:
        """Return the number of frames of a clip, the network's window."""

    @property
    def num_clips(self) -> int:
        """Return the number of clips of a video in tests."""

    def draw(self, video_frames: int, rng: np.random.Generator) -> np.ndarray:
        """Return the frames of a random clip, int64 `[frames]`, in temporal order."""

    def centred(self, video_frames: int) -> np.ndarray:
        """Return the frames of the test clips, int64 `[num_clips, frames]`."""


@dataclasses.dataclass(frozen=True)
class DenseWindow:
    """Every `stride`-th frame of a window that slides over the video.

    The window spans `(frames - 1) * stride + 1` frames of the video, and every place where it
    fits is equally likely in training. In tests the places are divided into `num_clips` equal
    parts, and the middle place of each is taken.

    Attributes:
        frames: Number of frames of a clip.
        stride: Distance between two of them, in frames of the video.
        num_clips: Number of clips of a video in tests.
        short: What happens where the video is shorter than the window.

    References:
        Feichtenhofer et al., SlowFast Networks, ICCV 2019, section 4: 10 clips in tests.
        Li et al., In Defense of Image Pre-Training for Spatiotemporal Recognition, ECCV 2022:
        frames x stride of 8x8, 32x2 and 13x6 on Kinetics.

    Note:
        MMAction2 counts `frames * stride` frames as the window, so that its last `stride - 1`
        places are never used; here they are. With stride 1 there is no difference.
    """

    frames: int
    stride: int = 1
    num_clips: int = 1
    short: ShortVideo = ShortVideo.LOOP

    def __post_init__(self) -> None:
        _check_at_least_one(frames=self.frames, stride=self.stride, num_clips=self.num_clips)

    @property
    def span(self) -> int:
        """Return the number of frames from the first to the last of a clip, both counted."""
        return (self.frames - 1) * self.stride + 1

    def draw(self, video_frames: int, rng: np.random.Generator) -> np.ndarray:
        """Return the frames of a random window, int64 `[frames]`."""
        return self._window(rng.integers(self._num_starts(video_frames)), video_frames)

    def centred(self, video_frames: int) -> np.ndarray:
        """Return the frames of the test windows, int64 `[num_clips, frames]`."""
        num_starts = self._num_starts(video_frames)
        parts = np.arange(self.num_clips)
        starts = (2 * parts + 1) * num_starts // (2 * self.num_clips)
        return self._window(starts[:, None], video_frames)

    def _num_starts(self, video_frames: int) -> int:
        _check_at_least_one(video_frames=video_frames)
        if self.short is ShortVideo.REFUSE and video_frames < self.span:
            raise ValueError(
                f"{self.frames} frames with stride {self.stride} span {self.span} frames, but a "
                f"video has {video_frames}. Take fewer frames or a smaller stride, or let short "
                f"videos {ShortVideo.LOOP} or {ShortVideo.HOLD}."
            )
        return max(1, video_frames - self.span + 1)

    def _window(self, start: np.ndarray | np.integer, video_frames: int) -> np.ndarray:
        indices = start + np.arange(self.frames) * self.stride
        if self.short is ShortVideo.LOOP:
            return indices % video_frames
        return np.minimum(indices, video_frames - 1)


@dataclasses.dataclass(frozen=True)
class Segments:
    """One frame of each of `frames` equal segments of the video.

    With `L` frames in the video and `T` segments, segment `i` is the real interval from
    `i L / T` to `(i + 1) L / T`, and a point in it stands for the frame that it falls into. In
    training the point is uniform; in tests, clip `v` of `V` takes the point `(2 v + 1) / 2 V` of
    the way, which for one clip is the middle. A video of fewer frames than segments repeats
    frames, in order.

    Attributes:
        frames: Number of segments, and of frames of a clip.
        num_clips: Number of clips of a video in tests.

    References:
        Wang et al., Temporal Segment Networks, ECCV 2016, section 3.1.

    Note:
        TSN's code rounds the length of segments down in training, so that up to `T - 1` frames
        at the end are never seen; here every frame is. With two test clips, TSM ("twice
        sample") takes the beginning and the middle of segments; here it is one quarter and
        three quarters, which is symmetric.
    """

    frames: int
    num_clips: int = 1

    def __post_init__(self) -> None:
        _check_at_least_one(frames=self.frames, num_clips=self.num_clips)

    def draw(self, video_frames: int, rng: np.random.Generator) -> np.ndarray:
        """Return a random frame of each segment, int64 `[frames]`."""
        _check_at_least_one(video_frames=video_frames)
        # In units of 1 / frames of a frame all borders of segments are integers.
        borders = np.arange(self.frames + 1) * video_frames
        return rng.integers(borders[:-1], borders[1:]) // self.frames

    def centred(self, video_frames: int) -> np.ndarray:
        """Return the test clips' frames of each segment, int64 `[num_clips, frames]`."""
        _check_at_least_one(video_frames=video_frames)
        points = 2 * self.num_clips * np.arange(self.frames)
        offsets = 2 * np.arange(self.num_clips)[:, None] + 1
        return (points + offsets) * video_frames // (2 * self.num_clips * self.frames)


def _check_at_least_one(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1.")
