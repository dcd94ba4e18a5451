# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""RandAugment for images and clips: a few random changes of one strength.

A policy is written as in timm: `rand-m7-mstd0.5-inc1` is magnitude 7, which varies with a
standard deviation of 0.5, of changes that all grow stronger with the magnitude.

| part | meaning | if left out |
|---|---|---|
| `m` | magnitude, 0 to 10 and beyond where `mmax` allows | 10 |
| `n` | number of changes, one after the other | 2 |
| `mstd` | standard deviation of the magnitude; above 100: uniform from 0 to `m` | 0 |
| `mmax` | greatest magnitude after variation | 10 |
| `inc` | 1: colour changes grow with the magnitude; 0: some of them fade | 0 |
| `p` | probability with which each chosen change is made | 0.5 |
| `w` | 0: geometric changes are chosen more often, and none twice | all alike |
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np

from vidpretrain.data import color
from vidpretrain.suggest import closest

FULL_MAGNITUDE = 10.0
"""The magnitude at which every change has the strength that `argument` states for a share of 1."""

_UNIFORM_ABOVE = 100.0
_WEIGHTS = {
    "Rotate": 0.3,
    "ShearX": 0.2,
    "ShearY": 0.2,
    "TranslateX": 0.1,
    "TranslateY": 0.1,
    "Color": 0.025,
    "Sharpness": 0.025,
    "AutoContrast": 0.025,
    "Solarize": 0.005,
    "SolarizeAdd": 0.005,
    "Contrast": 0.005,
    "Brightness": 0.005,
    "Equalize": 0.005,
    "Posterize": 0.0,
    "Invert": 0.0,
}


class Change(NamedTuple):
    """One change, drawn.

    Attributes:
        name: A name in `CHANGES`.
        argument: Angle in degrees, shear, translation as a share of the side, factor, threshold,
            addend or number of bits; None for changes that have none.
    """

    name: str
    argument: float | None = None


def _rotate(clip: np.ndarray, degrees: float, fill: tuple[int, int, int]) -> np.ndarray:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = clip.shape[2] / 2, clip.shape[1] / 2
    # Where a pixel comes from: counter-clockwise, about the middle.
    matrix = [
        [cosine, -sine, x - cosine * x + sine * y],
        [sine, cosine, y - sine * x - cosine * y],
    ]
    return _warp(clip, matrix, fill)


def _shear_x(clip: np.ndarray, shear: float, fill: tuple[int, int, int]) -> np.ndarray:
    return _warp(clip, [[1, shear, 0], [0, 1, 0]], fill)


def _shear_y(clip: np.ndarray, shear: float, fill: tuple[int, int, int]) -> np.ndarray:
    return _warp(clip, [[1, 0, 0], [shear, 1, 0]], fill)


def _translate_x(clip: np.ndarray, share: float, fill: tuple[int, int, int]) -> np.ndarray:
    return _warp(clip, [[1, 0, share * clip.shape[2]], [0, 1, 0]], fill)


def _translate_y(clip: np.ndarray, share: float, fill: tuple[int, int, int]) -> np.ndarray:
    return _warp(clip, [[1, 0, 0], [0, 1, share * clip.shape[1]]], fill)


def _warp(clip: np.ndarray, matrix: list[list[float]], fill: tuple[int, int, int]) -> np.ndarray:
    """Take each pixel from where an affine matrix says, linearly interpolated.

    The matrix is in coordinates whose origin is the frames' corner, so that pixel centres are at
    half integers, as Pillow has it; OpenCV has them at integers.
    """
    inverse = np.array(matrix, np.float64)
    inverse[:, 2] += inverse[:, :2].sum(axis=1) / 2 - 0.5
    warped = np.empty_like(clip, order="C")
    for frame, result in zip(clip, warped, strict=True):
        cv2.warpAffine(
            np.ascontiguousarray(frame),
            inverse,
            (clip.shape[2], clip.shape[1]),
            dst=result,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=fill,
        )
    return warped


@dataclasses.dataclass(frozen=True)
class _Kind:
    """A change before it is drawn.

    Attributes:
        apply: Makes the change; takes clip, argument and fill.
        argument: The argument by the magnitude's share of `FULL_MAGNITUDE`; None if there is none.
        increasing: The same where `inc1` is given, if that differs.
        signed: Whether the share is negated half of the time.
        signed_increasing: The same where `inc1` is given.
    """

    apply: Callable[[np.ndarray, float, tuple[int, int, int]], np.ndarray]
    argument: Callable[[float], float] | None = None
    increasing: Callable[[float], float] | None = None
    signed: bool = False
    signed_increasing: bool = False


def _geometric(
    apply: Callable[[np.ndarray, float, tuple[int, int, int]], np.ndarray], most: float
) -> _Kind:
    return _Kind(apply, lambda share: share * most, signed=True, signed_increasing=True)


def _enhancement(change: Callable[[np.ndarray, float], np.ndarray]) -> _Kind:
    return _Kind(
        lambda clip, factor, _: change(clip, factor),
        lambda share: 0.1 + 1.8 * share,
        increasing=lambda share: max(0.1, 1 + 0.9 * share),
        signed_increasing=True,
    )


CHANGES = {
    "AutoContrast": _Kind(lambda clip, *_: color.autocontrast(clip)),
    "Equalize": _Kind(lambda clip, *_: color.equalize(clip)),
    "Invert": _Kind(lambda clip, *_: color.invert(clip)),
    "Rotate": _geometric(_rotate, 30.0),
    "Posterize": _Kind(
        lambda clip, bits, _: color.posterize(clip, int(bits)),
        lambda share: int(4 * share),
        # Beyond full magnitude no bit is left to drop.
        increasing=lambda share: max(0, 4 - int(4 * share)),
    ),
    "Solarize": _Kind(
        lambda clip, threshold, _: color.solarize(clip, int(threshold)),
        lambda share: int(256 * share),
        increasing=lambda share: max(0, 256 - int(256 * share)),
    ),
    "SolarizeAdd": _Kind(
        lambda clip, addend, _: color.solarize_add(clip, int(addend)),
        lambda share: int(110 * share),
    ),
    "Color": _enhancement(color.saturation),
    "Contrast": _enhancement(color.contrast),
    "Brightness": _enhancement(color.brightness),
    "Sharpness": _enhancement(color.sharpness),
    "ShearX": _geometric(_shear_x, 0.3),
    "ShearY": _geometric(_shear_y, 0.3),
    "TranslateX": _geometric(_translate_x, 0.45),
    "TranslateY": _geometric(_translate_y, 0.45),
}
"""Every change by name."""


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """A few random changes, the same for every frame of a clip.

    Attributes:
        magnitude: Strength of the changes; 10 is full.
        num_changes: Number of changes, one after the other.
        magnitude_std: Standard deviation of the magnitude, drawn anew for every change; infinite
            for a magnitude that is uniform from 0 to `magnitude`.
        magnitude_max: The magnitude is clipped to 0 to this.
        increasing: Whether colour changes all grow with the magnitude. If not, "Posterize" and
            "Solarize" are strongest at 0, and factors run from 0.1 to 1.9.
        prob: Probability with which each chosen change is made.
        weighted: Choose geometric changes more often, and none twice.
        fill: Grey levels, red, green, blue, of what moves in from outside the frames.

    References:
        Cubuk et al., RandAugment, CVPR Workshops 2020, section 3.
        timm's `rand_augment_transform`, whose notation, ranges and probability these are; the
        STS paper's images are trained with its `rand-m7-mstd0.5-inc1`.

    Note:
        timm draws linear or cubic interpolation for every geometric change; here it is linear.
        In timm any `inc` means `inc1`; here `inc0` means no.
    """

    magnitude: float = FULL_MAGNITUDE
    num_changes: int = 2
    magnitude_std: float = 0.0
    magnitude_max: float = FULL_MAGNITUDE
    increasing: bool = False
    prob: float = 0.5
    weighted: bool = False
    fill: tuple[int, int, int] = (124, 116, 104)

    def __post_init__(self) -> None:
        for name in ("magnitude", "magnitude_std", "magnitude_max"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"RandAugment's {name} is {getattr(self, name)}; it must be >= 0.")
        if not 0 <= self.prob <= 1:
            raise ValueError(f"RandAugment's prob is {self.prob}; it must be within 0 to 1.")
        most = int(np.count_nonzero(list(_WEIGHTS.values()))) if self.weighted else math.inf
        if not 0 <= self.num_changes <= most:
            raise ValueError(
                f"RandAugment's num_changes is {self.num_changes}; it must be at least 0, and at "
                f"most {most} where none is chosen twice."
            )

    def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the changed clip, uint8 `[T, H, W, 3]`."""
        for name, argument in self.draw(rng):
            clip = CHANGES[name].apply(clip, 0.0 if argument is None else argument, self.fill)
        return clip

    def draw(self, rng: np.random.Generator) -> list[Change]:
        """Return the changes of one clip, in order."""
        names = list(CHANGES)
        weights = np.array([_WEIGHTS[name] for name in names])
        chosen = rng.choice(
            len(names),
            self.num_changes,
            replace=not self.weighted,
            p=weights / weights.sum() if self.weighted else None,
        )
        return [self._draw_strength(names[i], rng) for i in chosen if rng.random() < self.prob]

    def _draw_strength(self, name: str, rng: np.random.Generator) -> Change:
        if math.isinf(self.magnitude_std):
            magnitude = rng.uniform(0, self.magnitude)
        else:
            magnitude = rng.normal(self.magnitude, self.magnitude_std)
        magnitude = min(max(magnitude, 0.0), self.magnitude_max)
        return Change(name, self.argument(name, magnitude, negated=rng.random() < 0.5))

    def argument(self, name: str, magnitude: float, *, negated: bool) -> float | None:
        """Return the argument of a change.

        Args:
            name: A name in `CHANGES`.
            magnitude: Strength, 10 is full.
            negated: Whether a change that has two directions takes the other.
        """
        kind = CHANGES[name]
        argument, signed = kind.argument, kind.signed
        if self.increasing:
            argument, signed = kind.increasing or argument, kind.signed_increasing
        if argument is None:
            return None
        share = magnitude / FULL_MAGNITUDE
        return argument(-share if signed and negated else share)


class _Part(NamedTuple):
    """A part of the notation.

    Attributes:
        field: The field of `RandAugment` that it sets.
        pattern: Regular expression of its values.
        read: Turns a value's text into the field.
    """

    field: str
    pattern: str
    read: Callable[[str], object]


def _read_std(text: str) -> float:
    return math.inf if float(text) > _UNIFORM_ABOVE else float(text)


_DECIMAL = r"\d+(\.\d+)?"
_PARTS = {
    "m": _Part("magnitude", _DECIMAL, float),
    "n": _Part("num_changes", r"\d+", int),
    "mstd": _Part("magnitude_std", rf"{_DECIMAL}|inf", _read_std),
    "mmax": _Part("magnitude_max", _DECIMAL, float),
    "inc": _Part("increasing", "[01]", lambda text: text == "1"),
    "p": _Part("prob", _DECIMAL, float),
    "w": _Part("weighted", "0", lambda text: True),
}


def parse_randaugment(notation: str) -> RandAugment:
    """Read a policy such as `rand-m7-mstd0.5-inc1`; this module's table has the parts.

    Raises:
        ValueError: Another policy than `rand`, an unknown part, a part given twice, or a value
            that is impossible.
    """
    head, *parts = notation.split("-")
    if head != "rand":
        raise ValueError(f"RandAugment {notation!r} must begin with rand: rand-m7-mstd0.5-inc1")
    fields: dict[str, Any] = {}
    for text in parts:
        # No name contains "inf", which is the only value that is not digits.
        name = re.split(r"\d|inf", text, maxsplit=1)[0]
        value = text.removeprefix(name)
        if name not in _PARTS:
            raise ValueError(
                f"RandAugment {notation!r}: unknown part {text!r}; {closest(name, _PARTS)}"
            )
        part = _PARTS[name]
        if part.field in fields:
            raise ValueError(f"RandAugment {notation!r}: part {name!r} is given twice")
        if not re.fullmatch(part.pattern, value):
            raise ValueError(
                f"RandAugment {notation!r}: {name!r} cannot be {value!r}; see the table of parts "
                "in vidpretrain/data/randaugment.py"
            )
        fields[part.field] = part.read(value)
    return RandAugment(**fields)
