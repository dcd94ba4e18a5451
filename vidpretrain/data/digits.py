# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Data that ships with the project: real handwritten digits, still and moving.

scikit-learn carries 1,797 handwritten digits of 8 x 8 pixels (the test set of the UCI "Optical
Recognition of Handwritten Digits"). Here each is drawn, enlarged and slightly turned, onto a
textured canvas that is littered with pieces of other digits. `stills` asks which digit it is.
`moving_digits` lets it move and asks for digit and motion, so that knowing only the digit is
right at most one time in four, and knowing only the motion at most one time in ten; or, with
`tell_digits=False`, for the motion alone.

One frame tells nothing about the motion, exactly: every other draw is made before the motion is
looked at, and the digit's place is its uniformly drawn start plus motion, modulo the range of
places that keep it whole on the canvas. So at every time the place is uniform, whatever the
motion. The price is that the digit jumps back to the other side when it reaches an edge.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
from collections.abc import Sequence

import cv2
import numpy as np

from vidpretrain.data.streams import generator

NUM_DIGITS = 10
SPLIT_SHARES = {"train": 4, "validation": 1, "test": 1}
"""Every six digits of a class are shared out so. The same for every seed: a digit that one run
trained on is never another run's test digit."""

_FULL_INK = 16  # The grey levels of scikit-learn's digits run from 0 to 16.
_COVERAGE_BITS = 7  # Coverage runs from 0 to 128: times a difference of grey levels it fits int16.
_NUM_NOISE_FIELDS = 64
_SIDE_DRIFT = 0.25  # Most movement across the direction of motion, as a share of the speed.


class Motion(enum.IntEnum):
    """Direction in which a digit moves; part of its class."""

    LEFT = 0
    RIGHT = 1
    UP = 2
    DOWN = 3

    @property
    def heading(self) -> np.ndarray:
        """Return the unit vector (down, right) of the motion."""
        return np.array([(0, -1), (0, 1), (-1, 0), (1, 0)][self], np.float64)

    @property
    def mirrored(self) -> Motion:
        """Return the motion seen in a mirror: left and right change places."""
        return {Motion.LEFT: Motion.RIGHT, Motion.RIGHT: Motion.LEFT}.get(self, self)


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a canvas looks like, and how fast things move on it.

    Attributes:
        canvas_px: Side of the square canvas, in pixels.
        digit_scale: Least and greatest side of the digit, as shares of the canvas.
        turn_deg: Greatest turn of the digit to either side, in degrees.
        speed: Least and greatest speed, in canvas widths per frame.
        contrast: Least and greatest difference between digit and canvas, in grey levels.
        texture: Greatest deviation of the canvas from its own colour, in grey levels.
        num_distractors: Number of pieces of other digits, which stand still.
        noise: Standard deviation of the noise, new in every frame, in grey levels.
    """

    canvas_px: int = 32
    digit_scale: tuple[float, float] = (0.45, 0.6)
    turn_deg: float = 15.0
    speed: tuple[float, float] = (0.02, 0.045)
    contrast: tuple[float, float] = (60.0, 110.0)
    texture: float = 30.0
    num_distractors: int = 3
    noise: float = 8.0

    def __post_init__(self) -> None:
        if self.canvas_px < 8:
            raise ValueError(f"canvas_px is {self.canvas_px}; digits need at least 8 pixels.")
        _check_range("digit_scale", self.digit_scale, lowest=4 / self.canvas_px, highest=1.0)
        _check_range("speed", self.speed, lowest=0.0, highest=0.5)
        _check_range("contrast", self.contrast, lowest=0.0, highest=255.0)
        for name in ("turn_deg", "texture", "num_distractors", "noise"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be >= 0.")


def _check_range(name: str, value: tuple[float, float], *, lowest: float, highest: float) -> None:
    low, high = value
    if not lowest <= low <= high <= highest:
        raise ValueError(
            f"{name} is {value}; it must be (least, greatest) within {lowest:g} to {highest:g}."
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Digits:
    """Rendered digits; a source (see `vidpretrain.data.source`).

    Example `i` shows image `i % N` of the split's `N` images with motion `(i % N + i // N) % 4`, so
    that any first `num_clips` have all classes in balance, and `4 N` have each image with each
    motion. Everything else of a clip is a pure function of (seed, split, i).

    Attributes:
        images: uint8 `[N, 8, 8]`, ink from 0 to 16.
        digits: int64 `[N]`, the digit that each image shows.
        motions: The motions that are told apart; empty for stills.
        tell_digits: Whether digits are told apart; if not, the class is the motion alone.
        clip_frames: Number of frames of every clip.
        num_clips: Number of clips.
        split: Name of the split, which has random numbers of its own.
        seed: Seed of everything but image and motion.
        scene: What the canvas looks like.
    """

    images: np.ndarray = dataclasses.field(repr=False)
    digits: np.ndarray = dataclasses.field(repr=False)
    motions: tuple[Motion, ...]
    clip_frames: int
    num_clips: int
    split: str
    seed: int
    scene: Scene
    tell_digits: bool = True

    def __post_init__(self) -> None:
        if not (self.tell_digits or self.motions):
            raise ValueError("tell_digits is False, and stills have no motion; set it to True.")
        for name in ("clip_frames", "num_clips"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")

    @property
    def num_classes(self) -> int:
        """Return the number of digits, of motions, or of both together."""
        return len(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return names such as "3", "3 left" where digits move, or "left"."""
        if not self.motions:
            return tuple(str(digit) for digit in range(NUM_DIGITS))
        if not self.tell_digits:
            return tuple(motion.name.lower() for motion in self.motions)
        return tuple(
            f"{digit} {motion.name.lower()}"
            for digit in range(NUM_DIGITS)
            for motion in self.motions
        )

    @property
    def flip_labels(self) -> tuple[int, ...]:
        """Return the label of the mirror image: the same digit, left and right swapped."""
        if not self.motions:
            return tuple(range(NUM_DIGITS))
        return tuple(
            digit * len(self.motions) + self.motions.index(motion.mirrored)
            for digit in range(NUM_DIGITS if self.tell_digits else 1)
            for motion in self.motions
        )

    def __len__(self) -> int:
        return self.num_clips

    def num_frames(self, example: int) -> int:
        """Return the length of a clip; all have the same."""
        return self.clip_frames

    def label(self, example: int) -> int:
        """Return the digit, digit and motion as `4 * digit + motion`, or the motion."""
        digit = int(self.digits[example % len(self.images)])
        if not self.motions:
            return digit
        if not self.tell_digits:
            return self._motion_index(example)
        return digit * len(self.motions) + self._motion_index(example)

    def frames(self, example: int, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Render some frames of a clip.

        Args:
            example: Position of the clip, from 0.
            indices: Frames wanted, each from 0 to `clip_frames - 1`.

        Returns:
            uint8 `[T, canvas_px, canvas_px, 3]`.

        Raises:
            IndexError: The example or a frame is out of range.
        """
        if not 0 <= example < self.num_clips:
            raise IndexError(f"Example {example} of {self.num_clips} (from 0) does not exist.")
        times = np.asarray(indices, np.int64)
        if times.size and (times.min() < 0 or times.max() >= self.clip_frames):
            raise IndexError(f"Frames {times.tolist()} asked of a clip of {self.clip_frames}.")

        scene, canvas_px = self.scene, self.scene.canvas_px
        rng = generator(f"digits {self.split}", self.seed, example)
        side_px = round(canvas_px * rng.uniform(*scene.digit_scale))
        backdrop, ink = _draw_backdrop(scene, self.images, side_px, rng)
        coverage = _draw_digit(self.images[example % len(self.images)], side_px, scene, rng)
        # One place more than the free pixels: both edges are places, and all are equally likely.
        period_px = canvas_px - side_px + 1
        start = rng.uniform(0, period_px, size=2)
        speed, drift = rng.uniform(*scene.speed), rng.uniform(-_SIDE_DRIFT, _SIDE_DRIFT)
        noise_index = rng.integers(_NUM_NOISE_FIELDS, size=self.clip_frames)

        # From here on the motion is known; every draw above was made without it.
        heading = self._heading(example)
        velocity = canvas_px * speed * (heading + drift * heading[::-1])
        places = np.floor((start + times[:, None] * velocity) % period_px).astype(np.int64)
        video = np.tile(backdrop, (len(times), 1, 1, 1))
        for frame, (top, left) in zip(video, places, strict=True):
            _blend(frame[top : top + side_px, left : left + side_px], coverage, ink)
        video += _noise_fields(canvas_px, scene.noise)[noise_index[times]]
        return np.clip(video, 0, 255, out=video).astype(np.uint8)

    def _motion_index(self, example: int) -> int:
        round_of_images, image = divmod(example, len(self.images))
        return (image + round_of_images) % len(self.motions)

    def _heading(self, example: int) -> np.ndarray:
        if not self.motions:
            return np.zeros(2)
        return self.motions[self._motion_index(example)].heading


def stills(
    split: str,
    seed: int = 0,
    *,
    num_clips: int | None = None,
    **scene: object,
) -> Digits:
    """Make a source of one-frame clips whose class is the digit: 10 classes.

    Args:
        split: `train`, `validation` or `test`; they share no handwritten digit.
        seed: Seed of places, colours and canvases.
        num_clips: Number of clips; each image once if None. More show the same digits anew.
        **scene: Fields of `Scene`.
    """
    images, digits = split_digits(split)
    return Digits(
        images=images,
        digits=digits,
        motions=(),
        clip_frames=1,
        num_clips=len(images) if num_clips is None else num_clips,
        split=split,
        seed=seed,
        scene=Scene(**scene),  # type: ignore[arg-type]
    )


def moving_digits(
    split: str,
    seed: int = 0,
    *,
    clip_frames: int = 24,
    num_clips: int | None = None,
    tell_digits: bool = True,
    **scene: object,
) -> Digits:
    """Make a source of clips whose class is digit and motion: 40 classes.

    Args:
        split: `train`, `validation` or `test`; they share no handwritten digit.
        seed: Seed of places, speeds, colours and canvases.
        clip_frames: Length of every clip, in frames; longer than a network's window, so that
            frames are really chosen.
        num_clips: Number of clips; each image with each motion once if None.
        tell_digits: Whether digits are told apart. If not, the clips are the same, but their class
            is the motion alone: 4 classes, of which a single frame tells nothing.
        **scene: Fields of `Scene`.
    """
    images, digits = split_digits(split)
    motions = tuple(Motion)
    return Digits(
        images=images,
        digits=digits,
        motions=motions,
        clip_frames=clip_frames,
        num_clips=len(images) * len(motions) if num_clips is None else num_clips,
        split=split,
        seed=seed,
        scene=Scene(**scene),  # type: ignore[arg-type]
        tell_digits=tell_digits,
    )


@functools.cache
def split_digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the images of one split, every class shared out in the same proportions.

    Args:
        split: A name in `SPLIT_SHARES`.

    Returns:
        images: uint8 `[N, 8, 8]`, ink from 0 to 16, in a fixed random order.
        digits: int64 `[N]`.
    """
    # Here, for it takes a second to import, and worker processes get the images with the source.
    from sklearn import datasets

    if split not in SPLIT_SHARES:
        raise ValueError(f"Split {split!r} does not exist; allowed: {', '.join(SPLIT_SHARES)}.")
    loaded = datasets.load_digits()
    order = generator("digit splits").permutation(len(loaded.target))
    owners = np.repeat(list(SPLIT_SHARES), list(SPLIT_SHARES.values()))
    mine = np.zeros(len(order), bool)
    for digit in range(NUM_DIGITS):
        of_class = order[loaded.target[order] == digit]
        mine[of_class] = np.resize(owners, len(of_class)) == split
    chosen = order[mine[order]]
    images = loaded.images[chosen].astype(np.uint8)
    digits = loaded.target[chosen].astype(np.int64)
    for array in (images, digits):
        array.flags.writeable = False  # Shared by every source through the cache.
    return images, digits


def _draw_backdrop(
    scene: Scene, images: np.ndarray, side_px: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a canvas with distractors, in the ink of the digit to come.

    Returns:
        backdrop: int16 `[H, W, 3]`, grey levels, not clipped.
        ink: int16 `[3]`, the colour of digit and distractors.
    """
    canvas_px = scene.canvas_px
    colour = rng.uniform(70.0, 185.0) + rng.uniform(-20.0, 20.0, size=3)
    contrast = rng.uniform(*scene.contrast, size=3) * (2 * rng.integers(2) - 1)
    ink = np.clip(colour + contrast, 0.0, 255.0).astype(np.int16)
    texture = rng.uniform(-scene.texture, scene.texture, size=(4, 4, 3)).astype(np.float32)
    backdrop = colour + cv2.resize(texture, (canvas_px, canvas_px), interpolation=cv2.INTER_LINEAR)
    backdrop = backdrop.astype(np.int16)

    piece_px = side_px // 2
    for _ in range(scene.num_distractors):
        top, left = rng.integers(canvas_px - piece_px + 1, size=2)
        row, column = rng.integers(5, size=2)
        image = images[rng.integers(len(images))]
        coverage = _enlarge(image[row : row + 4, column : column + 4], piece_px, turn_deg=0.0)
        _blend(backdrop[top : top + piece_px, left : left + piece_px], coverage, ink)
    return backdrop, ink


def _draw_digit(
    image: np.ndarray, side_px: int, scene: Scene, rng: np.random.Generator
) -> np.ndarray:
    return _enlarge(image, side_px, rng.uniform(-scene.turn_deg, scene.turn_deg))


def _enlarge(image: np.ndarray, side_px: int, turn_deg: float) -> np.ndarray:
    """Enlarge ink 0 to 16 to coverage 0 to 128, int16 `[side_px, side_px, 3]`, turned."""
    # From enlarged to original pixels: turn about the middle, and shrink. Written out, for small
    # matrices cost NumPy more than the pixels do. Pixel centres are at half integers, in both.
    shrink = len(image) / side_px
    cosine = shrink * math.cos(math.radians(turn_deg))
    sine = shrink * math.sin(math.radians(turn_deg))
    middle, old_middle = side_px / 2 - 0.5, len(image) / 2 - 0.5
    matrix = np.array(
        [
            [cosine, -sine, old_middle - (cosine - sine) * middle],
            [sine, cosine, old_middle - (sine + cosine) * middle],
        ]
    )
    coverage = cv2.warpAffine(
        image.astype(np.float32) * ((1 << _COVERAGE_BITS) / _FULL_INK),
        matrix,
        (side_px, side_px),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    # Once a channel: broadcasting over three of them would make the loops of NumPy that short.
    return cv2.merge([coverage] * 3).astype(np.int16)


def _blend(region: np.ndarray, coverage: np.ndarray, ink: np.ndarray) -> None:
    """Lay ink over a region, int16 `[h, w, 3]`, in place."""
    region += (coverage * (ink - region)) >> _COVERAGE_BITS


@functools.lru_cache(maxsize=4)
def _noise_fields(canvas_px: int, noise: float) -> np.ndarray:
    """Return the fields that clips draw their noise from, int16 `[fields, H, W, 3]`.

    Drawing fresh noise for each frame would cost more than all the rest of the rendering.
    """
    rng = generator("digit noise", canvas_px)
    fields = rng.normal(0.0, noise, size=(_NUM_NOISE_FIELDS, canvas_px, canvas_px, 3))
    return np.round(fields).astype(np.int16)
