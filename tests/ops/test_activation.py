# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Activations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidpretrain import ops

X = np.array([-2.0, -0.5, 0.0, 0.5, 7.0])
SIGMOID = 1 / (1 + np.exp(-X))


@pytest.mark.parametrize(
    ("op", "value", "gradient"),
    [
        (ops.relu, [0, 0, 0, 0.5, 7], [0, 0, 0, 1, 1]),
        (ops.relu6, [0, 0, 0, 0.5, 6], [0, 0, 0, 1, 0]),
        (ops.sigmoid, SIGMOID, SIGMOID * (1 - SIGMOID)),
        (ops.swish, X * SIGMOID, SIGMOID * (1 + X * (1 - SIGMOID))),
    ],
)
def test_values_and_gradients(op, value, gradient):
    x = jnp.asarray(X, jnp.float32)
    np.testing.assert_allclose(op(x), value, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(jax.vmap(jax.grad(op))(x), gradient, rtol=1e-5, atol=1e-7)
    assert op(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
