# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Losses of soft targets, by hand and against a plain NumPy version."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.reference import mixing as reference
from vidpretrain.train import losses
from vidpretrain.train.losses import Loss

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(scale=3.0, size=(5, 4)).astype(np.float32)
TARGET = RNG.dirichlet(np.ones(4), size=5).astype(np.float32)


def test_cross_entropy_by_hand():
    logits = jnp.log(jnp.asarray([[0.5, 0.25, 0.25]]))
    one_hot = jnp.asarray([[1.0, 0.0, 0.0]])
    np.testing.assert_allclose(Loss()(logits, one_hot), [np.log(2)], rtol=1e-6)
    smooth = Loss(label_smoothing=0.3)(logits, one_hot)
    np.testing.assert_allclose(smooth, [0.8 * np.log(2) + 0.2 * np.log(4)], rtol=1e-6)


def test_binary_by_hand():
    """At logits of 0 every class costs log 2; a class that is sure and right costs nothing."""
    target = jnp.asarray([[1.0, 0.0, 0.0, 0.5]])
    np.testing.assert_allclose(losses.binary(jnp.zeros((1, 4)), target), [np.log(2)], rtol=1e-6)
    sure = jnp.asarray([[100.0, -100.0, -100.0, 0.0]])
    np.testing.assert_allclose(losses.binary(sure, target), [np.log(2) / 4], rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["cross_entropy", "binary"])
def test_losses_and_gradients_against_the_reference(kind, smoothing):
    loss = Loss(kind=kind, label_smoothing=smoothing)
    expected, gradient = getattr(reference, kind)(LOGITS, reference.smoothed(TARGET, smoothing))
    np.testing.assert_allclose(loss(LOGITS, TARGET), expected, rtol=2e-6)
    found = jax.grad(lambda logits: loss(logits, TARGET).sum())(jnp.asarray(LOGITS))
    np.testing.assert_allclose(found, gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["cross_entropy", "binary"])
def test_half_precision_logits_are_counted_in_float32(kind):
    logits = jnp.asarray(LOGITS, jnp.bfloat16)
    found = Loss(kind=kind)(logits, TARGET)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, Loss(kind=kind)(logits.astype(jnp.float32), TARGET))


def test_smoothing_and_mixing_commute():
    """timm smooths one-hot rows and mixes them; here mixed rows are smoothed."""
    one, other = np.eye(3)[[0]], np.eye(3)[[2]]
    found = losses.smoothed(jnp.asarray(0.3 * one + 0.7 * other), 0.1)
    on, off = 1 - 0.1 + 0.1 / 3, 0.1 / 3
    np.testing.assert_allclose(found, [[0.3 * on + 0.7 * off, off, 0.3 * off + 0.7 * on]], 1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "binari"}, "loss.kind='binari'; did you mean 'binary'"),
        ({"label_smoothing": 1.0}, "loss.label_smoothing=1.0; it must be at least 0"),
        ({"label_smoothing": -0.1}, "loss.label_smoothing=-0.1"),
    ],
)
def test_impossible_losses_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Loss(**fields)
