# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Resizing, cropping, flipping: values by hand, then properties."""

import numpy as np
import pytest

from vidpretrain.data.color import ColorJitter
from vidpretrain.data.randaugment import RandAugment
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
    corner_crops,
    crop,
    flip,
    resize,
    resize_short_side,
    spread_crops,
)


def coordinates(height: int, width: int, num_frames: int = 1) -> np.ndarray:
    """A clip whose two channels are each pixel's row and column."""
    rows, columns = np.mgrid[:height, :width]
    return np.tile(np.stack([rows, columns], -1).astype(np.uint8), (num_frames, 1, 1, 1))


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [
        ((240, 320), 256, (256, 341)),  # 341.33
        ((320, 240), 256, (341, 256)),
        ((256, 340), 256, (256, 340)),
        ((480, 854), 256, (256, 455)),  # 455.47
        ((3, 5), 2, (2, 3)),  # 3.33
        ((4, 6), 1, (1, 2)),  # 1.5
        ((1, 1), 7, (7, 7)),
    ],
)
def test_short_side(size, short_side, expected):
    assert resize_short_side(np.zeros((2, *size, 3), np.uint8), short_side).shape[1:3] == expected


def test_shrinking_takes_the_mean_of_the_area():
    clip = np.array([[0, 4, 10, 10], [8, 12, 10, 10], [1, 1, 0, 0], [1, 1, 0, 200]], np.uint8)
    assert resize(clip[None, ..., None], 2, 2)[0, ..., 0].tolist() == [[6, 10], [1, 50]]
    # Three pixels to two: each new one covers one and a half.
    line = np.array([[[[10], [40], [100]]]], np.uint8)
    assert resize(line, 1, 2)[0, 0, :, 0].tolist() == [20, 80]


def test_shrinking_does_not_alias():
    stripes = np.zeros((1, 64, 64, 1), np.uint8)
    stripes[:, :, ::2] = 200
    assert np.unique(resize(stripes, 16, 16)).tolist() == [100]


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_enlarging_keeps_constants_and_channels(channels):
    clip = np.full((2, 3, 5, channels), 77, np.uint8)
    enlarged = resize(clip, 9, 10)
    assert enlarged.shape == (2, 9, 10, channels)
    assert (enlarged == 77).all()


def test_resizing_to_the_same_size_copies_nothing():
    clip = noise(2, 4, 6, 3)
    assert resize(clip, 4, 6) is clip


def test_crop_is_the_rectangle_named():
    rectangle = crop(coordinates(6, 8), 2, 3, 2, 4)
    assert rectangle[0, :, 0, 0].tolist() == [2, 3]
    assert rectangle[0, 0, :, 1].tolist() == [3, 4, 5, 6]


def test_crop_beyond_the_frame_is_refused():
    with pytest.raises(ValueError, match=r"5 x 4 at \(2, 3\) is not within frames of 6 x 8"):
        crop(coordinates(6, 8), 2, 3, 5, 4)
    with pytest.raises(ValueError, match="larger short side"):
        SpreadCrops(7)(coordinates(6, 8))


def test_flip_mirrors_left_and_right():
    assert flip(coordinates(2, 3))[0, 1].tolist() == [[1, 2], [1, 1], [1, 0]]


@pytest.mark.parametrize(
    ("size", "num_crops", "corners"),
    [
        ((4, 10), 1, [[0, 3]]),
        ((10, 4), 1, [[3, 0]]),
        ((4, 10), 3, [[0, 0], [0, 3], [0, 6]]),
        ((10, 4), 3, [[0, 0], [3, 0], [6, 0]]),
        ((6, 11), 3, [[1, 0], [1, 3], [1, 7]]),  # The shorter side is centred.
        ((4, 4), 3, [[0, 0], [0, 0], [0, 0]]),
    ],
)
def test_spread_crops(size, num_crops, corners):
    crops = spread_crops(coordinates(*size, num_frames=2), 4, num_crops)
    assert crops.shape == (num_crops, 2, 4, 4, 2)
    assert crops[:, 1, 0, 0].tolist() == corners


def test_resized_crops_keep_to_area_and_shape():
    transform, rng = ResizedCrop(8, area=(0.2, 0.8), aspect=(0.5, 2.0)), np.random.default_rng(0)
    shares, aspects = [], []
    for _ in range(500):
        top, left, height, width = transform.draw(120, 160, rng)
        assert 0 <= top <= 120 - height
        assert 0 <= left <= 160 - width
        shares.append(height * width / (120 * 160))
        aspects.append(width / height)
    # Sides are rounded to pixels; half a pixel is at most 1 % of the shortest possible side.
    assert 0.2 * 0.98 <= min(shares) < 0.25
    assert 0.65 < max(shares) <= 0.8 * 1.02
    assert 0.5 * 0.98 <= min(aspects) < 0.6
    assert 1.7 < max(aspects) <= 2.0 * 1.02


@pytest.mark.parametrize(
    ("size", "expected"),
    [((10, 100), (0, 43, 10, 13)), ((100, 10), (43, 0, 13, 10)), ((1, 1), (0, 0, 1, 1))],
)
def test_resized_crops_of_extreme_frames_are_centred(size, expected):
    transform = ResizedCrop(8, area=(1.0, 1.0))
    assert transform.draw(*size, np.random.default_rng(0)) == expected


def test_shifted_crops_reach_every_place():
    transform, rng = ShiftedCrop(4), np.random.default_rng(0)
    corners = {tuple(transform(coordinates(6, 5), rng)[0, 0, 0]) for _ in range(200)}
    assert corners == {(row, column) for row in range(3) for column in range(2)}


def test_shifted_crops_pad_with_black_and_resize_before():
    transform, rng = ShiftedCrop(6, ShortSide(4), pad_px=1), np.random.default_rng(0)
    clip = transform(np.full((2, 8, 8, 3), 9, np.uint8), rng)
    assert (clip[:, 1:-1, 1:-1] == 9).all()
    assert clip.sum() == 2 * 4 * 4 * 3 * 9


@pytest.mark.parametrize("size", [(20, 30), (30, 20), (10, 12)])
def test_fixed_sizes_ignore_the_shape(size):
    assert FixedSize(10, 12)(noise(2, *size, 3)).shape == (2, 10, 12, 3)


def test_corner_crops():
    crops = corner_crops(coordinates(7, 10), 4)
    assert crops[:, 0, 0, 0].tolist() == [[0, 0], [0, 6], [3, 0], [3, 6], [1, 3]]


def test_ten_crops_are_five_and_their_mirror_images():
    clip = noise(2, 20, 30, 3)
    crops = TenCrops(8, ShortSide(10))(clip)
    expected = corner_crops(resize_short_side(clip, 10), 8)
    assert crops.shape == (10, 2, 8, 8, 3)
    np.testing.assert_array_equal(crops[:5], expected)
    np.testing.assert_array_equal(crops[5:], expected[..., ::-1, :])


# 256 x 340 frames: 256, 224, 192 and 168 (168.96) pixels; the sides are neighbours in that list.
@pytest.mark.parametrize(
    ("size_px", "frame", "sides"),
    [
        (224, (256, 340), (256, 224, 192, 168)),
        # Within 2 pixels of the size that is wanted: that size, so that nothing is resized.
        (190, (256, 340), (256, 224, 190, 168)),
        (112, (340, 120), (120, 105, 90, 79)),
        (104, (340, 120), (120, 104, 90, 79)),
    ],
)
def test_sizes_of_multi_scale_crops(size_px, frame, sides):
    a, b, c, d = sides
    assert MultiScaleCrop(size_px).sizes(*frame) == [
        *((a, a), (a, b), (b, a), (b, b), (b, c)),
        *((c, b), (c, c), (c, d), (d, c), (d, d)),
    ]


def test_multi_scale_crops_lie_in_13_places():
    transform, rng = MultiScaleCrop(4, scales=(0.5,)), np.random.default_rng(0)
    places = {transform.draw(40, 60, rng) for _ in range(500)}
    # 20 x 20 in 40 x 60: steps of 5 and 10 pixels.
    quarters = {(0, 0), (0, 4), (4, 0), (4, 4), (2, 2), (2, 0), (2, 4), (0, 2), (4, 2)}
    quarters |= {(1, 1), (1, 3), (3, 1), (3, 3)}
    assert places == {(5 * down, 10 * right, 20, 20) for down, right in quarters}


@pytest.mark.parametrize("frame", [(1, 1), (3, 50), (100, 101)])
def test_multi_scale_crops_fit_every_frame(frame):
    transform, rng = MultiScaleCrop(8), np.random.default_rng(0)
    for _ in range(100):
        assert transform(noise(1, *frame, 3), rng).shape == (1, 8, 8, 3)


def test_flip_changes_the_label_with_the_clip():
    clip, rng = coordinates(2, 3), np.random.default_rng(0)
    transform = Flip(labels=(1, 0, 2), prob=0.3)
    outcomes = [transform(clip, 0, rng) for _ in range(1000)]
    for shown, label in outcomes:
        np.testing.assert_array_equal(shown, flip(clip) if label == 1 else clip)
    # Five standard deviations about 300 of 1000.
    assert 228 < sum(label for _, label in outcomes) < 372


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(ResizedCrop(8), Flip((0, 1))),
        Augmentation(ShiftedCrop(8, ShortSide(9), pad_px=2), Flip((0, 1))),
        Augmentation(MultiScaleCrop(8, rescale=FixedSize(10, 20)), Flip((0, 1))),
        Augmentation(ResizedCrop(8), repaint=(ColorJitter(0.4, 0.4, 0.4, 0.1), RandAugment())),
    ],
    ids=["resized", "shifted", "multiscale", "repainted"],
)
def test_all_frames_of_a_clip_are_cut_alike(augmentation):
    clip = np.repeat(noise(1, 12, 16, 3), 4, axis=0)
    for seed in range(20):
        cut, _ = augmentation(clip, 1, np.random.default_rng(seed))
        assert cut.shape == (4, 8, 8, 3)
        assert cut.dtype == np.uint8
        assert (cut == cut[:1]).all()
        again, _ = augmentation(clip, 1, np.random.default_rng(seed))
        np.testing.assert_array_equal(cut, again)


def test_an_image_is_cut_as_a_clip_is():
    image = noise(1, 12, 16, 3)
    augmentation = Augmentation(ResizedCrop(8), Flip((0, 1)))
    for seed in range(5):
        one, _ = augmentation(image, 0, np.random.default_rng(seed))
        four, _ = augmentation(np.repeat(image, 4, axis=0), 0, np.random.default_rng(seed))
        np.testing.assert_array_equal(one[0], four[3])


def test_test_crops_resize_first():
    clip = noise(2, 20, 30, 3)
    expected = resize_short_side(clip, 10)[:, 1:9]
    crops = SpreadCrops(8, ShortSide(10), num_crops=3)(clip)
    np.testing.assert_array_equal(crops[0], expected[:, :, :8])
    np.testing.assert_array_equal(crops[2], expected[:, :, -8:])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResizedCrop(0), "size is 0 px"),
        (lambda: ResizedCrop(8, area=(0.0, 1.0)), "area is"),
        (lambda: ResizedCrop(8, area=(0.5, 0.2)), "area is"),
        (lambda: ResizedCrop(8, aspect=(2.0, 1.0)), "aspect is"),
        (lambda: ShiftedCrop(8, pad_px=-1), "pad_px is -1"),
        (lambda: ShiftedCrop(9, ShortSide(4), pad_px=2), "4 px and 2 px of padding"),
        (lambda: SpreadCrops(9, ShortSide(8)), "A crop of 9 px does not fit"),
        (lambda: SpreadCrops(8, num_crops=0), "num_crops is 0"),
        (lambda: Flip((0,), prob=1.5), "prob is 1.5"),
        (lambda: ShortSide(0), "short side's size is 0 px"),
        (lambda: FixedSize(10, 0), "width's size is 0 px"),
        (lambda: TenCrops(9, FixedSize(20, 8)), "A crop of 9 px does not fit"),
        (lambda: MultiScaleCrop(8, scales=(1.5,)), "scales is"),
        (lambda: MultiScaleCrop(8, max_distortion=-1), "max_distortion is -1"),
        (lambda: Augmentation(ResizedCrop(8), repeats=0), "repeats is 0"),
    ],
)
def test_impossible_numbers_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
