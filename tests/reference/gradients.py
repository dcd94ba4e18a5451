# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Gradients of functions that are linear in each operand, from their NumPy reference alone."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


def assert_matches(
    op: Callable, reference: Callable, operands: tuple[np.ndarray, ...], tolerance: float = 2e-5
) -> None:
    """Compare a multilinear operation and its gradients with a reference.

    A map linear in an operand is its own derivative: for a cotangent g and any direction v, the
    gradient's product with v is that of g with the reference of v in the operand's place. Two
    random directions see every element of the gradient.

    Args:
        op: The operation, of JAX arrays.
        reference: The same of float64 NumPy arrays.
        operands: Operands, each of which `op` is linear in.
        tolerance: Largest difference, relative to the largest value (to the norm, for gradients).
    """
    rng = np.random.default_rng(0)
    expected = reference(*operands)
    cotangent = rng.normal(size=expected.shape)

    @jax.jit
    def value_and_gradients(operands: tuple[jax.Array, ...], cotangent: jax.Array):
        value, pullback = jax.vjp(op, *operands)
        return value, pullback(cotangent)

    actual, gradients = value_and_gradients(
        tuple(jnp.asarray(operand, jnp.float32) for operand in operands),
        jnp.asarray(cotangent, jnp.float32),
    )
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())
    for i, (operand, gradient) in enumerate(zip(operands, gradients, strict=True)):
        assert gradient.shape == operand.shape
        for _ in range(2):
            direction = rng.normal(size=operand.shape)
            moved = reference(*operands[:i], direction, *operands[i + 1 :])
            scale = np.linalg.norm(gradient) * np.linalg.norm(direction) / np.sqrt(operand.size)
            difference = np.vdot(np.asarray(gradient, np.float64), direction)
            difference -= np.vdot(cotangent, moved)
            assert abs(difference) <= tolerance * max(scale, 1e-6), f"gradient of operand {i}"
