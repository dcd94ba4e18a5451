# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""From frames as they come to clips of one size: resize, crop, flip.

The functions are pure, and randomness is an argument. One clip is one draw: every frame of a
clip is cut and flipped alike. All clips are uint8 `[T, H, W, C]`.

`Augmentation` is what training does to a clip, `SpreadCrops` or `TenCrops` what tests do. They
consist of parts that are frozen dataclasses, so they can be printed, compared, and sent to worker
processes.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Protocol

import cv2
import numpy as np

_CROP_ATTEMPTS = 10
# Where multi-scale crops lie, in quarters of the room, (down, right): the corners and the middle,
# the middles of the sides, and halfway between corners and middle.
_PLACES = (
    *((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)),
    *((2, 0), (2, 4), (0, 2), (4, 2)),
    *((1, 1), (1, 3), (3, 1), (3, 3)),
)


class Rescale(Protocol):
    """Brings frames to a size before a crop."""

    def __call__(self, clip: np.ndarray) -> np.ndarray:
        """Return the resized clip."""

    @property
    def short_side_px(self) -> int:
        """Return the length of the shorter side afterwards."""


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


@dataclasses.dataclass(frozen=True)
class Mirror:
    """Exchanges left and right.

    Attributes:
        negates_even: Whether channels 0, 2, 4, ... are movements to the right, 128 for none, as
            optical flow has them. Seen in a mirror they go to the left.
    """

    negates_even: bool = False

    def __call__(self, clip: np.ndarray) -> np.ndarray:
        """Return the clip mirrored."""
        mirrored = flip(clip)
        if self.negates_even:
            mirrored = mirrored.copy()
            # Bytes wrap, so this is 256 - x; but 0 would stay 0, and is the same as 1.
            mirrored[..., ::2] = -np.maximum(mirrored[..., ::2], 1)
        return mirrored


@dataclasses.dataclass(frozen=True)
class ShortSide:
    """Resizes the shorter side to a length; the shape stays.

    Attributes:
        short_side_px: The length.
    """

    short_side_px: int

    def __post_init__(self) -> None:
        _check_size("short side", self.short_side_px)

    def __call__(self, clip: np.ndarray) -> np.ndarray:
        """Return the resized clip."""
        return resize_short_side(clip, self.short_side_px)


@dataclasses.dataclass(frozen=True)
class FixedSize:
    """Resizes every frame to one size, whatever its shape.

    Attributes:
        height: In pixels.
        width: In pixels.

    References:
        Li et al., STH, 2020, section 4.1: frames are fixed to 340 x 256 before they are cropped.
    """

    height: int
    width: int

    def __post_init__(self) -> None:
        _check_size("height", self.height)
        _check_size("width", self.width)

    @property
    def short_side_px(self) -> int:
        """Return the length of the shorter side."""
        return min(self.height, self.width)

    def __call__(self, clip: np.ndarray) -> np.ndarray:
        """Return the resized clip."""
        return resize(clip, self.height, self.width)


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


def corner_crops(clip: np.ndarray, size_px: int) -> np.ndarray:
    """Cut squares at the four corners and in the middle.

    Args:
        clip: uint8 `[T, H, W, C]`.
        size_px: Side of the squares.

    Returns:
        uint8 `[5, T, size_px, size_px, C]`: top left, top right, bottom left, bottom right,
        middle.

    References:
        Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks, NIPS
        2012, section 4.1: these and their mirror images are "10 crops".
    """
    bottom, right = clip.shape[1] - size_px, clip.shape[2] - size_px
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
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
        _check_size("crop", self.size_px)
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
        rescale: Brings the frames to a size first; None keeps them.
        pad_px: Then this many black pixels are added on every side, so that small frames can be
            shifted too.
    """

    size_px: int
    rescale: Rescale | None = None
    pad_px: int = 0

    def __post_init__(self) -> None:
        _check_size("crop", self.size_px)
        if self.pad_px < 0:
            raise ValueError(f"pad_px is {self.pad_px}; it must be >= 0.")
        _check_crop_fits(self.size_px, self.rescale, self.pad_px)

    def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a random crop of a clip, uint8 `[T, size_px, size_px, C]`."""
        if self.rescale is not None:
            clip = self.rescale(clip)
        if self.pad_px:
            sides = (self.pad_px, self.pad_px)
            clip = np.pad(clip, ((0, 0), sides, sides, (0, 0)))
        height, width = clip.shape[1:3]
        top, left = (int(rng.integers(max(0, side - self.size_px) + 1)) for side in (height, width))
        return crop(clip, top, left, self.size_px, self.size_px)


@dataclasses.dataclass(frozen=True)
class MultiScaleCrop:
    """A rectangle of one of a few sizes at one of a few places, resized to a square.

    With `S` the frame's shorter side, height and width are each `S` times a scale; the two scales
    are at most `max_distortion` apart in their list. Places are the middle and the corners of the
    frame, and halfway between these: 13 in all.

    Attributes:
        size_px: Side of the square that comes out.
        scales: Shares of the shorter side, falling.
        max_distortion: Greatest distance in `scales` between height's and width's.
        rescale: Brings the frames to a size first; None keeps them.

    References:
        Wang et al., Temporal Segment Networks, ECCV 2016, section 3.2, "corner cropping" and
        "scale jittering", as TSN's code has it (`more_fix_crop`); CT-Net trains with it.
    """

    size_px: int
    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    max_distortion: int = 1
    rescale: Rescale | None = None

    def __post_init__(self) -> None:
        _check_size("crop", self.size_px)
        if not self.scales or not all(0 < scale <= 1 for scale in self.scales):
            raise ValueError(f"scales is {self.scales}; they must be above 0 and at most 1.")
        if self.max_distortion < 0:
            raise ValueError(f"max_distortion is {self.max_distortion}; it must be >= 0.")

    def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a random crop of a clip, uint8 `[T, size_px, size_px, C]`."""
        if self.rescale is not None:
            clip = self.rescale(clip)
        rectangle = self.draw(clip.shape[1], clip.shape[2], rng)
        return resize(crop(clip, *rectangle), self.size_px, self.size_px)

    def draw(
        self, frame_height: int, frame_width: int, rng: np.random.Generator
    ) -> tuple[int, int, int, int]:
        """Return a rectangle as (top, left, height, width), in pixels."""
        sizes = self.sizes(frame_height, frame_width)
        height, width = sizes[rng.integers(len(sizes))]
        down, right = _PLACES[rng.integers(len(_PLACES))]
        # Quarters of the room are rounded down before they are counted, as TSN does.
        return (
            (frame_height - height) // 4 * down,
            (frame_width - width) // 4 * right,
            height,
            width,
        )

    def sizes(self, frame_height: int, frame_width: int) -> list[tuple[int, int]]:
        """Return every (height, width) that can be drawn, all equally likely, in pixels."""
        short = min(frame_height, frame_width)
        sides = [max(1, int(short * scale)) for scale in self.scales]
        # Almost the size that is wanted: take that, and do not interpolate.
        sides = [
            self.size_px if abs(side - self.size_px) < 3 and self.size_px <= short else side
            for side in sides
        ]
        return [
            (height, width)
            for i, height in enumerate(sides)
            for j, width in enumerate(sides)
            if abs(i - j) <= self.max_distortion
        ]


@dataclasses.dataclass(frozen=True)
class Flip:
    """Mirror some clips, and give them the label of what they then show.

    Attributes:
        labels: Label of the mirror image, by label.
        prob: Share of the clips that are mirrored.
        mirror: Mirrors a clip.
    """

    labels: tuple[int, ...]
    prob: float = 0.5
    mirror: Mirror = Mirror()

    def __post_init__(self) -> None:
        if not 0 <= self.prob <= 1:
            raise ValueError(f"The flip's prob is {self.prob}; it must be within 0 to 1.")

    def __call__(
        self, clip: np.ndarray, label: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, int]:
        """Return the clip and its label, or the mirrored clip and the label of that."""
        if rng.random() < self.prob:
            return self.mirror(clip), self.labels[label]
        return clip, label


class Repaint(Protocol):
    """Changes the pixels of a clip that has its size."""

    def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a clip of the same shape."""


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What training does to a clip: a random crop, perhaps a flip, perhaps other pixels.

    Attributes:
        crop: Makes the clip square.
        flip: Mirrors it; None leaves all as they are.
        repaint: Changes its pixels, in this order.
        repeats: Number of differently augmented clips of an example that every batch holds.

    References:
        Hoffer et al., Augment Your Batch, CVPR 2020, for `repeats`.
    """

    crop: RandomCrop
    flip: Flip | None = None
    repaint: tuple[Repaint, ...] = ()
    repeats: int = 1

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise ValueError(f"repeats is {self.repeats}; it must be at least 1.")

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
        if self.flip is not None:
            clip, label = self.flip(clip, label, rng)
        for repaint in self.repaint:
            clip = repaint(clip, rng)
        return clip, label


class FixedCrops(Protocol):
    """Cuts fixed squares out of a test clip."""

    @property
    def size_px(self) -> int:
        """Return the side of the squares."""

    @property
    def num_crops(self) -> int:
        """Return the number of squares."""

    def __call__(self, clip: np.ndarray) -> np.ndarray:
        """Return the crops of a clip, uint8 `[num_crops, T, size_px, size_px, C]`."""


@dataclasses.dataclass(frozen=True)
class SpreadCrops:
    """What tests do to a clip: resize the shorter side, cut one or more squares.

    Attributes:
        size_px: Side of the squares.
        rescale: Brings the frames to a size first; None keeps them.
        num_crops: Number of squares, spread over the longer side.
    """

    size_px: int
    rescale: Rescale | None = None
    num_crops: int = 1

    def __post_init__(self) -> None:
        _check_size("crop", self.size_px)
        _check_crop_fits(self.size_px, self.rescale, pad_px=0)
        if self.num_crops < 1:
            raise ValueError(f"num_crops is {self.num_crops}; it must be at least 1.")

    def __call__(self, clip: np.ndarray) -> np.ndarray:
        """Return the crops of a clip, uint8 `[num_crops, T, size_px, size_px, C]`."""
        if self.rescale is not None:
            clip = self.rescale(clip)
        return spread_crops(clip, self.size_px, self.num_crops)


@dataclasses.dataclass(frozen=True)
class TenCrops:
    """Ten squares of a test clip: four corners, the middle, and the mirror images of these.

    Attributes:
        size_px: Side of the squares.
        rescale: Brings the frames to a size first; None keeps them.
        mirror: Mirrors a clip.

    References:
        Wang et al., Temporal Segment Networks, ECCV 2016, section 3.2, for tests.
    """

    size_px: int
    rescale: Rescale | None = None
    mirror: Mirror = Mirror()
    num_crops: ClassVar[int] = 10

    def __post_init__(self) -> None:
        _check_size("crop", self.size_px)
        _check_crop_fits(self.size_px, self.rescale, pad_px=0)

    def __call__(self, clip: np.ndarray) -> np.ndarray:
        """Return the crops of a clip, uint8 `[10, T, size_px, size_px, C]`."""
        if self.rescale is not None:
            clip = self.rescale(clip)
        crops = corner_crops(clip, self.size_px)
        return np.concatenate([crops, np.stack([self.mirror(cut) for cut in crops])])


def _check_size(what: str, size_px: int) -> None:
    if size_px < 1:
        raise ValueError(f"The {what}'s size is {size_px} px; it must be at least 1.")


def _check_crop_fits(size_px: int, rescale: Rescale | None, pad_px: int) -> None:
    if rescale is not None and size_px > rescale.short_side_px + 2 * pad_px:
        raise ValueError(
            f"A crop of {size_px} px does not fit frames whose short side is "
            f"{rescale.short_side_px} px{f' and {pad_px} px of padding' if pad_px else ''}. "
            "Choose a smaller crop or a larger short side."
        )
