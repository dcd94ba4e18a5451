# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""One step of training and one of evaluation, as pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from vidpretrain.train import losses
from vidpretrain.train.accumulate import in_parts
from vidpretrain.train.losses import Loss
from vidpretrain.train.mixing import Augment
from vidpretrain.train.paths import Patterns, frozen_norms, keep, stop_gradients
from vidpretrain.train.scores import check_average
from vidpretrain.train.state import NO_AVERAGING, Averaging, TrainState

Metrics = dict[str, jax.Array]
TrainStep = Callable[[TrainState, dict[str, jax.Array], jax.Array], tuple[TrainState, Metrics]]
EvalStep = Callable[[Any, dict[str, jax.Array]], Metrics]

# Streams of a step's randomness, all derived from its key.
_DROPOUT_STREAM, _AUGMENT_STREAM = 0, 1


class _Prepared(NamedTuple):
    """A batch as the network takes it: floats `[B, T, H, W, C]`, and targets `[B, K]`."""

    clips: jax.Array
    target: jax.Array


def normalise(
    video: jax.Array, mean: Sequence[float], std: Sequence[float], dtype: Any = jnp.float32
) -> jax.Array:
    """Bring uint8 pixels to the network's input.

    Args:
        video: uint8 `[B, T, H, W, C]`.
        mean: per channel, in [0, 1].
        std: per channel, in (0, 1].
        dtype: of the result; the arithmetic is float32.

    Returns:
        `[B, T, H, W, C]`: `(video / 255 - mean) / std`.
    """
    shape = (1,) * (video.ndim - 1) + (-1,)
    mean_array = jnp.asarray(mean, jnp.float32).reshape(shape)
    std_array = jnp.asarray(std, jnp.float32).reshape(shape)
    return ((video.astype(jnp.float32) / 255.0 - mean_array) / std_array).astype(dtype)


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    augment: Augment,
    loss: Loss,
    averaging: Averaging = NO_AVERAGING,
    frozen: Patterns = (),
    accumulate: int = 1,
    gather: Callable[[Any], Any] = lambda params: params,
) -> TrainStep:
    """Return the pure function `(state, batch, key) -> (state, metrics)`.

    A step whose loss or gradient is not finite leaves parameters, statistics, optimizer and
    averages bit-unchanged; `state.step` moves on and `state.skipped` counts. A step that tells that
    someone was asked to end leaves all of the state unchanged, `state.step` too.

    Args:
        model: called as `model.apply(variables, clips, train=True, ...)`.
        optimizer: updates the parameters.
        schedule: the optimizer's learning rate, for the metrics.
        mean: per channel, of pixels in [0, 1].
        std: per channel, of pixels in [0, 1].
        augment: erases and mixes normalised clips, and makes targets of labels.
        loss: of logits and targets.
        averaging: how the moving averages follow; used when the state keeps them.
        frozen: patterns of parameters that stay as they are, bit by bit, their norms too
            (`paths.frozen_norms`).
        accumulate: micro-batches that a batch is computed in (`accumulate.in_parts`).
        gather: makes parameters whole where a mesh has cut them (`parallel.gather`).

    Returns:
        The step. `batch` is a dict of `video`, `label`, `stop` and `save` (bool `[B]`, whether the
        process that fed the row was asked to end, or finds a checkpoint due); `key` is the run's
        JAX key, from which the step derives its own. Metrics are scalars: `loss`, `top1` (both of
        this batch; the class of a mixed clip is the heavier one), `grad_norm` (before clipping),
        `lr`, `skipped` (in a row), and the booleans `stop` and `save`, whether anyone was asked,
        or finds one due.
    """

    def loss_fn(
        params: Any, batch_stats: Any, batch: _Prepared, key: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        with frozen_norms(frozen):
            logits, updated = model.apply(
                {"params": stop_gradients(params, frozen), "batch_stats": batch_stats},
                batch.clips,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )
        mean_loss = loss(logits, batch.target).mean()
        top1 = jnp.mean(jnp.argmax(logits, -1) == jnp.argmax(batch.target, -1))
        return mean_loss, ({"loss": mean_loss, "top1": top1}, updated.get("batch_stats", {}))

    def gradient_fn(
        params: Any, batch_stats: Any, batch: _Prepared, key: jax.Array
    ) -> tuple[tuple[Metrics, Any], Any]:
        gradients, aux = jax.grad(loss_fn, has_aux=True)(params, batch_stats, batch, key)
        return aux, gradients

    def step(
        state: TrainState, batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(key, state.step)
        # All of the batch, so that what a clip is mixed with does not depend on `accumulate`.
        clips, target = augment(
            jax.random.fold_in(key, _AUGMENT_STREAM),
            normalise(batch["video"], mean, std),
            batch["label"],
        )
        (means, batch_stats), grads = in_parts(gradient_fn, accumulate)(
            gather(state.params),
            state.batch_stats,
            _Prepared(clips, target),
            jax.random.fold_in(key, _DROPOUT_STREAM),
        )
        grad_norm = optax.tree.norm(grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = keep(state.params, optax.apply_updates(state.params, updates), frozen)
        ema = state.ema
        if ema is not None:
            trained = {"params": params, "batch_stats": batch_stats}
            ema = averaging.update(ema, trained, state.step)
        finite = jnp.isfinite(means["loss"]) & jnp.isfinite(grad_norm)
        stop = jnp.any(batch["stop"])
        old = (state.params, state.batch_stats, state.opt_state, state.ema)
        params, batch_stats, opt_state, ema = jax.tree.map(
            lambda new, kept: jnp.where(finite & ~stop, new, kept),
            (params, batch_stats, opt_state, ema),
            old,
        )
        skipped = jnp.where(finite, 0, state.skipped + 1)
        metrics = {
            **means,
            "grad_norm": grad_norm,
            "lr": jnp.asarray(schedule(state.step), jnp.float32),
            "skipped": skipped.astype(jnp.float32),
            "stop": stop,
            "save": jnp.any(batch["save"]),
        }
        new_state = dataclasses.replace(
            state,
            step=jnp.where(stop, state.step, state.step + 1),
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
            ema=ema,
            skipped=jnp.where(stop, state.skipped, skipped),
        )
        return new_state, metrics

    return step


def make_eval_step(
    model: nn.Module, *, mean: Sequence[float], std: Sequence[float], average: str = "softmax"
) -> EvalStep:
    """Return the pure function `(variables, batch) -> scores`.

    Args:
        model: called as `model.apply(variables, clips, train=False)`.
        mean: per channel, of pixels in [0, 1].
        std: per channel, of pixels in [0, 1].
        average: "softmax" or "logits", what the scores are, and so what is averaged over views.

    Returns:
        The step; its result is a dict of `scores` float32 `[B, classes]`, `loss` float32 `[B]` (the
        plain cross-entropy, whatever was trained with) and `stop`, a boolean scalar as in
        `make_train_step`.

    Raises:
        ValueError: an unknown average.
    """
    check_average(average)

    def step(variables: Any, batch: dict[str, jax.Array]) -> Metrics:
        clips = normalise(batch["video"], mean, std)
        logits = cast(jax.Array, model.apply(variables, clips, train=False))
        target = jax.nn.one_hot(batch["label"], logits.shape[-1])
        scores = logits.astype(jnp.float32)
        return {
            "scores": jax.nn.softmax(scores) if average == "softmax" else scores,
            "loss": losses.cross_entropy(logits, target),
            "stop": jnp.any(batch["stop"]),
        }

    return step
