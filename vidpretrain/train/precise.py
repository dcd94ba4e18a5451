# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Precise batch norm: statistics of the weights that are tested, instead of running averages.

Running averages mix the statistics of the last steps' weights. Before each test, and so at the end
of training, `norm.precise_batches` training batches are shown to the weights as they are, and what
the norms see of them, averaged, takes the running averages' place in the state: where moving
averages of the weights are kept, those are tested, and theirs are replaced.

The batches are a stream of their own, the same before every test, and statistics do not depend on
those they replace. So the state after a test is a function of the weights alone, the checkpoint of
a test holds exactly what was tested, and a run that was interrupted, even within the batches,
comes to the same bits. Training does not read running statistics, so it goes on as it would have.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vidpretrain import data, models, parallel
from vidpretrain.train.interrupt import Interrupted, Interruption, Watchdog
from vidpretrain.train.paths import Patterns, frozen_norms
from vidpretrain.train.plan import Plan
from vidpretrain.train.state import TrainState
from vidpretrain.train.step import normalise

# Names the stream of batches among those that derive from a run's seed.
_STREAM = "precise"


def make_settler(
    plan: Plan, interruption: Interruption, watchdog: Watchdog
) -> Callable[[TrainState], TrainState]:
    """Return the function that gives a state its precise statistics, before it is tested.

    Args:
        plan: of the stage; without `norm.precise_batches` the function returns its argument.
        interruption: tells of signals.
        watchdog: is told of every batch.

    Returns:
        The function; it raises `Interrupted` when it is asked to end.

    References:
        Wu and Johnson, Rethinking "Batch" in BatchNorm, 2021, section 3; Ioffe and Szegedy, Batch
        Normalization, 2015, Algorithm 2, steps 8 to 10.

    Note:
        Mean and variance are the means of the batches' means and unbiased variances, as in
        mmaction2's hook, which the STS paper's recipes use. The variance of all clips together,
        which fvcore takes, also has the variance of the batches' means.

        Batches are cropped and flipped as in training, and dropout and drop-path are on, but clips
        are neither mixed nor erased, for those of tests are not. With `optim.accumulate` a batch is
        a micro-batch, which is what a norm sees in training.
    """
    config = plan.config
    num_batches = config["norm"]["precise_batches"]
    if num_batches == 0:
        return lambda state: state
    begin, step = _compile_steps(plan)
    make_key = jax.jit(jax.random.key, out_shardings=parallel.replicated(plan.mesh))

    def settle(state: TrainState) -> TrainState:
        variables = state.eval_variables
        seen = begin(variables["batch_stats"])
        key = make_key(config["seed"])
        with _open_batches(plan) as batches:
            for batch in itertools.islice(batches, num_batches):
                flags = np.full(len(batch.label), interruption.requested)
                arrays = {"video": batch.video, "stop": flags}
                # As in the loop: only what is asked for crosses between host and devices.
                with jax.transfer_guard("disallow"):
                    seen, stop = step(variables, seen, parallel.put_batch(arrays, plan.mesh), key)
                    if jax.device_get(stop):
                        raise Interrupted("precise statistics were interrupted")
                watchdog.beat()
        average, _ = seen
        if state.ema is None:
            return dataclasses.replace(state, batch_stats=average)
        return dataclasses.replace(state, ema={**state.ema, "batch_stats": average})

    return settle


def make_statistics_step(
    model: nn.Module, *, mean: Sequence[float], std: Sequence[float], frozen: Patterns = ()
) -> Callable[..., tuple[Any, jax.Array]]:
    """Return the function that enters a batch's statistics into their average.

    Args:
        model: whose norms keep nothing of their old statistics.
        mean: per channel, of pixels in [0, 1].
        std: per channel, of pixels in [0, 1].
        frozen: patterns of parameters whose norms keep their statistics.

    Returns:
        The pure function `(variables, average, batch, key, number) -> (average, stop)`: `batch` is
        a dict of `video` and `stop`, and `number` counts the batches that the average has seen.
    """

    def step(
        variables: Mapping[str, Any],
        average: Any,
        batch: dict[str, jax.Array],
        key: jax.Array,
        number: jax.Array,
    ) -> tuple[Any, jax.Array]:
        with frozen_norms(frozen):
            _, updated = model.apply(
                variables,
                normalise(batch["video"], mean, std),
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.fold_in(key, number)},
            )
        average = jax.tree.map(
            lambda old, new: old + (new - old) / (number + 1), average, updated["batch_stats"]
        )
        return average, jnp.any(batch["stop"])

    return step


def _compile_steps(plan: Plan) -> tuple[jax.stages.Wrapped, jax.stages.Wrapped]:
    """Return what begins an average and `make_statistics_step`, to be compiled for a stage's mesh.

    Both give the average along with the number of batches in it, which so stays on the devices.
    """
    replicated, sharded = parallel.replicated(plan.mesh), parallel.batch_sharding(plan.mesh)
    section = plan.config["model"]
    name, options = models.parse_spec(section["name"])
    # Without memory, so that a norm's statistics after a call are the batch's own.
    spec = models.format_spec(name, {**options, "norm_momentum": 0.0})
    model = models.make_model(**{**section, "name": spec, "num_classes": plan.num_classes})
    enter = make_statistics_step(model, **plan.pixels, frozen=plan.config["optim"]["frozen"])

    def begin(statistics: Any) -> tuple[Any, jax.Array]:
        return jax.tree.map(jnp.zeros_like, statistics), jnp.zeros((), jnp.int32)

    def step(variables: Any, seen: Any, batch: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        average, number = seen
        average, stop = enter(parallel.gather(variables, plan.mesh), average, batch, key, number)
        return (average, number + 1), stop

    return jax.jit(begin, out_shardings=replicated), jax.jit(
        step,
        in_shardings=(None, replicated, sharded, replicated),
        out_shardings=replicated,
        donate_argnums=1,
    )


def _open_batches(plan: Plan) -> data.BatchStream:
    options = dict(plan.config["input"])
    del options["max_bad_share"]  # Training counts the bad inputs, of which these are some.
    return data.train_batches(
        plan.train_source,
        plan.views.sampling,
        plan.views.augmentation,
        batch_size=plan.config["batch_size"] // plan.config["optim"]["accumulate"],
        seed=data.derive_seed(_STREAM, plan.config["seed"]),
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        **options,
    )
