# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The whole state of a training: what a step changes and a checkpoint holds."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from vidpretrain import parallel


@flax.struct.dataclass
class TrainState:
    """State of a training after `step` steps.

    The randomness of a step derives from the seed and `step`, and so does the data's position:
    nothing else has to be kept to resume exactly.

    Attributes:
        step: steps taken, skipped ones too; int32 `[]`.
        params: trainable arrays, float32.
        batch_stats: running means and variances, float32.
        opt_state: the optimizer's state.
        ema: exponential moving averages of `params` and `batch_stats`, or None when off.
        skipped: steps skipped in a row up to now, for a loss or gradient that was not finite;
            int32 `[]`.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    ema: dict[str, Any] | None
    skipped: jax.Array

    @property
    def variables(self) -> dict[str, Any]:
        """The network's variables as they are trained."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def eval_variables(self) -> dict[str, Any]:
        """The variables to test: the moving averages where they are kept."""
        return self.variables if self.ema is None else self.ema


@dataclasses.dataclass(frozen=True)
class Averaging:
    """How exponential moving averages follow what is trained.

    Attributes:
        decay: share of the average that a step keeps, in [0, 1); 0 for no averages.
        warmup: keep less at the start: `min(decay, (1 + t) / (10 + t))` at step t from 0, so that
            early averages forget the initial weights.

    References:
        The rule of the warm-up is that of `tf.train.ExponentialMovingAverage`.
    """

    decay: float = 0.0
    warmup: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"ema.decay={self.decay}; it must be at least 0 and less than 1")

    def __bool__(self) -> bool:
        return self.decay > 0

    def decay_at(self, step: jax.Array) -> jax.typing.ArrayLike:
        """Return the decay at a step, counted from 0."""
        if not self.warmup:
            return self.decay
        step = step.astype(jnp.float32)
        return jnp.minimum(self.decay, (1 + step) / (10 + step))

    def update(self, average: Any, value: Any, step: jax.Array) -> Any:
        """Return the averages after a step; what equals its average leaves it as it is."""
        rate = 1.0 - self.decay_at(step)
        return jax.tree.map(lambda old, new: old + rate * (new - old), average, value)


NO_AVERAGING = Averaging()


def create_state(
    variables: dict[str, Any], optimizer: optax.GradientTransformation, *, ema: bool
) -> TrainState:
    """Return the state before the first step.

    Args:
        variables: `params` and, where the network has norms, `batch_stats`.
        optimizer: what will update `params`.
        ema: whether to keep moving averages; they start as copies.
    """
    params = variables["params"]
    batch_stats = variables.get("batch_stats", {})
    start = {"params": params, "batch_stats": batch_stats}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=optimizer.init(params),
        # A copy, for a step donates its input and no buffer can be donated twice.
        ema=jax.tree.map(jnp.copy, start) if ema else None,
        skipped=jnp.zeros((), jnp.int32),
    )


def state_sharding(state: Any, mesh: Mesh) -> Any:
    """Return how a state lies on a mesh.

    Parameters, their averages and the optimizer's arrays are cut over `fsdp`; batch statistics and
    counters, of which there is little, are whole on every device.

    Args:
        state: a `TrainState` of arrays or of their shapes.
        mesh: from `parallel.make_mesh`.

    Returns:
        A `TrainState` of shardings.
    """
    whole = jax.tree.map(lambda _: parallel.replicated(mesh), state)
    cut = parallel.fsdp_sharding(state, mesh)
    ema = whole.ema and {**whole.ema, "params": cut.ema["params"]}
    return dataclasses.replace(whole, params=cut.params, opt_state=cut.opt_state, ema=ema)
