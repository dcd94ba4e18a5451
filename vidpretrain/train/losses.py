# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Losses of classification."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax


def cross_entropy(logits: jax.Array, label: jax.Array, *, smoothing: float = 0.0) -> jax.Array:
    """Return the cross-entropy of each example with smoothed one-hot targets.

    The target gives each of the K classes `smoothing / K`, and the true one `1 - smoothing` more.

    Args:
        logits: `[B, K]`.
        label: integers `[B]`.
        smoothing: in [0, 1).

    Returns:
        float32 `[B]`.

    References:
        Szegedy et al., Rethinking the Inception Architecture, 2016, section 7.
    """
    num_classes = logits.shape[-1]
    target = jax.nn.one_hot(label, num_classes, dtype=jnp.float32)
    target = target * (1.0 - smoothing) + smoothing / num_classes
    return optax.softmax_cross_entropy(logits.astype(jnp.float32), target)
