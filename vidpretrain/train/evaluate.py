# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Testing: every example counts once, its views averaged, on any batch size and host count."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from vidpretrain import parallel
from vidpretrain.data.batch import Batch
from vidpretrain.train.interrupt import Interrupted, Interruption, Watchdog
from vidpretrain.train.scores import Scores
from vidpretrain.train.step import EvalStep


def evaluate(
    eval_step: EvalStep,
    variables: Any,
    batches: Iterable[Batch],
    mesh: Mesh,
    *,
    num_examples: int,
    interruption: Interruption,
    watchdog: Watchdog,
) -> Scores:
    """Test a network on all of a data set.

    Args:
        eval_step: compiled; gives `scores` and `loss` of a batch.
        variables: of the network.
        batches: this process's slices, padded and masked; every process has as many.
        mesh: where they are computed.
        num_examples: examples in the set; `Batch.example` is in [0, num_examples).
        interruption: tells of signals.
        watchdog: is told of every batch.

    Returns:
        The scores, the same on every process; what they are called is left to the caller.

    Raises:
        Interrupted: a signal came, here or on another process; all end at the same batch.
        RuntimeError: no example could be read.
    """
    sums: np.ndarray | None = None
    label = np.zeros(num_examples, np.int32)
    loss = np.zeros(num_examples, np.float64)
    views = np.zeros(num_examples, np.int32)
    for batch in batches:
        flags = np.full(len(batch.label), interruption.requested)
        arrays = {"video": batch.video, "label": batch.label, "stop": flags}
        # As in the loop: only what is asked for crosses between host and devices.
        with jax.transfer_guard("disallow"):
            out = eval_step(variables, parallel.put_batch(arrays, mesh))
            if jax.device_get(out.pop("stop")):
                raise Interrupted("testing was interrupted")
            watchdog.beat()
            local = jax.tree.map(_local_rows, out)
        if sums is None:
            sums = np.zeros((num_examples, local["scores"].shape[-1]), np.float64)
        example = batch.example[batch.mask]
        np.add.at(sums, example, local["scores"][batch.mask])
        np.add.at(loss, example, local["loss"][batch.mask])
        np.add.at(views, example, 1)
        label[example] = batch.label[batch.mask]
    if sums is None:
        raise RuntimeError("the test set gave no batch")
    if jax.process_count() > 1:
        # Views of one example may lie on several hosts, so sums travel and means come after.
        gathered = multihost_utils.process_allgather((sums, loss, views, label))
        sums, loss, views = (x.sum(axis=0) for x in gathered[:3])
        label = gathered[3].max(axis=0)
    (seen,) = np.nonzero(views)
    if not len(seen):
        raise RuntimeError(f"none of the {num_examples} test examples could be read")
    return Scores(
        values=(sums[seen] / views[seen, None]).astype(np.float32),
        label=label[seen],
        loss=(loss[seen] / views[seen]).astype(np.float32),
        example=seen,
        expected=num_examples,
    )


def _local_rows(array: jax.Array) -> np.ndarray:
    """Return the rows that this process fed, in order."""
    # A row may lie on several devices only where the mesh replicates it; then any copy will do.
    shards = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    return np.concatenate(jax.device_get([shards[start] for start in sorted(shards)]))
