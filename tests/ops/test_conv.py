# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Plain convolutions: by hand, and against the tap-by-tap reference, in both formulations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.reference import conv as reference
from tests.reference.gradients import assert_matches
from vidpretrain import ops

# size (T, H, W), channels, features, kernel, and the arguments that are not the defaults.
CASES = {
    "dense_3x3x3": ((3, 5, 4), 3, 4, (3, 3, 3), {}),
    "dense_3x3x3_strided": ((4, 6, 5), 3, 4, (3, 3, 3), {"strides": (2, 2, 2)}),
    "dense_3x3x3_spatially_strided": ((3, 5, 6), 3, 2, (3, 3, 3), {"strides": (1, 2, 2)}),
    "dense_dilated": ((5, 7, 6), 2, 2, (3, 3, 3), {"dilation": (2, 3, 2)}),
    "dense_unpadded": ((4, 5, 6), 2, 3, (3, 3, 3), {"padding": (0, 0, 0)}),
    "dense_overpadded": ((2, 3, 3), 2, 3, (3, 1, 3), {"padding": (3, 1, 2)}),
    "stem_1x7x7": ((2, 9, 8), 3, 4, (1, 7, 7), {"strides": (1, 2, 2)}),
    "stem_3x7x7": ((3, 8, 9), 3, 4, (3, 7, 7), {"strides": (1, 2, 2)}),
    "stem_5x7x7": ((5, 5, 4), 3, 2, (5, 7, 7), {"strides": (1, 2, 2)}),
    "spatial_1x3x3": ((2, 5, 6), 4, 3, (1, 3, 3), {"strides": (1, 2, 2)}),
    "spatial_dilated": ((2, 5, 6), 4, 3, (1, 3, 3), {"dilation": (1, 2, 2)}),
    "spatial_strided_in_time": ((5, 4, 3), 4, 3, (1, 3, 3), {"strides": (2, 1, 1)}),
    "spatial_padded_in_time": ((2, 4, 3), 2, 3, (1, 3, 3), {"padding": (1, 1, 1)}),
    "temporal_3x1x1": ((5, 3, 4), 4, 6, (3, 1, 1), {}),
    "temporal_strided": ((6, 4, 5), 4, 6, (3, 1, 1), {"strides": (2, 2, 2)}),
    "temporal_dilated": ((5, 3, 2), 4, 6, (3, 1, 1), {"dilation": (2, 1, 1)}),
    "lateral_5x1x1": ((8, 2, 3), 2, 4, (5, 1, 1), {"strides": (4, 1, 1)}),
    "lateral_7x1x1_of_2_frames": ((2, 2, 3), 2, 4, (7, 1, 1), {"strides": (8, 1, 1)}),
    "even_2x2x2": ((4, 5, 6), 2, 3, (2, 2, 2), {"strides": (1, 2, 1)}),
    "point": ((2, 3, 4), 5, 6, (1, 1, 1), {}),
    "point_strided": ((2, 5, 4), 5, 6, (1, 1, 1), {"strides": (1, 2, 2)}),
    "channelwise_3x3x3": ((3, 5, 4), 6, 6, (3, 3, 3), {"groups": 6}),
    "channelwise_strided": ((4, 5, 6), 6, 6, (3, 3, 3), {"groups": 6, "strides": (2, 2, 2)}),
    "channelwise_dilated": ((3, 6, 7), 4, 4, (1, 3, 3), {"groups": 4, "dilation": (1, 2, 3)}),
    "channelwise_strided_and_dilated": (
        (2, 7, 8),
        4,
        4,
        (1, 3, 3),
        {"groups": 4, "strides": (1, 3, 2), "dilation": (1, 2, 1)},
    ),
    "channelwise_5x1x1": ((4, 3, 2), 6, 6, (5, 1, 1), {"groups": 6}),
    "channelwise_multiplied": ((2, 4, 3), 3, 6, (1, 3, 3), {"groups": 3}),
    "channelwise_reduced": ((2, 4, 3), 6, 3, (3, 1, 1), {"groups": 3}),
    "grouped_1x3x3": ((2, 5, 4), 12, 12, (1, 3, 3), {"groups": 4, "strides": (1, 2, 2)}),
    "grouped_3x1x1": ((4, 3, 2), 12, 8, (3, 1, 1), {"groups": 4, "strides": (1, 2, 2)}),
    "grouped_3x3x3": ((3, 4, 5), 8, 4, (3, 3, 3), {"groups": 2, "dilation": (2, 1, 1)}),
    "grouped_point": ((2, 3, 2), 8, 4, (1, 1, 1), {"groups": 4}),
    "image_3x3x3": ((1, 5, 4), 3, 4, (3, 3, 3), {"strides": (1, 2, 2)}),
    "image_channelwise": ((1, 5, 4), 4, 4, (3, 3, 3), {"groups": 4}),
    "image_overpadded_in_time": ((1, 3, 3), 2, 3, (3, 3, 3), {"padding": (2, 1, 1)}),
}


# On other backends only folding of frames and the one-frame rule are ours.
FOR_TPU = [
    "dense_3x3x3_strided",
    "stem_1x7x7",
    "spatial_strided_in_time",
    "spatial_padded_in_time",
    "temporal_dilated",
    "channelwise_strided",
    "grouped_1x3x3",
    "image_3x3x3",
    "image_overpadded_in_time",
]


def operands(size, channels, features, taps, groups=1, batch=2):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(batch, *size, channels))
    return x, rng.normal(size=(*taps, channels // groups, features))


@pytest.mark.parametrize(
    ("case", "platform"), [(c, "cpu") for c in CASES] + [(c, "tpu") for c in FOR_TPU]
)
def test_equals_the_reference(case, platform):
    size, channels, features, taps, arguments = CASES[case]
    arrays = operands(size, channels, features, taps, arguments.get("groups", 1))
    with ops.compile_for(platform):
        assert_matches(
            functools.partial(ops.conv3d, **arguments),
            functools.partial(reference.conv3d, **arguments),
            arrays,
        )


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_values_by_hand(platform):
    x = jnp.arange(1.0, 5.0).reshape(1, 4, 1, 1, 1)
    kernel = jnp.array([1.0, 10.0, 100.0]).reshape(3, 1, 1, 1, 1)
    with ops.compile_for(platform):
        assert ops.conv3d(x, kernel).ravel().tolist() == [210, 321, 432, 43]
        assert ops.conv3d(x, kernel, strides=(2, 1, 1)).ravel().tolist() == [210, 432]
        assert ops.conv3d(x, kernel, dilation=(2, 1, 1)).ravel().tolist() == [310, 420, 31, 42]
        assert ops.conv3d(x, kernel, padding=(0, 0, 0)).ravel().tolist() == [321, 432]


@pytest.mark.parametrize(
    ("groups", "features", "taps", "platform"),
    [
        (1, 4, (3, 3, 3), "cpu"),
        (8, 8, (1, 3, 3), "cpu"),
        (4, 8, (3, 1, 1), "cpu"),
        (1, 4, (3, 3, 3), "tpu"),
        (4, 8, (1, 3, 3), "tpu"),
    ],
)
def test_bfloat16_accumulates_in_float32(groups, features, taps, platform):
    x, kernel = operands((3, 6, 6), 8, features, taps, groups)
    x, kernel = jnp.asarray(x, jnp.bfloat16), jnp.asarray(kernel, jnp.bfloat16)

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
    def value(x, kernel):
        y = ops.conv3d(x, kernel, groups=groups)
        return jnp.sum(jnp.square(y.astype(jnp.float32))), y

    with ops.compile_for(platform):
        (_, y), gradients = value(x, kernel)
        exact, exact_gradients = value(x.astype(jnp.float32), kernel.astype(jnp.float32))
    for a, b in ((y, exact[1]), *zip(gradients, exact_gradients, strict=True)):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(a.astype(jnp.float32), b, atol=0.02 * float(jnp.abs(b).max()))


@pytest.mark.parametrize(("channels", "groups", "taps"), [(64, 8, (1, 3, 3)), (96, 24, (3, 1, 1))])
def test_wide_groups_run_in_parts(channels, groups, taps):
    x, kernel = operands((8, 16, 16), channels, 2 * channels, taps, groups)
    x, kernel = jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)

    def value_and_gradients(x, kernel):
        y, pullback = jax.vjp(functools.partial(ops.conv3d, groups=groups), x, kernel)
        return y, *pullback(y)

    results = []
    for platform in ("cpu", "tpu"):
        with ops.compile_for(platform):
            results.append(jax.jit(value_and_gradients)(x, kernel))
    for here, there in zip(*results, strict=True):
        np.testing.assert_allclose(here, there, rtol=0, atol=2e-5 * float(jnp.abs(there).max()))


def test_keeps_the_dtype_of_the_clip():
    x, kernel = operands((2, 4, 4), 3, 4, (1, 3, 3))
    y = ops.conv3d(jnp.asarray(x, jnp.bfloat16), jnp.asarray(kernel, jnp.float32))
    assert y.dtype == jnp.bfloat16


def test_one_frame_costs_what_an_image_costs():
    x, kernel = jnp.ones((1, 1, 8, 8, 4)), jnp.ones((3, 3, 3, 4, 4))
    middle = kernel[1:2]
    for platform in ("cpu", "tpu"):
        with ops.compile_for(platform):
            video = jax.jit(ops.conv3d).lower(x, kernel).compile().cost_analysis()
            image = jax.jit(ops.conv3d).lower(x, middle).compile().cost_analysis()
        assert video["flops"] == image["flops"]


def test_formulations_for_two_platforms_do_not_mix():
    x, kernel = jnp.ones((1, 2, 4, 4, 4)), jnp.ones((3, 3, 3, 1, 4))
    traced = jax.jit(functools.partial(ops.conv3d, groups=4))
    cpu = traced.lower(x, kernel).as_text()
    with ops.compile_for("tpu"):
        tpu = traced.lower(x, kernel).as_text()
    assert "feature_group_count = 4" in tpu
    assert "feature_group_count = 4" not in cpu
    assert traced.lower(x, kernel).as_text() == cpu


@pytest.mark.parametrize(
    ("shape", "kernel", "arguments", "message"),
    [
        ((2, 4, 4, 3), (1, 1, 1, 3, 4), {}, r"clip must be \[B, T, H, W, C\]"),
        ((1, 2, 4, 4, 3), (1, 1, 3, 4), {}, r"kernel must be \[KT, KH, KW, I, O\]"),
        ((1, 2, 4, 4, 3), (1, 1, 1, 4, 4), {}, "takes 4 input channels per group, but 3"),
        ((1, 2, 4, 4, 6), (1, 1, 1, 2, 4), {"groups": 4}, "4 groups do not divide the 6 input"),
        ((1, 2, 4, 4, 3), (1, 1, 1, 3, 4), {"strides": (1, 0, 1)}, "strides must be three"),
        ((1, 2, 4, 4, 3), (1, 1, 1, 3, 4), {"dilation": (0, 1, 1)}, "dilation must be three"),
        ((1, 2, 4, 4, 3), (1, 1, 1, 3, 4), {"padding": (0, -1, 0)}, "padding must be three"),
        ((1, 2, 4, 4, 3), (3, 1, 1, 3, 4), {"padding": (0, 0, 0)}, "give a larger clip"),
    ],
)
def test_what_does_not_fit_is_an_error(shape, kernel, arguments, message):
    with pytest.raises(ValueError, match=message):
        ops.conv3d(jnp.ones(shape), jnp.ones(kernel), **arguments)


def test_dense_by_hand():
    x, kernel = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[1.0, 10.0], [100.0, 1000.0]])
    assert ops.dense(x, kernel).tolist() == [[201, 2010], [403, 4030]]
    with pytest.raises(ValueError, match="3 channels given"):
        ops.dense(jnp.ones((1, 3)), kernel)
