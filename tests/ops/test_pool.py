# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pooling."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.reference import pool as reference
from tests.reference.gradients import assert_matches
from vidpretrain import ops

WINDOWS = [
    ((2, 7, 6), (1, 3, 3), (1, 2, 2), (0, 1, 1)),
    ((3, 4, 5), (1, 2, 2), (1, 2, 2), (0, 0, 0)),
    ((4, 5, 4), (3, 3, 3), (2, 1, 2), (1, 1, 1)),
    ((2, 3, 3), (1, 3, 3), (1, 1, 1), (0, 1, 1)),
]


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
@pytest.mark.parametrize(("size", "window", "strides", "padding"), WINDOWS)
def test_max_pool_equals_the_reference(size, window, strides, padding, platform):
    x = np.random.default_rng(8).normal(size=(2, *size, 3))
    arguments = {"strides": strides, "padding": padding}
    expected = reference.pool(x, window, strides, padding, "max")
    cotangent = np.random.default_rng(9).normal(size=expected.shape)

    def loss(x):
        y = ops.max_pool(x, window, **arguments)
        return jnp.sum(y * cotangent), y

    with ops.compile_for(platform):
        (_, actual), gradient = jax.value_and_grad(loss, has_aux=True)(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)
    # Each maximum hands its cotangent to the element that it was.
    expected_gradient = np.zeros_like(x)
    for index in np.ndindex(expected.shape):
        (source,) = np.argwhere(x == expected[index])
        expected_gradient[tuple(source)] += cotangent[index]
    np.testing.assert_allclose(gradient, expected_gradient, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("size", "window", "strides", "padding"), WINDOWS)
def test_avg_pool_equals_the_reference(size, window, strides, padding):
    arguments = {"strides": strides, "padding": padding}
    assert_matches(
        functools.partial(ops.avg_pool, window=window, **arguments),
        functools.partial(reference.pool, window=window, **arguments, kind="avg"),
        (np.random.default_rng(8).normal(size=(2, *size, 3)),),
    )


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_a_tied_maximum_has_one_gradient(platform):
    # After a ReLU whole windows are zero; the first of equals takes the gradient, as in PyTorch.
    with ops.compile_for(platform):
        pool = functools.partial(ops.max_pool, window=(1, 2, 2), strides=(1, 2, 2))
        gradient = jax.grad(lambda x: jnp.sum(pool(x)))(jnp.zeros((1, 1, 2, 4, 1)))
    assert gradient.ravel().tolist() == [1, 0, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("axes", [(1, 2, 3), (2, 3), (1,)])
def test_global_pools_keep_their_axes(axes):
    x = np.random.default_rng(10).normal(size=(2, 3, 4, 5, 6))
    for op in (ops.adaptive_avg_pool, ops.functional_avg_pool):
        assert_matches(
            functools.partial(op, axes=axes), lambda x: x.mean(axes, keepdims=True), (x,)
        )


def test_global_pools_add_up_bfloat16_in_float32():
    x = jnp.ones((1, 8, 64, 64, 1), jnp.bfloat16)
    assert ops.adaptive_avg_pool(x).item() == 1
    assert ops.avg_pool(x, (8, 64, 64)).item() == 1


def test_a_window_larger_than_the_clip_is_an_error():
    for op in (ops.max_pool, ops.avg_pool):
        with pytest.raises(ValueError, match=r"window of \(1, 7, 7\) .* give a larger clip"):
            op(jnp.ones((1, 2, 4, 4, 3)), (1, 7, 7))
