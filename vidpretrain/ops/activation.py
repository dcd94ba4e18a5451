# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Activations, each a named operation, for counters treat them differently."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from vidpretrain.ops.platform import jit_as


@jit_as("relu")
def relu(x: Array) -> Array:
    """Return `max(x, 0)`; the gradient at 0 is 0."""
    return jax.nn.relu(x)


@jit_as("relu6")
def relu6(x: Array) -> Array:
    """Return `min(max(x, 0), 6)`, MobileNet's activation; the gradient at 0 and 6 is 0."""
    return jnp.where(x < 6, jax.nn.relu(x), 6)


@jit_as("swish")
def swish(x: Array) -> Array:
    """Return `x * sigmoid(x)`."""
    return jax.nn.swish(x)


@jit_as("sigmoid")
def sigmoid(x: Array) -> Array:
    """Return `1 / (1 + exp(-x))`."""
    return jax.nn.sigmoid(x)
