# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""A plan's steps and state on the plan's mesh: what is cut, what is donated, what is gathered."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from vidpretrain import parallel
from vidpretrain.train import step
from vidpretrain.train.plan import Plan
from vidpretrain.train.state import TrainState, create_state, state_sharding


def compile_train_step(plan: Plan) -> jax.stages.Wrapped:
    """Return the stage's `TrainStep`, to be compiled for its mesh; it donates the state."""
    placed = jax.tree.map(lambda leaf: leaf.sharding, state_shapes(plan))
    replicated, sharded = parallel.replicated(plan.mesh), parallel.batch_sharding(plan.mesh)
    return jax.jit(
        step.make_train_step(
            plan.model,
            plan.optimizer,
            plan.schedule,
            **plan.pixels,
            augment=plan.augment,
            loss=plan.loss,
            averaging=plan.averaging,
            frozen=plan.config["optim"]["frozen"],
            accumulate=plan.config["optim"]["accumulate"],
            gather=functools.partial(parallel.gather, mesh=plan.mesh),
        ),
        in_shardings=(placed, sharded, replicated),
        out_shardings=(placed, replicated),
        donate_argnums=0,
    )


def compile_eval_step(plan: Plan) -> jax.stages.Wrapped:
    """Return the stage's `EvalStep`, to be compiled for its mesh."""
    replicated, sharded = parallel.replicated(plan.mesh), parallel.batch_sharding(plan.mesh)
    average = plan.config["test"]["average"]
    eval_step = step.make_eval_step(plan.model, **plan.pixels, average=average)
    return jax.jit(
        lambda variables, batch: eval_step(parallel.gather(variables, plan.mesh), batch),
        in_shardings=(None, sharded),  # None: as the variables lie.
        out_shardings={"scores": sharded, "loss": sharded, "stop": replicated},
    )


def state_shapes(plan: Plan) -> TrainState:
    """Return the state's shapes, and where each array lies on the mesh."""
    shapes = jax.eval_shape(lambda: _create(plan, plan.init(jax.random.key(0))))
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        shapes,
        state_sharding(shapes, plan.mesh),
    )


def initial_state(plan: Plan, variables: Any) -> TrainState:
    """Return the state before the first step, on the mesh."""
    create = functools.partial(_create, plan)
    placed = state_sharding(jax.eval_shape(create, variables), plan.mesh)
    return jax.jit(create, out_shardings=placed)(variables)


def _create(plan: Plan, variables: Any) -> TrainState:
    return create_state(variables, plan.optimizer, ema=bool(plan.averaging))


def batch_shapes(plan: Plan) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shapes of what a training step takes besides the state and a key."""
    shapes = _clip_shapes(plan, plan.config["batch_size"], plan.size_px)
    return {**shapes, "save": _rows(plan, plan.config["batch_size"], jnp.bool_)}


def test_batch_shapes(plan: Plan) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shapes of what a test step takes besides the variables."""
    rows = plan.config["test"]["batch_size"]
    return _clip_shapes(plan, rows, plan.views.test_crops.size_px)


def _clip_shapes(plan: Plan, rows: int, size_px: int) -> dict[str, jax.ShapeDtypeStruct]:
    return {
        "video": _rows(plan, rows, jnp.uint8, plan.frames, size_px, size_px, plan.channels),
        "label": _rows(plan, rows, jnp.int32),
        "stop": _rows(plan, rows, jnp.bool_),
    }


def _rows(plan: Plan, rows: int, dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
    sharding = parallel.batch_sharding(plan.mesh)
    return jax.ShapeDtypeStruct((rows, *shape), dtype, sharding=sharding)
