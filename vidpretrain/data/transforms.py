# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""From frames as they come to clips of one size: resize, crop, flip.

The functions are pure, and randomness is an argument. One clip is one draw: every frame of a
clip is cut and flipped alike. All clips are uint8 `[T, H, W, C]`.

`Augmentation` is what training does to a clip, `SpreadCrops` what tests do. Both consist of parts
that are frozen dataclasses, so they can be printed, compared, and sent to worker processes.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Protocol

import cv2
import numpy as np

_CROP_ATTEMPTS = 10


class RandomCrop(Protocol):
    """Cuts one random square out of a clip."""

    @property
    def size_px(self) -> int:
        """Return the side of the square."""

    def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a clip uint8 `[T, size_px, size_px, C]`."""


def resize(clip: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize every frame.

    Where both sides shrink, each new pixel is the mean of the area that it covers, so nothing
    aliases; otherwise pixels are interpolated linearly.

    Args:
        clip: uint8 `[T, H, W, C]`.
        height: New `H`, in pixels.
        width: New `W`, in pixels.

    Returns:
        uint8 `[T, height, width, C]`; the same array if it has that size already.
    """
    num_frames, old_height, old_width, channels = clip.shape
    if (height, width) == (old_height, old_width):
        return clip
    shrinks = height <= old_height and width <= old_width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = np.empty((num_frames, height, width, channels), np.uint8)
    for old, new in zip(clip, resized, strict=True):
        # OpenCV drops the axis of a single channel.
        new[:] = cv2.resize(old, (width, height), interpolation=interpolation).reshape(new.shape)
    return resized


def resize_short_side(clip: np.ndarray, short_side_px: int) -> np.ndarray:
    """Resize so that the shorter side has a given length and the shape is kept.

    Args:
        clip: uint8 `[T, H, W, C]`.
        short_side_px: Length of the shorter side.

    Returns:
        The resized clip. Its longer side is rounded to the nearest pixel.
    """
    height, width = clip.shape[1:3]
    short = min(height, width)
    new_height, new_width = (
        (2 * side * short_side_px + short) // (2 * short) for side in (height, width)
    )
    return resize(clip, new_height, new_width)


def crop(clip: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """Return a rectangle of every frame, a view of the clip.

    Raises:
        ValueError: The rectangle is not within the frames.
    """
    frame_height, frame_width = clip.shape[1:3]
    if not (0 <= top <= frame_height - height and 0 <= left <= frame_width - width):
        raise ValueError(
            f"A crop of {height} x {width} at ({top}, {left}) is not within frames of "
            f"{frame_height} x {frame_width}. Choose a smaller crop or a larger short side."
        )
    return clip[:, top : top + height, left : left + width]


def flip(clip: np.ndarray) -> np.ndarray:
    """Return the clip mirrored, left and right exchanged; a view."""
    return clip[:, :, ::-1]


def spread_crops(clip: np.ndarray, size_px: int, num_crops: int) -> np.ndarray:
    """Cut squares that are spread evenly over the longer side, centred on the shorter one.

    One is the centre; three are left, centre and right, or top, centre and bottom.

    Args:
        clip: uint8 `[T, H, W, C]`.
        size_px: Side of the squares.
        num_crops: Number of squares, 1 or more.

    Returns:
        uint8 `[num_crops, T, size_px, size_px, C]`.

    References:
        Feichtenhofer et al., SlowFast Networks, ICCV 2019, section 4: three crops.
    """
    height, width = clip.shape[1:3]
    top, left = (height - size_px) // 2, (width - size_px) // 2
    if num_crops == 1:
        return crop(clip, top, left, size_px, size_px)[None]
    free_px = max(height, width) - size_px
    spread = [index * free_px // (num_crops - 1) for index in range(num_crops)]
    corners = [(place, left) if height > width else (top, place) for place in spread]
    return np.stack([crop(clip, *corner, size_px, size_px) for corner in corners])


@dataclasses.dataclass(frozen=True)
class ResizedCrop:
    """A rectangle of random area and shape, resized to a square.

    Up to ten times an area and a shape are drawn; the first that fits is cut at a uniformly
    drawn place. If none fits, it is the largest centred rectangle of an allowed shape.

    Attributes:
        size_px: Side of the square.
        area: Least and greatest area, as shares of the frame's. Uniformly distributed.
        aspect: Least and greatest width / height. Its logarithm is uniformly distributed.

    References:
        Szegedy et al., Going Deeper with Convolutions, CVPR 2015, section 6.

    Note:
        The released STS code first resizes the short side to 256 and then cuts. Here the
        rectangle is cut from the frame as it is, which but for rounding has the same
        distribution, and saves one interpolation.
    """

    size_px: int
    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        _check_size(self.size_px)
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise ValueError(f"area is {self.area}; it must be (least, greatest) within 0 to 1.")
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise ValueError(f"aspect is {self.aspect}; it must be (least, greatest), above 0.")

    def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a random crop of a clip, uint8 `[T, size_px, size_px, C]`."""
        rectangle = self.draw(clip.shape[1], clip.shape[2], rng)
        return resize(crop(clip, *rectangle), self.size_px, self.size_px)

    def draw(
        self, frame_height: int, frame_width: int, rng: np.random.Generator
    ) -> tuple[int, int, int, int]:
        """Return a rectangle as (top, left, height, width), in pixels."""
        least, greatest = math.log(self.aspect[0]), math.log(self.aspect[1])
        for _ in range(_CROP_ATTEMPTS):
            area = frame_height * frame_width * rng.uniform(*self.area)
            aspect = math.exp(rng.uniform(least, greatest))
            height, width = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
            if 0 < height <= frame_height and 0 < width <= frame_width:
                top = int(rng.integers(frame_height - height + 1))
                left = int(rng.integers(frame_width - width + 1))
                return top, left, height, width
        aspect = min(max(frame_width / frame_height, self.aspect[0]), self.aspect[1])
        height = min(frame_height, max(1, round(frame_width / aspect)))
        width = min(frame_width, max(1, round(frame_height * aspect)))
        return (frame_height - height) // 2, (frame_width - width) // 2, height, width


@dataclasses.dataclass(frozen=True)
class ShiftedCrop:
    """A square at a random place, at the frame's own scale.

    Attributes:
        size_px: Side of the square.
        short_side_px: The frames' shorter side is first resized to this; None keeps them.
        pad_px: Then this many black pixels are added on every side, so that small frames can be
            shifted too.
    """

    size_px: int
    short_side_px: int | None = None
    pad_px: int = 0

    def __post_init__(self) -> None:
        _check_size(self.size_px)
        if self.pad_px < 0:
            raise ValueError(f"pad_px is {self.pad_px}; it must be >= 0.")
        _check_crop_fits(self.size_px, self.short_side_px, self.pad_px)

    def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a random crop of a clip, uint8 `[T, size_px, size_px, C]`."""
        if self.short_side_px is not None:
            clip = resize_short_side(clip, self.short_side_px)
        if self.pad_px:
            sides = (self.pad_px, self.pad_px)
            clip = np.pad(clip, ((0, 0), sides, sides, (0, 0)))
        height, width = clip.shape[1:3]
        top, left = (int(rng.integers(max(0, side - self.size_px) + 1)) for side in (height, width))
        return crop(clip, top, left, self.size_px, self.size_px)


@dataclasses.dataclass(frozen=True)
class Flip:
    """Mirror some clips, and give them the label of what they then show.

    Attributes:
        labels: Label of the mirror image, by label.
        prob: Share of the clips that are mirrored.
    """

    labels: tuple[int, ...]
    prob: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.prob <= 1:
            raise ValueError(f"The flip's prob is {self.prob}; it must be within 0 to 1.")

    def __call__(
        self, clip: np.ndarray, label: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, int]:
        """Return the clip and its label, or the mirrored clip and the label of that."""
        if rng.random() < self.prob:
            return flip(clip), self.labels[label]
        return clip, label


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What training does to a clip: a random crop, then perhaps a flip.

    Attributes:
        crop: Makes the clip square.
        flip: Mirrors it; None leaves all as they are.
    """

    crop: RandomCrop
    flip: Flip | None = None

    @property
    def size_px(self) -> int:
        """Return the side of the clips that come out."""
        return self.crop.size_px

    def __call__(
        self, clip: np.ndarray, label: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, int]:
        """Augment one clip.

        Args:
            clip: uint8 `[T, H, W, C]`.
            label: Its label.
            rng: Where every random number comes from.

        Returns:
            The clip uint8 `[T, size_px, size_px, C]`, and its label now.
        """
        clip = self.crop(clip, rng)
        return (clip, label) if self.flip is None else self.flip(clip, label, rng)


@dataclasses.dataclass(frozen=True)
class SpreadCrops:
    """What tests do to a clip: resize the shorter side, cut one or more squares.

    Attributes:
        size_px: Side of the squares.
        short_side_px: The frames' shorter side is first resized to this; None keeps them.
        num_crops: Number of squares, spread over the longer side.
    """

    size_px: int
    short_side_px: int | None = None
    num_crops: int = 1

    def __post_init__(self) -> None:
        _check_size(self.size_px)
        _check_crop_fits(self.size_px, self.short_side_px, pad_px=0)
        if self.num_crops < 1:
            raise ValueError(f"num_crops is {self.num_crops}; it must be at least 1.")

    def __call__(self, clip: np.ndarray) -> np.ndarray:
        """Return the crops of a clip, uint8 `[num_crops, T, size_px, size_px, C]`."""
        if self.short_side_px is not None:
            clip = resize_short_side(clip, self.short_side_px)
        return spread_crops(clip, self.size_px, self.num_crops)


def _check_size(size_px: int) -> None:
    if size_px < 1:
        raise ValueError(f"The crop's size is {size_px} px; it must be at least 1.")


def _check_crop_fits(size_px: int, short_side_px: int | None, pad_px: int) -> None:
    if short_side_px is not None and size_px > short_side_px + 2 * pad_px:
        raise ValueError(
            f"A crop of {size_px} px does not fit frames whose short side is {short_side_px} px"
            f"{f' and {pad_px} px of padding' if pad_px else ''}. Choose a smaller crop or a "
            "larger short side."
        )
