# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.reference import norm as reference
from vidpretrain import ops


def test_by_hand():
    x = jnp.array([0.0, 2.0, 4.0, 6.0]).reshape(1, 4, 1, 1, 1)
    mean, var = ops.batch_moments(x)
    assert (mean.tolist(), var.tolist()) == ([3.0], [5.0])
    y = ops.batch_norm(x, mean, jnp.array([3.0]), jnp.array([2.0]), jnp.array([1.0]), eps=1.0)
    assert y.ravel().tolist() == [-2, 0, 2, 4]


def test_training_equals_the_reference_with_its_gradient():
    rng = np.random.default_rng(11)
    x, cotangent = rng.normal(3, 2, size=(2, 2, 3, 2, 3, 4))
    scale, bias = rng.uniform(0.5, 1, size=(2, 4))

    def normalised(x):
        return ops.batch_norm(
            x, *ops.batch_moments(x), jnp.float32(scale), jnp.float32(bias), eps=1e-3
        )

    @jax.jit
    def value_and_gradient(x, cotangent):
        value, pullback = jax.vjp(normalised, x)
        return value, *pullback(cotangent)

    actual, gradient = value_and_gradient(jnp.asarray(x, jnp.float32), jnp.float32(cotangent))
    np.testing.assert_allclose(
        actual, reference.batch_norm(x, scale, bias, 1e-3), rtol=0, atol=1e-5
    )
    for index in list(np.ndindex(x.shape))[::5]:
        step = np.zeros_like(x)
        step[index] = 1e-5
        up, down = (
            np.vdot(cotangent, reference.batch_norm(x + sign * step, scale, bias, 1e-3))
            for sign in (1, -1)
        )
        np.testing.assert_allclose(gradient[index], (up - down) / 2e-5, rtol=0, atol=1e-4)


def test_moments_survive_a_mean_far_from_zero():
    x = jnp.asarray(np.random.default_rng(12).normal(1000, 1, size=(4, 2, 8, 8, 2)), jnp.float32)
    _, var = ops.batch_moments(x)
    np.testing.assert_allclose(var, np.asarray(x, np.float64).var((0, 1, 2, 3)), rtol=1e-3)


def test_bfloat16_is_normalised_in_float32():
    x = jnp.asarray(np.random.default_rng(13).normal(100, 1, size=(2, 2, 8, 8, 3)), jnp.bfloat16)
    mean, var = ops.batch_moments(x)
    assert mean.dtype == var.dtype == jnp.float32
    y = ops.batch_norm(x, mean, var, jnp.ones(3), jnp.zeros(3), eps=1e-5)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32).std((0, 1, 2, 3)), 1, atol=0.02)
