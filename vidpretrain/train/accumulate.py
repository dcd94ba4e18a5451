# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Gradients of a batch that is computed in parts, one after the other, to need less memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# (params, batch_stats, batch, key) -> (means over the batch, new batch_stats), gradients.
GradientFn = Callable[[Any, Any, Any, jax.Array], tuple[tuple[Any, Any], Any]]


def in_parts(gradient_fn: GradientFn, num_parts: int) -> GradientFn:
    """Return the same function, computed over `num_parts` micro-batches of a batch.

    Means and gradients are averaged, which is exact, for parts are of one size; batch statistics go
    from part to part. So it equals the whole batch's where norms are frozen, and otherwise differs
    by what each norm sees: one part.

    Micro-batch i has the rows i, i + k, i + 2k, ... of a batch [B, ...] with k parts. They do not
    depend on the devices, and a batch that is cut over devices is split within each: nothing but
    gradients travels.

    Args:
        gradient_fn: of a batch; its first results are means over the batch.
        num_parts: how many; it divides the batch. 1 returns `gradient_fn` itself.
    """
    if num_parts == 1:
        return gradient_fn

    def split(rows: jax.Array) -> jax.Array:
        return jnp.moveaxis(rows.reshape(-1, num_parts, *rows.shape[1:]), 1, 0)

    def gradient_in_parts(
        params: Any, batch_stats: Any, batch: Any, key: jax.Array
    ) -> tuple[tuple[Any, Any], Any]:
        def add(carry: Any, numbered: Any) -> tuple[Any, None]:
            sums, stats = carry
            number, part = numbered
            (means, stats), gradients = gradient_fn(
                params, stats, part, jax.random.fold_in(key, number)
            )
            return (jax.tree.map(jnp.add, sums, (means, gradients)), stats), None

        parts = jax.tree.map(split, batch)
        first = jax.tree.map(lambda rows: rows[0], parts)
        (means, _), gradients = jax.eval_shape(gradient_fn, params, batch_stats, first, key)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (means, gradients))
        (sums, batch_stats), _ = jax.lax.scan(
            add, (zeros, batch_stats), (jnp.arange(num_parts), parts)
        )
        means, gradients = jax.tree.map(lambda x: x / num_parts, sums)
        return (means, batch_stats), gradients

    return gradient_in_parts
