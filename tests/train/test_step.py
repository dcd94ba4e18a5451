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

from tests.reference import mixing
from vidpretrain import models
from vidpretrain.train import losses, optim, paths, step
from vidpretrain.train.losses import Loss
from vidpretrain.train.mixing import Augment, Mix
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


def setup(ema=False, loss=LOSS, augment=NONE, **options):
    model = Tiny()
    schedule = optax.constant_schedule(0.1)
    optimizer = optax.sgd(schedule)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 2, 3, 3, 3)))
    state = create_state(variables, optimizer, ema=ema)
    options = {"augment": augment, "loss": loss, "averaging": Averaging(0.75), **options}
    return state, jit_step(model, optimizer, schedule, **options)


def jit_step(model, optimizer, schedule, **options):
    function = step.make_train_step(model, optimizer, schedule, mean=MEAN, std=STD, **options)
    return jax.jit(function)


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


def test_averages_warm_up():
    """By hand: 1/10, then 2/11, 3/12, until the decay itself is less."""
    averaging = Averaging(0.2, warmup=True)
    decays = [float(averaging.decay_at(jnp.asarray(step))) for step in range(4)]
    np.testing.assert_allclose(decays, [0.1, 2 / 11, 0.2, 0.2], rtol=1e-6)
    np.testing.assert_allclose(averaging.update(10.0, 20.0, jnp.asarray(0)), 19.0, rtol=1e-6)


def test_an_average_of_what_stays_does_not_move():
    value = jnp.asarray(np.random.default_rng(0).normal(size=100), jnp.float32)
    np.testing.assert_array_equal(Averaging(0.999).update(value, value, jnp.asarray(0)), value)


def test_parts_of_a_batch_give_its_gradient_and_pass_statistics_on():
    data = batch(np.random.default_rng(0), size=6)
    (state, whole), (_, parts) = setup(), setup(accumulate=3)
    key = jax.random.key(1)
    (expected, metrics), (new, part_metrics) = whole(state, data, key), parts(state, data, key)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), metrics, part_metrics)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-6), expected.params, new.params
    )
    # The statistics see rows 0 and 3, then 1 and 4, then 2 and 5.
    x = ((data["video"] / 255.0 - MEAN) / STD).mean(axis=(1, 2, 3))
    mean = np.zeros(3)
    for part in range(3):
        mean = 0.9 * mean + 0.1 * x[part::3].mean(axis=0)
    np.testing.assert_allclose(new.batch_stats["mean"], mean, rtol=1e-4)


NETWORK = "resnet:depths=1,width=4,stem_kernel=3"


def network_step(spec, optim_options, augment=NONE, **step_options):
    """Return the first state and the step of a small network with norms, dropout off."""
    model = models.make_model(spec, num_classes=4, dropout=0.0)
    schedule = optax.constant_schedule(0.1)
    optimizer = optim.make_optimizer(name="sgd", schedule=schedule, **optim_options)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 2, 8, 8, 3)))
    state = create_state(variables, optimizer, ema=True)
    options = {"augment": augment, "loss": Loss(), "averaging": Averaging(0.9), **step_options}
    return state, jit_step(model, optimizer, schedule, **options)


def clips(size=8):
    rng = np.random.default_rng(0)
    return batch(rng, size) | {"video": rng.integers(0, 256, (size, 2, 8, 8, 3), np.uint8)}


def assert_parts_equal_the_batch(spec, order, **options):
    data = clips()
    ordered = jax.tree.map(lambda x: x[np.asarray(order)], data)
    key = jax.random.key(1)
    state, whole = network_step(spec, {"clip_norm": 1.0}, **options)
    _, parts = network_step(spec, {"clip_norm": 1.0}, **options, accumulate=2)
    expected, metrics = whole(state, ordered, key)
    new, part_metrics = parts(state, data, key)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, metrics, part_metrics)
    jax.tree.map(close, expected.params, new.params)


def test_parts_equal_the_batch_where_norms_are_frozen_mixtures_too():
    mixed = Augment(4, Mix(mixup=0.8))
    assert_parts_equal_the_batch(f"{NETWORK},norm_frozen=true", range(8), augment=mixed)


def test_parts_equal_the_batch_where_norms_see_the_same_groups():
    """A part of 4 rows has the groups (0, 2) and (4, 6), the other (1, 3) and (5, 7)."""
    assert_parts_equal_the_batch(f"{NETWORK},norm_group=2", [0, 2, 4, 6, 1, 3, 5, 7])


@pytest.mark.parametrize("remat", ["", ",remat=1"])
def test_frozen_stages_stay_bit_by_bit_and_their_norms_take_no_statistics(remat):
    frozen = ("stem/*", "stage1/block0/conv1/norm/*")
    options = {"weight_decay": 0.1, "frozen": frozen}
    state, train_step = network_step(NETWORK + remat, options, frozen=frozen)
    # A negative zero must not become a positive one.
    params = paths.map_by_path(lambda path, w: -0.0 * w if "bias" in path else w, state.params)
    state = dataclasses.replace(state, params=params)
    new, metrics = train_step(state, clips(), jax.random.key(1))

    def same(path, old, new):
        assert (np.asarray(old).tobytes() == np.asarray(new).tobytes()) == path.startswith(
            ("stem/", "stage1/block0/conv1/norm/")
        ), path

    paths.map_by_path(same, state.params, new.params)
    paths.map_by_path(same, state.batch_stats, new.batch_stats)
    averages = new.ema["params"]["stem"], new.ema["batch_stats"]["stem"]
    jax.tree.map(
        np.testing.assert_array_equal,
        averages,
        (state.params["stem"], state.batch_stats["stem"]),
    )
    assert new.opt_state.inner_state is not None
    assert metrics["grad_norm"] > 0


def test_freezing_all_but_the_head_is_a_linear_probe_on_running_statistics():
    """The gradient's norm is the head's alone, by hand from the features of evaluation."""
    frozen = ("stem/*", "stage*")
    state, train_step = network_step(NETWORK, {"frozen": frozen}, frozen=frozen)
    data = clips()
    _, metrics = train_step(state, data, jax.random.key(1))
    model = models.make_model(NETWORK, num_classes=4, dropout=0.0)
    inputs = step.normalise(data["video"], MEAN, STD)

    def loss(head):
        logits = model.apply({**state.variables, "params": {**state.params, "head": head}}, inputs)
        return losses.cross_entropy(logits, jax.nn.one_hot(data["label"], 4)).mean()

    expected = optax.tree.norm(jax.grad(loss)(state.params["head"]))
    np.testing.assert_allclose(metrics["grad_norm"], expected, rtol=1e-5)


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


def test_a_step_learns_from_what_augmentation_gives_and_scores_the_heavier_class():
    """Clips and targets are those of the run's key, folded with the step and a stream."""
    target = np.random.default_rng(1).dirichlet(np.ones(4), 6).astype(np.float32)

    def augment(key, clips, label):
        shade = jax.random.uniform(key, (6, 1, 1, 1, 1))
        return clips * shade, jnp.asarray(target)

    state, train_step = setup(loss=Loss(kind="binary"), augment=augment)
    data = batch(np.random.default_rng(0))
    pixels = data["video"].copy()
    new, metrics = train_step(state, data, jax.random.key(1))
    np.testing.assert_array_equal(data["video"], pixels)

    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(1), 0), 1)
    clips, _ = augment(key, step.normalise(pixels, MEAN, STD), data["label"])
    x = np.float64(clips).mean(axis=(1, 2, 3))
    head = jax.tree.map(np.float64, state.params["head"])
    logits = x @ head["kernel"] + head["bias"]
    loss, gradient = mixing.binary(logits, target)
    np.testing.assert_allclose(metrics["loss"], loss.mean(), rtol=1e-5)
    hits = np.mean(np.argmax(logits, axis=1) == np.argmax(target, axis=1))
    np.testing.assert_allclose(metrics["top1"], hits, rtol=1e-6)
    np.testing.assert_allclose(
        new.params["head"]["bias"],
        head["bias"] - 0.1 * gradient.mean(axis=0),
        rtol=1e-4,
        atol=1e-7,
    )
    _, later = train_step(dataclasses.replace(state, step=jnp.asarray(1)), data, jax.random.key(1))
    assert later["loss"] != metrics["loss"]


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
