# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""STS: by hand, against the reference, and the properties that the papers' argument rests on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.reference import sts as reference
from tests.reference.gradients import assert_matches
from vidpretrain import ops

# static, size (T, H, W), spatial stride, ratio
VARIANTS = [
    ("raster", (3, 4, 6), 1, (1, 1)),
    ("raster", (2, 5, 3), 1, (1, 2)),
    ("raster", (2, 4, 6), 2, (1, 1)),
    ("raster", (1, 6, 4), 2, (2, 1)),
    ("axis", (3, 5, 4), 1, (1, 1)),
    ("axis", (2, 5, 6), 2, (1, 0)),
    ("dilated", (2, 7, 5), 1, (1, 1)),
    ("dilated", (1, 7, 6), 2, (2, 1)),
]


def operands(size, channels, features, channelwise):
    rng = np.random.default_rng(2)
    taps = (3, 3, 3, 1) if channelwise else (3, 1, 1, channels)
    return rng.normal(size=(2, *size, channels)), rng.normal(size=(*taps, features))


@pytest.mark.parametrize(("static", "size", "stride", "ratio"), VARIANTS)
def test_channelwise_equals_the_reference(static, size, stride, ratio):
    channels = 6
    num_static = {(1, 1): 3, (1, 2): 2, (2, 1): 4, (1, 0): 6}[ratio]
    strides = (1, stride, stride)
    # Compiled faster so; the parts are compared on the CPU, too, as convolutions.
    with ops.compile_for("tpu"):
        assert_matches(
            functools.partial(
                ops.sts_conv, groups=channels, strides=strides, static=static, ratio=ratio
            ),
            functools.partial(
                reference.channelwise_sts, num_static=num_static, strides=strides, static=static
            ),
            operands(size, channels, channels, channelwise=True),
        )


@pytest.mark.parametrize(("static", "size", "stride", "ratio"), VARIANTS[:6])
def test_temporal_equals_the_reference(static, size, stride, ratio):
    features = 8
    # 1:2 is 2.67, nearest even 2; 2:1 is 5.33, nearest even 6.
    num_static = {(1, 1): 4, (1, 2): 2, (2, 1): 6, (1, 0): 8}[ratio]
    strides = (1, stride, stride)
    assert_matches(
        functools.partial(ops.sts_conv, strides=strides, static=static, ratio=ratio),
        functools.partial(
            reference.temporal_sts, num_static=num_static, strides=strides, static=static
        ),
        operands(size, 3, features, channelwise=False),
    )


def test_the_formulation_for_the_cpu_is_equal():
    x, kernel = operands((3, 4, 6), 6, 6, channelwise=True)
    x, kernel = jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)
    here = ops.sts_conv(x, kernel, groups=6, strides=(1, 2, 2))
    with ops.compile_for("tpu"):
        there = ops.sts_conv(x, kernel, groups=6, strides=(1, 2, 2))
    np.testing.assert_allclose(here, there, rtol=0, atol=1e-4)


def test_temporal_raster_wraps_from_row_to_row_by_hand():
    # One 2 x 3 frame [[1, 2, 3], [4, 5, 6]]; each output reads its left and right neighbour.
    x = jnp.arange(1.0, 7.0).reshape(1, 1, 2, 3, 1)
    kernel = jnp.zeros((3, 1, 1, 1, 4)).at[0].set(1.0).at[2].set(10.0)
    y = ops.sts_conv(x, kernel)[0, 0]
    assert y[..., 0].tolist() == [[20, 31, 42], [53, 64, 5]]
    # By columns the line is 1 4 2 5 3 6.
    assert y[..., 1].tolist() == [[40, 54, 65], [21, 32, 3]]
    # One frame has no neighbours in time.
    assert not y[..., 2:].any()
    on_axis = ops.sts_conv(x, kernel, static="axis")[0, 0]
    assert on_axis[..., 0].tolist() == [[20, 31, 2], [50, 64, 5]]
    assert on_axis[..., 1].tolist() == [[40, 50, 60], [1, 2, 3]]


def test_strided_raster_by_hand():
    # 4 x 4 pixels numbered 0..15; stride 2 reads raster indices 0, 4, 8, 12.
    x = jnp.arange(16.0).reshape(1, 1, 4, 4, 1)
    kernel = jnp.zeros((3, 1, 1, 1, 4)).at[1].set(1.0)
    y = ops.sts_conv(x, kernel, strides=(1, 2, 2))[0, 0]
    assert y[..., 0].tolist() == [[0, 4], [8, 12]]
    # Columns: the line is 0 4 8 12 1 5 ..., read at 0, 4, 8, 12 and folded column by column.
    assert y[..., 1].tolist() == [[0, 2], [1, 3]]
    # The dynamic half is aligned with the frame.
    assert y[..., 2].tolist() == [[0, 2], [8, 10]]


def centre_initialised(middle):
    return jnp.pad(jnp.asarray(middle, jnp.float32), [(1, 1), *[(0, 0)] * 4])


@pytest.mark.parametrize("static", ["raster", "axis", "dilated"])
def test_centre_initialised_channelwise_equals_the_image_convolution(static):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 4, 4, 6, 4)), jnp.float32)
    kernel = centre_initialised(rng.normal(size=(1, 3, 3, 1, 4)))
    images = ops.conv3d(x, kernel[1:2], groups=4)
    video = ops.sts_conv(x, kernel, groups=4, static=static)
    np.testing.assert_allclose(video, images, rtol=0, atol=1e-5)


def test_centre_initialised_channelwise_is_exact_on_one_frame():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 1, 4, 6, 4)), jnp.float32)
    kernel = centre_initialised(rng.normal(size=(1, 3, 3, 1, 4)))
    assert jnp.array_equal(ops.sts_conv(x, kernel, groups=4), ops.conv3d(x, kernel[1:2], groups=4))


@pytest.mark.parametrize("static", ["raster", "axis"])
@pytest.mark.parametrize("frames", [1, 4])
def test_centre_initialised_temporal_equals_the_image_convolution(static, frames):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, frames, 4, 6, 4)), jnp.float32)
    kernel = centre_initialised(rng.normal(size=(1, 1, 1, 4, 8)))
    np.testing.assert_allclose(
        ops.sts_conv(x, kernel, static=static), ops.conv3d(x, kernel[1:2]), rtol=0, atol=1e-5
    )


def test_one_frame_trains_every_static_tap():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 1, 4, 4, 4)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(3, 3, 3, 1, 4)), jnp.float32)

    def loss(kernel):
        return jnp.sum(jnp.square(ops.sts_conv(x, kernel, groups=4)))

    with ops.compile_for("tpu"):
        gradient = jax.jit(jax.grad(loss))(kernel)
    assert jnp.all(gradient[..., :2] != 0)
    assert not jnp.any(gradient[jnp.array([0, 2]), ..., 2:])


@pytest.mark.parametrize(
    ("shape", "groups", "arguments"),
    [
        ((3, 1, 1, 4, 8), 1, {"ratio": (0, 1)}),
        ((1, 1, 1, 4, 6), 1, {}),
        ((1, 3, 3, 1, 4), 4, {"strides": (1, 2, 2)}),
    ],
)
def test_degenerates_to_the_plain_convolution(shape, groups, arguments):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(1, 3, 5, 5, 4)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=shape), jnp.float32)
    strides = arguments.get("strides", (1, 1, 1))
    assert jnp.array_equal(
        ops.sts_conv(x, kernel, groups=groups, **arguments),
        ops.conv3d(x, kernel, groups=groups, strides=strides),
    )


@pytest.mark.parametrize(
    ("features", "ratio", "parts", "expected"),
    [
        (64, (1, 1), 2, 32),
        (64, (1, 2), 2, 22),
        (64, (2, 1), 2, 42),
        (64, (1, 0), 2, 64),
        (64, (0, 1), 2, 0),
        (54, (1, 1), 1, 27),
        (54, (1, 2), 1, 18),
        (8, (2, 2), 2, 4),
        (7, (1, 2), 1, 2),
        (5, (4, 1), 2, 4),
        (7, (9, 1), 2, 6),
    ],
)
def test_number_of_static_channels(features, ratio, parts, expected):
    assert ops.static_channels(features, ratio, parts) == expected


@pytest.mark.parametrize(
    ("shape", "groups", "arguments", "message"),
    [
        ((3, 1, 1, 4, 6), 1, {}, "4 equal parts; 6 channels do not divide"),
        ((3, 1, 1, 4, 5), 1, {"ratio": (1, 0)}, "2 equal parts; 5 channels do not divide"),
        ((3, 1, 1, 4, 8), 1, {"ratio": (-1, 2)}, r"ratio must be two .* got \(-1, 2\)"),
        ((3, 1, 1, 4, 8), 1, {"ratio": (0, 0)}, "ratio must be two"),
        ((3, 1, 1, 4, 8), 1, {"strides": (2, 1, 1)}, "temporal stride of 1"),
        ((3, 1, 1, 4, 8), 1, {"strides": (1, 2, 2)}, "5 x 4; use static 'axis'"),
        ((3, 1, 1, 4, 8), 1, {"static": "dilated"}, "takes 'raster' or 'axis'"),
        ((3, 1, 1, 4, 8), 1, {"static": "rasta"}, "did you mean 'raster'"),
        ((2, 1, 1, 4, 8), 1, {}, "odd size, got 2x1x1"),
        ((3, 3, 3, 4, 8), 1, {}, "temporal kernel .* or a channel-wise one"),
        ((5, 3, 3, 1, 4), 4, {}, "got 5x3x3, 4 -> 4 channels in 4 groups"),
        ((3, 3, 3, 2, 4), 2, {}, "in 2 groups"),
    ],
)
def test_what_cannot_be_split_is_an_error(shape, groups, arguments, message):
    with pytest.raises(ValueError, match=message):
        ops.sts_conv(jnp.ones((1, 3, 5, 4, 4)), jnp.ones(shape), groups=groups, **arguments)
