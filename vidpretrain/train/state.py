# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The whole state of a training: what a step changes and a checkpoint holds."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax


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
