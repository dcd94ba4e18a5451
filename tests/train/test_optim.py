# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Schedules at their corners, and the optimizer against NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidpretrain.train import optim


@pytest.mark.parametrize(
    ("kind", "step", "rate"),
    [
        ("cosine", 0, 0.001),
        ("cosine", 10, 0.4),
        ("cosine", 60, 0.2),
        ("cosine", 35, 0.4 * (1 + math.cos(math.pi / 4)) / 2),
        ("cosine", 110, 0.0),
        ("linear", 60, 0.2),
        ("linear", 110, 0.0),
        ("constant", 60, 0.4),
    ],
)
def test_schedules(kind, step, rate):
    schedule = optim.make_schedule(
        kind=kind, peak_lr=0.4, total_steps=110, warmup_steps=10, warmup_lr=0.001
    )
    np.testing.assert_allclose(schedule(step), rate, rtol=1e-4, atol=1e-8)


def test_a_final_rate_is_reached():
    schedule = optim.make_schedule(
        kind="cosine", peak_lr=0.4, total_steps=20, warmup_steps=0, final_lr=0.1
    )
    np.testing.assert_allclose([schedule(0), schedule(20)], [0.4, 0.1], rtol=1e-6)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_the_recurrence_of_the_recipes(nesterov):
    """Clip, add the decay, enter the momentum, scale by the rate: all in float64 NumPy."""
    rates = [0.1, 0.05, 0.02]
    optimizer = optim.make_optimizer(
        name="sgd",
        schedule=lambda step: jnp.asarray(rates)[step],
        momentum=0.9,
        nesterov=nesterov,
        weight_decay=0.01,
        clip_norm=1.0,
    )
    rng = np.random.default_rng(0)
    params = {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}
    expected = {name: value.copy() for name, value in params.items()}
    velocity = {name: np.zeros_like(value) for name, value in params.items()}
    params = jax.tree.map(jnp.float32, params)
    state = optimizer.init(params)
    for rate in rates:
        grads = {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}
        norm = math.sqrt(sum((g**2).sum() for g in grads.values()))
        for name in expected:
            g = grads[name] * min(1.0, 1.0 / norm)
            g = g + 0.01 * expected[name] * (name == "kernel")
            velocity[name] = 0.9 * velocity[name] + g
            step = g + 0.9 * velocity[name] if nesterov else velocity[name]
            expected[name] -= rate * step
        updates, state = optimizer.update(jax.tree.map(jnp.float32, grads), state, params)
        params = jax.tree.map(jnp.add, params, updates)
    for name, value in expected.items():
        np.testing.assert_allclose(params[name], value, rtol=1e-5)


def test_decay_leaves_norms_and_biases_out():
    mask = optim.decay_mask({"conv": {"kernel": jnp.zeros((1, 3, 3, 2, 4))}, "b": jnp.zeros(4)})
    assert mask == {"conv": {"kernel": True}, "b": False}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "sdg"}, "optim.name='sdg'; did you mean 'sgd'"),
        ({"decayed": "none"}, "optim.decayed='none'"),
        ({"momentum": 1.0}, "optim.momentum=1.0"),
        ({"weight_decay": -1.0}, "optim.weight_decay=-1.0"),
    ],
)
def test_bad_optimizers_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        optim.make_optimizer(**{"name": "sgd", "schedule": lambda step: 0.1, **changes})


@pytest.mark.parametrize(("kind", "warmup"), [("cosin", 0), ("cosine", 10), ("cosine", 11)])
def test_bad_schedules_are_refused(kind, warmup):
    with pytest.raises(ValueError, match="schedule"):
        optim.make_schedule(kind=kind, peak_lr=0.1, total_steps=10, warmup_steps=warmup)
