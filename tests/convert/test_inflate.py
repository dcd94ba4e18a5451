# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""One network's leaves made of another's: every value by hand, every misfit an error."""

import json
from fractions import Fraction

import jax
import numpy as np
import pytest

from vidpretrain.convert.inflate import Init, LeafRule, cut_kernel, inflate, inflate_kernel
from vidpretrain.convert.tree import MismatchError

KERNEL = "params/stage3/block0/conv1/conv/kernel"
SCALE = "params/stage3/block0/conv1/norm/scale"
HEAD = "params/head/kernel"


def array(*shape, dtype=np.float32):
    return np.arange(1, np.prod(shape, dtype=int) + 1, dtype=dtype).reshape(shape)


def wanted(**shapes):
    return {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}


def no_draw(names):
    raise AssertionError(f"nothing is new, but {names}")


def make(source, shapes, init="center", **options):
    target = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}
    return inflate(source, target, no_draw, init=Init.parse(init), **options)


@pytest.mark.parametrize(
    ("init", "factors", "action"),
    [
        ("center", [0, 1, 0], "centre-initialised"),
        ("average", [1 / 3, 1 / 3, 1 / 3], "average-initialised"),
        ("1/9,1/3,1/9", [1 / 9, 1 / 3, 1 / 9], "rates-initialised"),
        ("0.5, 0, -1", [0.5, 0, -1], "rates-initialised"),
    ],
)
def test_taps_are_the_2d_kernel_times_their_rates(init, factors, action):
    kernel = array(1, 3, 3, 2, 4)
    values, report = make({KERNEL: kernel}, {KERNEL: (3, 3, 3, 2, 4)}, init)
    for tap, factor in enumerate(factors):
        np.testing.assert_array_equal(
            values[KERNEL][tap], np.float32(factor * np.float64(kernel[0]))
        )
    assert [leaf.action for leaf in report.leaves] == [action]


def test_centre_of_five_taps():
    kernel = array(1, 1, 1, 2, 2)
    values, _ = make({KERNEL: kernel}, {KERNEL: (5, 1, 1, 2, 2)})
    assert (values[KERNEL][[0, 1, 3, 4]] == 0).all()
    np.testing.assert_array_equal(values[KERNEL][2], kernel[0])


def test_average_keeps_a_still_clips_response():
    kernel = array(1, 3, 3, 2, 4)
    inflated = inflate_kernel(kernel, np.full(3, 1 / 3))
    np.testing.assert_allclose(inflated.sum(axis=0), kernel[0], rtol=1e-6)


def test_zero_taps_are_plus_zero():
    inflated = inflate_kernel(-array(1, 1, 1, 2, 2), np.array([0.0, 1.0, 0.0]))
    assert not np.signbit(inflated[0]).any()


def test_the_most_special_part_decides():
    init = Init.parse("center; stage3=average; stage3/block0=1/2,1/2,1/2")
    np.testing.assert_array_equal(init.taps(KERNEL, 3), [0.5, 0.5, 0.5])
    np.testing.assert_allclose(init.taps("params/stage3/block1/conv/kernel", 3), [1 / 3] * 3)
    np.testing.assert_array_equal(init.taps("params/stage4/block0/conv/kernel", 3), [0, 1, 0])
    np.testing.assert_array_equal(init.taps("params/slow/stage30/conv/kernel", 3), [0, 1, 0])
    assert init.rates == "center"
    assert init.parts[1] == ("stage3/block0", (Fraction(1, 2),) * 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("centre", "did you mean 'center'"),
        ("1/0", "is no rates such as"),
        ("", "is no rates such as"),
        ("center;stage4", "names no part"),
    ],
)
def test_a_wrong_initialisation_is_an_error(text, message):
    with pytest.raises(ValueError, match=message):
        Init.parse(text)


@pytest.mark.parametrize("tap", [0, 1, 2])
def test_a_tap_is_cut_out(tap):
    kernel = array(3, 3, 3, 2, 4)
    values, report = make({KERNEL: kernel}, {KERNEL: (1, 3, 3, 2, 4)}, tap=tap)
    np.testing.assert_array_equal(values[KERNEL][0], kernel[tap])
    assert report.leaves[0].action == "cut"


def test_taps_of_longer_kernels_count_from_the_centre():
    kernel = array(5, 1, 1, 1, 1)
    assert [cut_kernel(kernel, tap).item() for tap in (0, 1, 2)] == [2, 3, 4]


def test_centre_initialisation_then_the_centre_cut_gives_the_image_network_back():
    kernel = array(1, 3, 3, 2, 4)
    video, _ = make({KERNEL: kernel}, {KERNEL: (3, 3, 3, 2, 4)})
    image, _ = make(video, {KERNEL: (1, 3, 3, 2, 4)}, tap=1)
    np.testing.assert_array_equal(image[KERNEL], kernel)


@pytest.mark.parametrize("taps", [1, 3])
def test_a_stem_for_other_channels_gets_the_mean_of_the_colours(taps):
    stem = "params/slow/stem/conv/kernel"
    kernel = array(1, 2, 2, 3, 4)
    values, report = make({stem: kernel}, {stem: (taps, 2, 2, 10, 4)})
    assert [leaf.action for leaf in report.leaves] == ["colour-averaged"]
    colours = kernel[0, 1, 0, :, 2]  # of one place and one output
    np.testing.assert_array_equal(
        values[stem][taps // 2, 1, 0, :, 2], np.full(10, colours.sum() / 3)
    )
    assert (np.delete(values[stem], taps // 2, axis=0) == 0).all()


@pytest.mark.parametrize(
    ("name", "given"), [(KERNEL, (1, 2, 2, 3, 4)), ("params/stem/conv/kernel", (1, 2, 2, 2, 4))]
)
def test_no_other_kernel_is_averaged_over_channels(name, given):
    with pytest.raises(MismatchError, match=r"\[1, 2, 2, 10, 4\]"):
        make({name: array(*given)}, {name: (1, 2, 2, 10, 4)})


def test_equal_shapes_are_copied_in_the_wanted_type():
    half = array(4, dtype=np.float16)
    values, report = make(
        {SCALE: half, KERNEL: array(3, 1, 1, 2, 2)}, {KERNEL: (3, 1, 1, 2, 2), SCALE: (4,)}
    )
    assert values[SCALE].dtype == np.float32
    np.testing.assert_array_equal(values[SCALE], [1, 2, 3, 4])
    assert report.counts() == {"copied": 2}


def test_a_classifier_of_other_classes_is_drawn_anew():
    source = {HEAD: array(8, 10), "params/head/bias": array(10)}
    target = wanted(**{HEAD: (8, 40), "params/head/bias": (40,)})
    asked = []

    def draw(names):
        asked.extend(names)
        return {name: np.full(target[name].shape, 7, np.float32) for name in names}

    values, report = inflate(source, target, draw)
    assert asked == [HEAD, "params/head/bias"]
    assert (values[HEAD] == 7).all()
    assert report.counts() == {"new": 2, "unused": 2}


def test_rules_make_leaves_that_an_image_network_has_not():
    rules = (
        LeafRule("params/(.*)/conv/temporal/kernel"),
        LeafRule(
            "params/(.*)/conv/spatial/kernel",
            source=r"params/\1/conv/kernel",
            derive=lambda kernel, shape: kernel[..., : shape[-2], :],
        ),
        LeafRule(unused="params/old/.*"),
    )
    source = {KERNEL: array(1, 3, 3, 4, 2), "params/old/bias": array(3)}
    spatial = "params/stage3/block0/conv1/conv/spatial/kernel"
    temporal = "params/stage3/block0/conv1/conv/temporal/kernel"
    target = wanted(**{spatial: (1, 3, 3, 3, 2), temporal: (3, 1, 1, 1, 2)})
    values, report = inflate(
        source,
        target,
        lambda names: {name: np.zeros((3, 1, 1, 1, 2)) for name in names},
        rules=rules,
    )
    np.testing.assert_array_equal(values[spatial], source[KERNEL][..., :3, :])
    assert report.counts() == {"derived": 1, "new": 1, "unused": 1}


@pytest.mark.parametrize(
    ("source", "shapes", "message"),
    [
        ({}, {KERNEL: (1, 1, 1, 2, 2)}, rf"\+ {KERNEL}: float32\[1, 1, 1, 2, 2\] is missing"),
        (
            {KERNEL: array(1, 1, 1, 2, 2), SCALE: array(2)},
            {KERNEL: (1, 1, 1, 2, 2)},
            rf"- {SCALE}: float32\[2\] has no place",
        ),
        ({SCALE: array(2)}, {SCALE: (3,)}, rf"- {SCALE}: float32\[2\]\n\+ {SCALE}: float32\[3\]"),
        ({KERNEL: array(1, 3, 3, 2, 2)}, {KERNEL: (3, 1, 1, 2, 2)}, r"float32\[3, 1, 1, 2, 2\]"),
        ({KERNEL: array(3, 1, 1, 2, 2)}, {KERNEL: (1, 1, 1, 2, 2)}, "--tap"),
        ({KERNEL: array(5, 1, 1, 2, 2)}, {KERNEL: (3, 1, 1, 2, 2)}, "5 taps do not become 3"),
        ({SCALE: np.array([1, np.nan])}, {SCALE: (2,)}, f"- {SCALE}: .* not finite"),
        ({SCALE: np.array([1, -np.inf])}, {SCALE: (2,)}, f"- {SCALE}: .* not finite"),
        ({HEAD: array(8, 10)}, {HEAD: (9, 40)}, rf"- {HEAD}: float32\[8, 10\]"),
    ],
)
def test_what_fits_no_rule_is_an_error(source, shapes, message):
    with pytest.raises(MismatchError, match=message):
        make(source, shapes)


def test_rates_of_another_number_of_taps_are_an_error():
    with pytest.raises(MismatchError, match="3 rates were given, and the kernel has 5 taps"):
        make({KERNEL: array(1, 1, 1, 2, 2)}, {KERNEL: (5, 1, 1, 2, 2)}, "1/9,1/3,1/9")


def test_a_part_that_does_not_exist_is_an_error():
    with pytest.raises(MismatchError, match="'stage9' is no part"):
        make({SCALE: array(2)}, {SCALE: (2,)}, "center;stage9=average")


def test_every_misfit_is_listed_and_long_lists_are_cut():
    source = {f"params/layer{n}/bias": array(1) for n in range(60)}
    with pytest.raises(MismatchError, match="and 20 more") as error:
        make(source, {})
    assert str(error.value).count("has no place") == 40


def test_the_report_reads_well_and_as_json():
    _, report = make(
        {KERNEL: array(1, 1, 1, 2, 2), SCALE: array(2)}, {KERNEL: (3, 1, 1, 2, 2), SCALE: (2,)}
    )
    lines = report.to_text().splitlines()
    assert lines[0].startswith(f"centre-initialised  {KERNEL} [3, 1, 1, 2, 2]  <- ")
    assert lines[1] == f"copied              {SCALE} [2]"
    assert lines[2] == "2 leaves: 1 centre-initialised, 1 copied"
    read = json.loads(report.to_json(init="center"))
    assert read["init"] == "center"
    assert read["leaves"][1] == {
        "name": SCALE,
        "action": "copied",
        "shape": [2],
        "source": SCALE,
        "source_shape": [2],
    }
