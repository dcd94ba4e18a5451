# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Changes of colour, alike for every frame of a clip.

All functions are pure and take and return clips uint8 `[T, H, W, 3]`, red first. What a change
needs to know of its picture (the mean of `contrast`, the range of `autocontrast`, the histogram
of `equalize`) it takes from the whole clip, so that frames do not flicker; of a clip with one
frame that is what Pillow does to an image.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

_LEVELS = np.arange(256)
# Pillow's filter for smoothing, centre and neighbours; its sum is 13.
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13


def brightness(clip: np.ndarray, factor: float) -> np.ndarray:
    """Multiply the grey levels: 0 is black, 1 the clip itself."""
    return _map_levels(clip, _LEVELS * factor)


def contrast(clip: np.ndarray, factor: float) -> np.ndarray:
    """Multiply the distance to the clip's mean luminance: 0 is plain grey, 1 the clip itself."""
    mean = float(np.round(cv2.mean(cv2.cvtColor(_flat(clip), cv2.COLOR_RGB2GRAY))[0]))
    return _map_levels(clip, mean + factor * (_LEVELS - mean))


def saturation(clip: np.ndarray, factor: float) -> np.ndarray:
    """Multiply the distance to each pixel's luminance: 0 is without colour, 1 the clip itself."""
    flat = _flat(clip)
    grey = cv2.cvtColor(cv2.cvtColor(flat, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(flat, factor, grey, 1 - factor, 0).reshape(clip.shape)


def hue(clip: np.ndarray, turn: float) -> np.ndarray:
    """Turn the hues by a share of the colour circle, -0.5 to 0.5."""
    hsv = cv2.cvtColor(_flat(clip), cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(256 * turn) % 256)  # The circle has 256 steps: it wraps.
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL).reshape(clip.shape)


def sharpness(clip: np.ndarray, factor: float) -> np.ndarray:
    """Multiply the distance to a smoothed clip: 0 is smooth, 1 the clip itself.

    Pixels at the border stay as they are.
    """
    sharpened = clip.copy()
    if min(clip.shape[1:3]) < 3:
        return sharpened
    for frame, result in zip(clip, sharpened, strict=True):
        frame = np.ascontiguousarray(frame)
        smooth = cv2.filter2D(frame, -1, _SMOOTH)
        result[1:-1, 1:-1] = cv2.addWeighted(frame, factor, smooth, 1 - factor, 0)[1:-1, 1:-1]
    return sharpened


def invert(clip: np.ndarray) -> np.ndarray:
    """Turn every grey level `x` to `255 - x`."""
    return 255 - clip


def solarize(clip: np.ndarray, threshold: int) -> np.ndarray:
    """Invert the grey levels from a threshold on, 0 to 256."""
    return _map_levels(clip, np.where(threshold > _LEVELS, _LEVELS, 255 - _LEVELS))


def solarize_add(clip: np.ndarray, addend: int) -> np.ndarray:
    """Add to the grey levels below 128."""
    return _map_levels(clip, np.where(_LEVELS < 128, _LEVELS + addend, _LEVELS))


def posterize(clip: np.ndarray, bits: int) -> np.ndarray:
    """Keep the most significant bits of every grey level, 0 to 8."""
    return clip & np.uint8(0xFF00 >> bits & 0xFF)


def autocontrast(clip: np.ndarray) -> np.ndarray:
    """Stretch each channel so that its range becomes 0 to 255."""
    tables = np.empty((256, 3))
    for channel in range(3):
        (present,) = np.nonzero(_histogram(clip, channel))
        low, high = int(present[0]), int(present[-1])
        # Rounded down, as Pillow does.
        stretched = (_LEVELS - low) * 255 // max(1, high - low)
        tables[:, channel] = stretched if high > low else _LEVELS
    return _map_levels(clip, tables)


def equalize(clip: np.ndarray) -> np.ndarray:
    """Map each channel's grey levels so that its histogram becomes as flat as it can."""
    tables = np.empty((256, 3))
    for channel in range(3):
        counts = _histogram(clip, channel)
        brightest = counts[counts > 0][-1]
        step = (counts.sum() - brightest) // 255
        below = np.cumsum(counts) - counts
        tables[:, channel] = (below + step // 2) // step if step else _LEVELS
    return _map_levels(clip, tables)


@dataclasses.dataclass(frozen=True)
class ColorJitter:
    """Brightness, contrast, saturation and hue, changed at random and in random order.

    One draw holds for every frame of the clip.

    Attributes:
        brightness: Greatest deviation of the factor from 1; factors are never below 0.
        contrast: The same, of `contrast`.
        saturation: The same, of `saturation`.
        hue: Greatest turn to either side, as a share of the colour circle, 0 to 0.5.

    References:
        torchvision's ColorJitter, whose parameters and distributions these are.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"The colour jitter's {name} is {getattr(self, name)}; it must be >= 0."
                )
        if not 0 <= self.hue <= 0.5:
            raise ValueError(f"The colour jitter's hue is {self.hue}; it must be within 0 to 0.5.")

    def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the clip in changed colours."""
        for change in rng.permutation(4):
            if change == 3:
                if self.hue:
                    clip = hue(clip, rng.uniform(-self.hue, self.hue))
                continue
            width = (self.brightness, self.contrast, self.saturation)[change]
            if width:
                factor = rng.uniform(max(0.0, 1 - width), 1 + width)
                clip = (brightness, contrast, saturation)[change](clip, factor)
        return clip


def _flat(clip: np.ndarray) -> np.ndarray:
    """Return the frames below each other as one picture, `[T * H, W, 3]`."""
    num_frames, height, width, channels = clip.shape
    return np.ascontiguousarray(clip).reshape(num_frames * height, width, channels)


def _histogram(clip: np.ndarray, channel: int) -> np.ndarray:
    """Return how many pixels have each grey level, int64 `[256]`."""
    histogram = cv2.calcHist([_flat(clip)], [channel], None, [256], [0, 256])
    return histogram.ravel().astype(np.int64)


def _map_levels(clip: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Exchange grey levels.

    Args:
        clip: uint8 `[T, H, W, 3]`.
        levels: New grey level by old one, `[256]` or, for each channel, `[256, 3]`; rounded, and
            clipped to 0 to 255.
    """
    table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return cv2.LUT(_flat(clip), table.reshape(256, 1, -1)).reshape(clip.shape)
