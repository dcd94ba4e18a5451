# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Schedules at their corners, and the optimizer against NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.reference.optimizers import Adam
from vidpretrain.config import base
from vidpretrain.train import optim, paths
from vidpretrain.train.duration import Budget
from vidpretrain.train.plan import resolve_schedule

# Examples of the training sets, as the papers count them.
IMAGENET, KINETICS, SSV1, SSV2 = 1_281_167, 240_000, 86_017, 168_913


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


def test_a_step_schedule_drops_at_its_milestones():
    schedule = optim.make_schedule(
        kind="step",
        peak_lr=0.4,
        total_steps=100,
        warmup_steps=10,
        milestone_steps=(40, 80),
        decay_factor=0.1,
    )
    rates = [float(schedule(step)) for step in (5, 10, 39, 40, 79, 80, 99)]
    np.testing.assert_allclose(rates, [0.2, 0.4, 0.4, 0.04, 0.04, 0.004, 0.004], rtol=1e-6)


def test_a_rate_is_held_over_an_epoch_that_begins_within_a_batch():
    """7 examples in batches of 2: epochs begin at examples 0, 7, 14, 21 of steps 0, 4, 7, 11."""
    held = optim.hold_over_epochs(lambda step: step, total_steps=12, batch_size=2, num_examples=7)
    assert [int(held(step)) for step in range(12)] == [0, 0, 0, 0, 4, 4, 4, 7, 7, 7, 7, 11]
    assert int(jax.jit(held)(6)) == 4


# Total steps and the rates at step 0, the end of the warm-up, half of all steps, and the end;
# by hand: a line to the peak, then peak / 2 * (1 + cos(pi * (step - warm-up) / (all - warm-up))).
FAMILIES = {
    "STS image, 100 epochs": (
        (IMAGENET, 1024, "100 epochs", 0.4, 1024, "5 epochs", 1e-6),
        (125_114, {0: 1e-6, 6_256: 0.4, 62_557: 0.216517, 125_114: 0.0}),
    ),
    "STS image, 150 epochs": (
        (IMAGENET, 1024, "150 epochs", 0.4, 1024, "5 epochs", 1e-6),
        (187_671, {0: 1e-6, 6_256: 0.4, 93_835: 0.210830, 187_671: 0.0}),
    ),
    "STS image, 300 epochs": (
        (IMAGENET, 1024, "300 epochs", 5e-3, 1024, "5 epochs", 5e-6),
        (375_342, {0: 5e-6, 6_256: 5e-3, 187_671: 2.566555e-3, 375_342: 0.0}),
    ),
    "STS K400, SlowFast, CSN, R(2+1)D": (
        (KINETICS, 64, "50 epochs", 0.01, 64, "5 epochs", 0.0),
        (187_500, {0: 0.0, 18_750: 0.01, 93_750: 5.868241e-3, 187_500: 0.0}),
    ),
    "STS K400, SlowOnly": (
        (KINETICS, 128, "50 epochs", 0.02, 128, "5 epochs", 0.0),
        (93_750, {0: 0.0, 9_375: 0.02, 46_875: 0.01173648, 93_750: 0.0}),
    ),
    "STS K400, X3D-S": (
        (KINETICS, 64, "100 epochs", 0.02, 64, "5 epochs", 0.0),
        (375_000, {0: 0.0, 18_750: 0.02, 187_500: 0.01082579, 375_000: 0.0}),
    ),
    "STS SSv2": (
        (SSV2, 64, "50 epochs", 0.1, 64, "5 epochs", 0.0),
        (131_963, {0: 0.0, 13_196: 0.1, 65_981: 0.05868284, 131_963: 0.0}),
    ),
    "STH SSv1": (
        (SSV1, 64, "50 epochs", 0.01, 64, "0 epochs", 0.0),
        (67_201, {0: 0.01, 33_600: 0.005000117, 67_201: 0.0}),
    ),
    "CT SSv1": (
        (SSV1, 64, "45 epochs", 0.02, 64, "10 epochs", 0.0),
        (60_481, {0: 0.0, 13_440: 0.02, 30_240: 0.01433905, 60_481: 0.0}),
    ),
    "CT K400": (
        (KINETICS, 64, "110 epochs", 0.01, 64, "10 epochs", 0.0),
        (412_500, {0: 0.0, 37_500: 0.01, 206_250: 5.782172e-3, 412_500: 0.0}),
    ),
}


@pytest.mark.parametrize(("recipe", "expected"), FAMILIES.values(), ids=FAMILIES)
def test_schedules_of_the_papers(recipe, expected):
    examples, batch_size, duration, base_lr, base_batch, warmup, warmup_lr = recipe
    total, rates = expected
    section = base().schedule.to_dict() | {
        "base_lr": base_lr,
        "base_batch": base_batch,
        "warmup": warmup,
        "warmup_lr": warmup_lr,
    }
    budget = Budget(batch_size, examples)
    assert budget.steps(duration) == total
    schedule = resolve_schedule(section, budget, total)
    for step, rate in rates.items():
        # float32: exact to 1e-7 of the peak.
        np.testing.assert_allclose(schedule(step), rate, rtol=1e-5, atol=1e-7 * base_lr)


def test_the_rate_is_scaled_from_the_base_batch():
    section = base().schedule.to_dict() | {"base_lr": 0.1, "base_batch": 64, "warmup": "0 steps"}
    schedule = resolve_schedule(section, Budget(256, KINETICS), 100)
    np.testing.assert_allclose(schedule(0), 0.4, rtol=1e-6)


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


def run_adaptive(name, reference, decays, trusted, **options):
    """Take three steps by optax in float32 and by the reference in float64; return both."""
    rates = [0.1, 0.05, 0.02]
    optimizer = optim.make_optimizer(
        name=name,
        schedule=lambda step: jnp.asarray(rates)[step],
        beta1=0.8,
        beta2=0.9,
        eps=1e-3,
        **options,
    )
    rng = np.random.default_rng(0)
    expected = {"kernel": rng.normal(size=(3, 2)), "scale": rng.normal(size=2), "bias": np.zeros(2)}
    params = jax.tree.map(jnp.float32, expected)
    state = optimizer.init(params)
    for rate in rates:
        grads = {key: rng.normal(size=w.shape) for key, w in expected.items()}
        expected = reference.step(expected, grads, rate, decays, trusted)
        updates, state = optimizer.update(jax.tree.map(jnp.float32, grads), state, params)
        params = optax.apply_updates(params, updates)
    return params, expected


@pytest.mark.parametrize("name", ["adamw", "lamb"])
@pytest.mark.parametrize("decayed", ["kernels", "all"])
def test_adaptive_optimizers_equal_their_papers(name, decayed):
    """With `kernels`, norms and biases are neither decayed nor, in LAMB, scaled."""
    reference = Adam(0.8, 0.9, 1e-3, trust=name == "lamb")
    reached = {"kernel"} if decayed == "kernels" else {"kernel", "scale", "bias"}
    decays = {key: 0.02 * (key in reached) for key in ("kernel", "scale", "bias")}
    params, expected = run_adaptive(
        name, reference, decays, reached, weight_decay=0.02, decayed=decayed
    )
    for key, value in expected.items():
        np.testing.assert_allclose(params[key], value, rtol=1e-5)


def test_lamb_that_reaches_all_is_that_of_optax():
    params = {"kernel": jnp.ones((2, 3)), "bias": jnp.full(3, 0.5)}
    grads = {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.asarray([1.0, -1.0, 2.0])}
    ours = optim.make_optimizer(
        name="lamb", schedule=lambda step: 0.1, weight_decay=0.02, decayed="all"
    )
    theirs = optax.lamb(0.1, weight_decay=0.02)
    got, want = (o.update(grads, o.init(params), params)[0] for o in (ours, theirs))
    jax.tree.map(np.testing.assert_array_equal, got, want)


CT_FACTORS = (("head/kernel", 5.0), ("head/bias", 10.0), ("*bias", 2.0))


@pytest.mark.parametrize("name", ["sgd", "adamw", "lamb"])
def test_factors_multiply_the_rate_of_the_first_pattern_that_matches(name):
    params = {
        "stem": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
        "head": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
    }
    grads = jax.tree.map(lambda w: 0.3 * w, params)
    plain, scaled = (
        optim.make_optimizer(
            name=name, schedule=lambda step: 0.1, weight_decay=0.01, lr_factors=factors
        )
        for factors in ((), CT_FACTORS)
    )
    before, after = (o.update(grads, o.init(params), params)[0] for o in (plain, scaled))
    expected = {"stem": {"kernel": 1.0, "bias": 2.0}, "head": {"kernel": 5.0, "bias": 10.0}}
    jax.tree.map(
        lambda factor, b, a: np.testing.assert_allclose(a, factor * b, rtol=1e-6),
        expected,
        before,
        after,
    )


def test_frozen_parameters_have_no_memory_and_do_not_count_in_the_norm():
    params = {"stem": {"kernel": jnp.ones((7, 7))}, "head": {"kernel": jnp.ones((3, 4))}}
    optimizer = optim.make_optimizer(
        name="lamb", schedule=lambda step: 0.1, weight_decay=0.1, frozen=("stem/*",)
    )
    shapes = [leaf.shape for leaf in jax.tree.leaves(optimizer.init(params)) if leaf.ndim]
    assert shapes == [(3, 4), (3, 4)]

    clipped = optim.make_optimizer(
        name="sgd", schedule=lambda step: 1.0, momentum=0.0, clip_norm=2.0, frozen=("stem/*",)
    )
    grads = {"stem": {"kernel": jnp.zeros((7, 7))}, "head": {"kernel": jnp.ones((3, 4))}}
    updates, _ = clipped.update(grads, clipped.init(params), params)
    np.testing.assert_allclose(updates["head"]["kernel"], -2 / math.sqrt(12), rtol=1e-6)


PATHS = {"stem": {"norm": {"scale": 0, "bias": 0}}, "stage1": {"norm": {"scale": 0, "bias": 0}}}


def test_partial_batch_norm_is_one_pattern():
    frozen = paths.map_by_path(lambda path, _: paths.matches(path, ("stage*/norm/*",)), PATHS)
    assert frozen == {
        "stem": {"norm": {"scale": False, "bias": False}},
        "stage1": {"norm": {"scale": True, "bias": True}},
    }


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (("stem/norm/scales",), "optim.frozen: 'stem/norm/scales' matches no parameter; did you"),
        (("stem/*", "stem/norm/*"), "earlier patterns have taken all that 'stem/norm/\\*' matches"),
    ],
)
def test_patterns_of_no_use_are_refused(patterns, message):
    with pytest.raises(ValueError, match=message):
        paths.check_patterns(patterns, PATHS, field="optim.frozen")


def test_decay_leaves_norms_and_biases_out():
    mask = optim.decay_mask({"conv": {"kernel": jnp.zeros((1, 3, 3, 2, 4))}, "b": jnp.zeros(4)})
    assert mask == {"conv": {"kernel": True}, "b": False}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "sdg"}, "optim.name='sdg'; did you mean 'sgd'"),
        ({"decayed": "none"}, "optim.decayed='none'"),
        ({"momentum": 1.0}, "optim.momentum=1.0"),
        ({"name": "lamb", "beta2": 1.0}, "optim.beta2=1.0"),
        ({"eps": -1.0}, "optim.eps=-1.0"),
        ({"weight_decay": -1.0}, "optim.weight_decay=-1.0"),
    ],
)
def test_bad_optimizers_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        optim.make_optimizer(**{"name": "sgd", "schedule": lambda step: 0.1, **changes})


@pytest.mark.parametrize(
    ("kind", "milestones", "factor", "message"),
    [
        ("cosine", (5,), 0.1, "milestones is given"),
        ("step", (), 0.1, "milestones is empty"),
        ("step", (5, 5), 0.1, "at steps 5, 5; they must rise"),
        ("step", (2, 8), 0.1, r"after the warm-up \(2\)"),
        ("step", (5, 10), 0.1, r"before the end \(10\)"),
        ("step", (5,), 0.0, "decay_factor=0.0"),
    ],
)
def test_bad_milestones_are_refused(kind, milestones, factor, message):
    with pytest.raises(ValueError, match=message):
        optim.make_schedule(
            kind=kind,
            peak_lr=0.1,
            total_steps=10,
            warmup_steps=2,
            milestone_steps=milestones,
            decay_factor=factor,
        )


@pytest.mark.parametrize(("kind", "warmup"), [("cosin", 0), ("cosine", 10), ("cosine", 11)])
def test_bad_schedules_are_refused(kind, warmup):
    with pytest.raises(ValueError, match="schedule"):
        optim.make_schedule(kind=kind, peak_lr=0.1, total_steps=10, warmup_steps=warmup)
