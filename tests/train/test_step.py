# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The train step on a network small enough to do by hand."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vidpretrain.train import step
from vidpretrain.train.losses import Loss
from vidpretrain.train.mixing import Augment
from vidpretrain.train.state import Averaging, create_state

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)
LOSS, NONE = Loss(label_smoothing=0.1), Augment(4)


class Tiny(nn.Module):
    """A linear classifier of the mean pixel, with a running mean as its statistics."""

    @nn.compact
    def __call__(self, x, train=False):
        mean = self.variable("batch_stats", "mean", lambda: jnp.zeros(3))
        pooled = x.mean(axis=(1, 2, 3))
        if train:
            mean.value = 0.9 * mean.value + 0.1 * pooled.mean(axis=0)
        return nn.Dense(4, name="head")(pooled)


def batch(rng, size=6):
    return {
        "video": rng.integers(0, 256, (size, 2, 3, 3, 3), np.uint8),
        "label": rng.integers(0, 4, size).astype(np.int32),
        "stop": np.zeros(size, bool),
        "save": np.zeros(size, bool),
    }


def setup(ema=False, loss=LOSS, augment=NONE):
    model = Tiny()
    schedule = optax.constant_schedule(0.1)
    optimizer = optax.sgd(schedule)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 2, 3, 3, 3)))
    state = create_state(variables, optimizer, ema=ema)
    function = step.make_train_step(
        model,
        optimizer,
        schedule,
        mean=MEAN,
        std=STD,
        augment=augment,
        loss=loss,
        averaging=Averaging(0.75),
    )
    return state, jax.jit(function)


def test_a_step_is_softmax_regression_by_hand():
    state, train_step = setup()
    data = batch(np.random.default_rng(0))
    new, metrics = train_step(state, data, jax.random.key(1))

    x = ((data["video"] / 255.0 - MEAN) / STD).mean(axis=(1, 2, 3))
    kernel = np.float64(state.params["head"]["kernel"])
    logits = x @ kernel + np.float64(state.params["head"]["bias"])
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    target = np.eye(4)[data["label"]] * 0.9 + 0.1 / 4
    loss = -(target * np.log(probs)).sum(axis=1).mean()
    gradient = x.T @ (probs - target) / len(x)
    bias_gradient = (probs - target).mean(axis=0)
    norm = np.sqrt((gradient**2).sum() + (bias_gradient**2).sum())

    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(metrics["grad_norm"], norm, rtol=1e-5)
    np.testing.assert_allclose(metrics["lr"], 0.1, rtol=1e-6)
    hits = np.mean(np.argmax(logits, axis=1) == data["label"])
    np.testing.assert_allclose(metrics["top1"], hits, rtol=1e-6)
    np.testing.assert_allclose(
        new.params["head"]["kernel"], kernel - 0.1 * gradient, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(new.batch_stats["mean"], 0.1 * x.mean(axis=0), rtol=1e-4)
    assert (new.step, new.skipped) == (1, 0)


def test_moving_averages_follow_at_their_rate():
    state, train_step = setup(ema=True)
    new, _ = train_step(state, batch(np.random.default_rng(0)), jax.random.key(1))
    for name, average in (("params", new.ema["params"]), ("batch_stats", new.ema["batch_stats"])):
        expected = jax.tree.map(
            lambda old, now: 0.75 * old + 0.25 * now, getattr(state, name), getattr(new, name)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), average, expected)
    assert new.eval_variables is new.ema


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_step_that_is_not_finite_changes_nothing(poison):
    state, train_step = setup(ema=True)
    state, _ = train_step(state, batch(np.random.default_rng(0)), jax.random.key(1))
    kept = jax.tree.map(np.asarray, (state.batch_stats, state.opt_state, state.ema))
    bad_params = {"head": {**state.params["head"], "bias": jnp.full(4, poison)}}
    bad = dataclasses.replace(state, params=bad_params)
    new, metrics = train_step(bad, batch(np.random.default_rng(1)), jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, kept, (new.batch_stats, new.opt_state, new.ema))
    jax.tree.map(np.testing.assert_array_equal, bad_params, new.params)
    assert (new.step, new.skipped, metrics["skipped"]) == (2, 1, 1)

    again, _ = train_step(new, batch(np.random.default_rng(2)), jax.random.key(1))
    assert again.skipped == 2
    well, _ = train_step(
        dataclasses.replace(again, params=state.params),
        batch(np.random.default_rng(3)),
        jax.random.key(1),
    )
    assert well.skipped == 0


def assert_unchanged_but_for_the_count(state, new):
    """All is bit-equal but `step` and `skipped`, which count one step more."""
    expected = dataclasses.replace(state, step=state.step + 1, skipped=state.skipped + 1)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(bits(a), bits(b)), expected, new)


def bits(array):
    return np.frombuffer(np.asarray(array).tobytes(), np.uint8)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["loss", "one gradient leaf", "one input"])
def test_what_is_not_finite_anywhere_leaves_the_state_as_it_was(monkeypatch, place, poison):
    state, train_step = setup(ema=True)
    state, _ = train_step(state, batch(np.random.default_rng(0)), jax.random.key(1))
    loss = plain = Loss()
    if place == "loss":
        # The constant has no gradient, so that the loss alone is not finite.
        loss = lambda logits, target: plain(logits, target) + poison  # noqa: E731
    elif place == "one gradient leaf":
        loss = lambda logits, target: plain(poison_gradient(logits, poison), target)  # noqa: E731
    else:
        normalise = step.normalise
        monkeypatch.setattr(
            step, "normalise", lambda *a, **k: normalise(*a, **k).at[2, 1, 0, 0, 1].set(poison)
        )
    _, train_step = setup(ema=True, loss=loss)
    new, metrics = train_step(state, batch(np.random.default_rng(1)), jax.random.key(1))
    assert metrics["skipped"] == 1
    assert np.isfinite(metrics["loss"]) == (place == "one gradient leaf")
    assert_unchanged_but_for_the_count(state, new)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def poison_gradient(x, poison):
    """The identity; the gradient of its first element is poison."""
    return x


poison_gradient.defvjp(lambda x, poison: (x, None), lambda poison, _, g: (g.at[0, 0].set(poison),))


def test_a_step_that_tells_of_a_signal_changes_nothing():
    state, train_step = setup(ema=True)
    data = batch(np.random.default_rng(0))
    data["stop"][3] = True
    new, metrics = train_step(state, data, jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, state, new)
    assert metrics["stop"]
    assert not metrics["save"]


def test_a_step_tells_that_a_checkpoint_is_due():
    state, train_step = setup()
    data = batch(np.random.default_rng(0))
    data["save"][0] = True
    new, metrics = train_step(state, data, jax.random.key(1))
    assert metrics["save"]
    assert not metrics["stop"]
    assert new.step == 1


def test_pixels_are_normalised_per_channel():
    video = np.zeros((1, 1, 1, 1, 3), np.uint8)
    video[..., 1] = 255
    got = step.normalise(jnp.asarray(video), MEAN, STD)[0, 0, 0, 0]
    np.testing.assert_allclose(got, [-2.0, 2.0, -1.2], rtol=1e-6)


def test_the_eval_step_gives_probabilities():
    state, _ = setup()
    evaluate = step.make_eval_step(Tiny(), mean=MEAN, std=STD)
    out = evaluate(state.variables, batch(np.random.default_rng(0)))
    assert out["scores"].shape == (6, 4)
    np.testing.assert_allclose(out["scores"].sum(axis=1), 1.0, rtol=1e-6)
    assert out["loss"].shape == (6,)
