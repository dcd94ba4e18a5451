# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Views and sources by name: what a configuration may say, and what it hears if it may not."""

import dataclasses

import numpy as np
import pytest

from vidpretrain.data import make_source, make_views, source_names
from vidpretrain.data.catalog import _CATALOG
from vidpretrain.data.color import ColorJitter
from vidpretrain.data.digits import Digits, moving_digits, stills
from vidpretrain.data.randaugment import RandAugment
from vidpretrain.data.sampling import DenseWindow, Segments, ShortVideo
from vidpretrain.data.transforms import (
    Augmentation,
    FixedSize,
    Flip,
    MultiScaleCrop,
    ResizedCrop,
    ShiftedCrop,
    ShortSide,
    SpreadCrops,
    TenCrops,
)

SOURCE = moving_digits("test", num_clips=4)


def test_the_plain_recipe_of_videos():
    views = make_views(SOURCE, frames=8, stride=2, test_clips=10, test_crops=3)
    assert views.sampling == DenseWindow(8, 2, 10, ShortVideo.LOOP)
    assert views.augmentation.crop == ResizedCrop(224)
    assert views.augmentation.flip is None
    assert views.test_crops == SpreadCrops(224, ShortSide(256), 3)
    assert (views.frames, views.per_example) == (8, 30)


def test_segments_shifted_and_flipped():
    views = make_views(
        SOURCE,
        sampling="segments",
        frames=4,
        crop="shifted",
        size_px=28,
        short_side_px=32,
        pad_px=2,
        flip=True,
        test_size_px=32,
        test_short_side_px=0,
    )
    assert views.sampling == Segments(4)
    assert views.augmentation.crop == ShiftedCrop(28, ShortSide(32), 2)
    assert views.augmentation.flip == Flip(SOURCE.flip_labels)
    assert views.test_crops == SpreadCrops(32)


def test_fixed_frames_multi_scale_crops_and_other_pixels():
    views = make_views(
        stills("test"),
        frames=1,
        crop="multiscale",
        size_px=224,
        fixed_px=(256, 340),
        color_jitter=(0.4, 0.4, 0.2, 0.0),
        randaugment="rand-m7-mstd0.5-inc1",
        repeats=3,
        test_short_side_px=0,
        test_crops=10,
    )
    fixed = FixedSize(256, 340)
    assert views.augmentation == Augmentation(
        MultiScaleCrop(224, rescale=fixed),
        repaint=(
            ColorJitter(0.4, 0.4, 0.2),
            RandAugment(7.0, magnitude_std=0.5, increasing=True),
        ),
        repeats=3,
    )
    assert views.test_crops == TenCrops(224, fixed)
    assert views.per_example == 10


@dataclasses.dataclass(frozen=True)
class Unmirrorable(Digits):
    """Digits whose mirror images are no digits."""

    flip_labels = None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampling": "denze"}, "views.sampling='denze'; did you mean 'dense'"),
        ({"crop": "shift"}, "views.crop='shift'; did you mean 'shifted'"),
        ({"short": "lop"}, "views.short='lop'; did you mean 'loop'"),
        ({"frames": 0}, "frames is 0"),
        ({"frames": 8, "stride": 4, "short": "refuse"}, "span 29 frames, but a video has 24"),
        ({"crop": "shifted", "size_px": 9, "short_side_px": 8}, "9 px does not fit"),
        ({"size_px": 300}, "A crop of 300 px does not fit"),
        ({"short_side_px": 256}, "no effect on resized crops"),
        ({"fixed_px": (256, 340), "test_short_side_px": 0}, "no effect on resized crops"),
        ({"pad_px": 2}, "views.pad_px=2 has no effect on resized crops"),
        (
            {"crop": "shifted", "short_side_px": 256, "fixed_px": (256, 340)},
            "views.short_side_px=256 exclude each other",
        ),
        (
            {"crop": "shifted", "fixed_px": (256, 340)},
            "views.test_short_side_px=256 exclude each other",
        ),
        ({"test_crops": 10}, "views.test_crops=10 mirrors clips"),
        ({"area": (0.5, 0.2)}, "area is"),
        ({"randaugment": "m7"}, "must begin with rand"),
        ({"repeats": 0}, "repeats is 0"),
    ],
)
def test_impossible_views_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_views(SOURCE, **options)


def test_flips_that_leave_the_classes_are_refused():
    fields = {field.name: getattr(SOURCE, field.name) for field in dataclasses.fields(SOURCE)}
    with pytest.raises(ValueError, match="a mirror image has no class in this data set"):
        make_views(Unmirrorable(**fields), flip=True)


def test_sources_by_name():
    one, other = make_source("moving_digits", split="test", seed=2, noise=0.0), moving_digits
    expected = other("test", 2, noise=0.0)
    np.testing.assert_array_equal(one.frames(3, [1]), expected.frames(3, [1]))
    assert {"moving_digits", "stills", "videos", "frames"} <= set(source_names())
    assert len(make_source("stills", split="train")) == len(stills("train"))


@pytest.mark.parametrize("name", ["moving_digits", "stills"])
def test_every_option_of_the_catalog_is_taken(name):
    values = {"clip_frames": 2, "num_clips": 3, "num_train_clips": 3, "tell_digits": False}
    plain = make_source(name, split="test")
    for option in _CATALOG[name].options:
        value = values[option] if option in values else getattr(plain.scene, option)
        make_source(name, split="test", **{option: value})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("moving_digit", {}, "source.name='moving_digit'; did you mean 'moving_digits'"),
        ("stills", {"canvas": 32}, r"source.canvas: stills has .* did you mean 'canvas_px'"),
        ("stills", {"clip_frames": 3}, "stills has no such option"),
        ("stills", {"canvas_px": 2}, "canvas_px is 2"),
    ],
)
def test_impossible_sources_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        make_source(name, split="test", **options)


def test_training_alone_can_have_a_number_of_clips():
    sizes = [len(make_source("stills", split=s, num_train_clips=7)) for s in ("train", "test")]
    assert sizes == [7, len(stills("test"))]
