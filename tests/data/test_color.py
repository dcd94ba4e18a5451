# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Changes of colour: against Pillow, which shares no code with OpenCV, and as properties."""

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from vidpretrain.data import color
from vidpretrain.data.color import ColorJitter

PICTURE = cv2.resize(
    np.random.default_rng(0).integers(256, size=(8, 9, 3), dtype=np.uint8),
    (61, 40),
    interpolation=cv2.INTER_CUBIC,
)
FACTORS = (0.0, 0.1, 0.63, 1.0, 1.4, 1.9)


def assert_close(clip: np.ndarray, image: Image.Image, levels: int) -> None:
    difference = np.abs(clip[0].astype(int) - np.asarray(image).astype(int))
    assert difference.max() <= levels


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize(
    ("ours", "pillows"),
    [
        (color.brightness, ImageEnhance.Brightness),
        (color.contrast, ImageEnhance.Contrast),
        (color.saturation, ImageEnhance.Color),
        (color.sharpness, ImageEnhance.Sharpness),
    ],
)
def test_enhancements_are_pillows(ours, pillows, factor):
    # Pillow rounds down, OpenCV to the nearest; luminance itself is rounded once more.
    assert_close(ours(PICTURE[None], factor), pillows(Image.fromarray(PICTURE)).enhance(factor), 2)


@pytest.mark.parametrize("picture", [PICTURE, PICTURE // 2 + 7, PICTURE[:5, :3] * 0 + 9])
def test_mappings_of_levels_are_pillows_exactly(picture):
    image, clip = Image.fromarray(picture), picture[None]
    assert_close(color.autocontrast(clip), ImageOps.autocontrast(image), 0)
    assert_close(color.equalize(clip), ImageOps.equalize(image), 0)
    assert_close(color.invert(clip), ImageOps.invert(image), 0)
    for threshold in (0, 1, 100, 256):
        assert_close(color.solarize(clip, threshold), ImageOps.solarize(image, threshold), 0)
    for bits in (1, 4, 8):
        assert_close(color.posterize(clip, bits), ImageOps.posterize(image, bits), 0)


def levels(*values: int) -> np.ndarray:
    return np.repeat(np.array(values, np.uint8)[None, None, :, None], 3, axis=-1)


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        (lambda clip: color.solarize_add(clip, 30), (0, 127, 128, 255), (30, 157, 128, 255)),
        (lambda clip: color.solarize_add(clip, 200), (100, 127), (255, 255)),
        (lambda clip: color.posterize(clip, 0), (0, 200), (0, 0)),
        (lambda clip: color.posterize(clip, 3), (31, 32, 255), (0, 32, 224)),
        (lambda clip: color.solarize(clip, 64), (63, 64, 255), (63, 191, 0)),
        (lambda clip: color.brightness(clip, 1.5), (10, 200), (15, 255)),
        (lambda clip: color.contrast(clip, 2.0), (90, 110, 100), (80, 120, 100)),
        (lambda clip: color.autocontrast(clip), (50, 100, 150), (0, 127, 255)),
    ],
)
def test_values_by_hand(change, before, after):
    assert change(levels(*before))[0, 0, :, 1].tolist() == list(after)


def test_hues_go_round_in_a_circle():
    red = np.zeros((1, 2, 2, 3), np.uint8)
    red[..., 0] = 200
    np.testing.assert_array_equal(color.hue(red, 0.0), red)
    assert color.hue(red, 1 / 3)[0, 0, 0].argmax() == 1
    assert color.hue(red, -1 / 3)[0, 0, 0].argmax() == 2
    np.testing.assert_array_equal(color.hue(red, 0.5), color.hue(red, -0.5))


def test_what_a_change_knows_of_its_picture_it_knows_of_the_whole_clip():
    clip = np.concatenate([levels(0, 100), levels(100, 200)])
    for change in (color.autocontrast, color.equalize, lambda c: color.contrast(c, 1.7)):
        changed = change(clip)
        # Grey 100 is in both frames and must stay the same in both.
        np.testing.assert_array_equal(changed[0, 0, 1], changed[1, 0, 0])


JITTER = ColorJitter(0.4, 0.4, 0.4, 0.1)


def test_jitter_changes_all_frames_alike_and_is_a_function_of_its_numbers():
    clip = np.repeat(PICTURE[None], 3, axis=0)
    for seed in range(5):
        jittered = JITTER(clip, np.random.default_rng(seed))
        assert (jittered == jittered[:1]).all()
        assert jittered.shape == clip.shape
        assert jittered.dtype == np.uint8
        np.testing.assert_array_equal(jittered, JITTER(clip, np.random.default_rng(seed)))
        assert (jittered != clip).any()


def test_jitter_keeps_to_its_range_and_reaches_it():
    grey = np.full((1, 1, 1, 3), 100, np.uint8)
    rng = np.random.default_rng(0)
    seen = [int(ColorJitter(brightness=0.3)(grey, rng)[0, 0, 0, 0]) for _ in range(500)]
    assert min(seen) in (70, 71)
    assert max(seen) in (129, 130)
    assert ColorJitter()(grey, rng) is grey


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"brightness": -0.1}, "brightness is -0.1"),
        ({"saturation": -1}, "saturation is -1"),
        ({"hue": 0.6}, "hue is 0.6; it must be within 0 to 0.5"),
    ],
)
def test_impossible_jitter_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        ColorJitter(**fields)
