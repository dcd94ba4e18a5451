# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""RandAugment: its notation, its magnitudes in closed form, its geometry against Pillow."""

import math
from collections import Counter

import cv2
import numpy as np
import pytest
from PIL import Image

from vidpretrain.data.randaugment import CHANGES, RandAugment, parse_randaugment

FILL = (124, 116, 104)
PICTURE = cv2.resize(
    np.random.default_rng(0).integers(256, size=(5, 6, 3), dtype=np.uint8),
    (61, 40),
    interpolation=cv2.INTER_CUBIC,
)


@pytest.mark.parametrize(
    ("notation", "expected"),
    [
        ("rand", RandAugment()),
        ("rand-m7-mstd0.5-inc1", RandAugment(7, magnitude_std=0.5, increasing=True)),
        ("rand-m9-n3-mstd0.5", RandAugment(9, num_changes=3, magnitude_std=0.5)),
        ("rand-mstd1-w0", RandAugment(magnitude_std=1.0, weighted=True)),
        ("rand-m15-mmax20-p0.75", RandAugment(15, magnitude_max=20, prob=0.75)),
        ("rand-m9-mstd101", RandAugment(9, magnitude_std=math.inf)),
        ("rand-m9-mstdinf-inc0", RandAugment(9, magnitude_std=math.inf)),
    ],
)
def test_notation(notation, expected):
    assert parse_randaugment(notation) == expected


@pytest.mark.parametrize(
    ("notation", "message"),
    [
        ("randd-m7", "must begin with rand"),
        ("rand-x3", "unknown part 'x3'; allowed: m, n, mstd, mmax, inc, p, w"),
        ("rand-mx5", "unknown part 'mx5'; did you mean 'mmax'"),
        ("rand-m7-m8", "part 'm' is given twice"),
        ("rand-inc2", "'inc' cannot be '2'"),
        ("rand-m", "'m' cannot be ''"),
        ("rand-m7-", "unknown part ''"),
        ("rand-n1.5", "'n' cannot be '1.5'"),
        ("rand-w1", "'w' cannot be '1'"),
        ("rand-p1.5", "prob is 1.5"),
        ("rand-n14-w0", "num_changes is 14; .* at most 13 where none is chosen twice"),
    ],
)
def test_impossible_notation_is_refused(notation, message):
    with pytest.raises(ValueError, match=message):
        parse_randaugment(notation)


# The arguments at magnitudes 0, 7 and 10, worked out from timm's ranges: linear, and rounded down
# where they count something.
PLAIN = {
    "AutoContrast": (None, None, None),
    "Equalize": (None, None, None),
    "Invert": (None, None, None),
    "Rotate": (0, 21, 30),
    "Posterize": (0, 2, 4),
    "Solarize": (0, 179, 256),
    "SolarizeAdd": (0, 77, 110),
    "Color": (0.1, 1.36, 1.9),
    "Contrast": (0.1, 1.36, 1.9),
    "Brightness": (0.1, 1.36, 1.9),
    "Sharpness": (0.1, 1.36, 1.9),
    "ShearX": (0, 0.21, 0.3),
    "ShearY": (0, 0.21, 0.3),
    "TranslateX": (0, 0.315, 0.45),
    "TranslateY": (0, 0.315, 0.45),
}
INCREASING = PLAIN | {
    "Posterize": (4, 2, 0),
    "Solarize": (256, 77, 0),
    "Color": (1, 1.63, 1.9),
    "Contrast": (1, 1.63, 1.9),
    "Brightness": (1, 1.63, 1.9),
    "Sharpness": (1, 1.63, 1.9),
}
GEOMETRIC = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")


@pytest.mark.parametrize(("increasing", "table"), [(False, PLAIN), (True, INCREASING)])
def test_arguments_of_magnitudes(increasing, table):
    policy = RandAugment(increasing=increasing)
    assert set(table) == set(CHANGES)
    for name, expected in table.items():
        found = [policy.argument(name, m, negated=False) for m in (0.0, 7.0, 10.0)]
        assert found == pytest.approx(list(expected)), name


@pytest.mark.parametrize("increasing", [False, True])
def test_which_arguments_have_two_directions(increasing):
    policy = RandAugment(increasing=increasing)
    for name in CHANGES:
        positive, negative = (policy.argument(name, 7.0, negated=n) for n in (False, True))
        if name in GEOMETRIC:
            assert negative == -positive
        elif increasing and name in ("Color", "Contrast", "Brightness", "Sharpness"):
            assert negative == pytest.approx(2 - positive)
        else:
            assert negative == positive


def test_factors_never_reach_zero_and_counts_stay_in_range_beyond_full_magnitude():
    policy = RandAugment(increasing=True)
    assert policy.argument("Color", 10.0, negated=True) == pytest.approx(0.1)
    assert policy.argument("Color", 20.0, negated=True) == pytest.approx(0.1)
    assert policy.argument("Posterize", 20.0, negated=False) == 0
    assert policy.argument("Solarize", 20.0, negated=False) == 0


def drawn_magnitudes(policy: RandAugment, count: int = 4000) -> np.ndarray:
    """The magnitudes of drawn changes, read off the angles of rotations."""
    rng = np.random.default_rng(0)
    angles = [c.argument for _ in range(count) for c in policy.draw(rng) if c.name == "Rotate"]
    return np.abs(np.array(angles)) / 3


def test_magnitudes_vary_as_told():
    assert set(drawn_magnitudes(RandAugment(7, prob=1.0))) == {7.0}
    normal = drawn_magnitudes(RandAugment(5, magnitude_std=0.5, prob=1.0))
    assert abs(normal.mean() - 5) < 0.1
    assert abs(normal.std() - 0.5) < 0.05
    clipped = drawn_magnitudes(RandAugment(10, magnitude_std=0.5, prob=1.0))
    assert clipped.max() == 10
    assert 0.4 < (clipped == 10).mean() < 0.6
    assert drawn_magnitudes(RandAugment(15, magnitude_max=20, prob=1.0)).max() == 15
    uniform = drawn_magnitudes(RandAugment(8, magnitude_std=math.inf, prob=1.0))
    assert uniform.min() < 0.5
    assert 7.5 < uniform.max() <= 8
    assert abs(uniform.mean() - 4) < 0.4


def test_changes_are_chosen_alike_or_by_weight():
    rng = np.random.default_rng(0)
    alike = Counter(c.name for _ in range(3000) for c in RandAugment(prob=1.0).draw(rng))
    assert set(alike) == set(CHANGES)
    assert max(alike.values()) < 1.3 * min(alike.values())
    halved = sum(len(RandAugment().draw(rng)) for _ in range(3000))
    assert abs(halved / 3000 - 1) < 0.05
    weighted = RandAugment(prob=1.0, weighted=True)
    draws = [[c.name for c in weighted.draw(rng)] for _ in range(3000)]
    assert all(one != other for one, other in draws)
    firsts = Counter(one for one, _ in draws)
    assert 0.26 < firsts["Rotate"] / 3000 < 0.34
    assert firsts["Invert"] == firsts["Posterize"] == 0


@pytest.mark.parametrize(
    ("name", "argument", "matrix"),
    [
        ("ShearX", 0.3, (1, 0.3, 0, 0, 1, 0)),
        ("ShearY", -0.2, (1, 0, 0, -0.2, 1, 0)),
        ("TranslateX", 0.21, (1, 0, 0.21 * 61, 0, 1, 0)),
        ("TranslateY", -0.4, (1, 0, 0, 0, 1, -0.4 * 40)),
        ("Rotate", 17.0, None),
        ("Rotate", -30.0, None),
    ],
)
def test_geometry_is_pillows(name, argument, matrix):
    image = Image.fromarray(PICTURE)
    options = {"resample": Image.Resampling.BILINEAR, "fillcolor": FILL}
    if matrix is None:
        expected = np.asarray(image.rotate(argument, **options))
    else:
        method = Image.Transform.AFFINE
        expected = np.asarray(image.transform(image.size, method, matrix, **options))
    found = CHANGES[name].apply(PICTURE[None], argument, FILL)[0]
    # At the border OpenCV blends with the fill, where Pillow repeats the last pixel. Elsewhere
    # OpenCV rounds positions to 1/32 of a pixel, and neighbours differ by up to 60 levels.
    inside = cv2.erode((expected != FILL).any(-1).astype(np.uint8), np.ones((5, 5))) > 0
    outside = cv2.erode((expected == FILL).all(-1).astype(np.uint8), np.ones((5, 5))) > 0
    assert inside.mean() > 0.3
    difference = np.abs(found.astype(int) - expected.astype(int))
    assert difference[inside].max() <= 10
    assert difference[inside].mean() <= 0.6
    assert difference[outside].max(initial=0) == 0


def test_all_frames_of_a_clip_change_alike():
    policy = parse_randaugment("rand-m9-mstd0.5-inc1-p1")
    clip = np.repeat(PICTURE[None], 3, axis=0)
    for seed in range(40):
        changed = policy(clip[:, :, ::-1], np.random.default_rng(seed))
        assert changed.shape == clip.shape
        assert changed.dtype == np.uint8
        assert (changed == changed[:1]).all()
        again = policy(clip[:, :, ::-1], np.random.default_rng(seed))
        np.testing.assert_array_equal(changed, again)


@pytest.mark.parametrize("fields", [{"magnitude": -1.0}, {"prob": 2.0}, {"num_changes": -1}])
def test_impossible_numbers_are_refused(fields):
    with pytest.raises(ValueError, match=f"{next(iter(fields))} is"):
        RandAugment(**fields)
