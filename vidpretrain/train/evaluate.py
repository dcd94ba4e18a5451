# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Testing: every example counts once, its views averaged, on any batch size and host count."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from vidpretrain import parallel
from vidpretrain.data.batch import Batch
from vidpretrain.train.interrupt import Interrupted, Interruption, Watchdog
from vidpretrain.train.step import EvalStep


@dataclasses.dataclass(frozen=True)
class Scores:
    """What a network says of the examples of a test set that could be read.

    Attributes:
        probs: mean of the softmax over an example's views, float32 `[N, classes]`.
        label: true classes, int32 `[N]`.
        loss: mean cross-entropy over an example's views, float32 `[N]`.
        example: positions in the test set, rising, int64 `[N]`.
        expected: examples in the set; more than `N` where some cannot be read. Nothing takes their
            place.
    """

    probs: np.ndarray
    label: np.ndarray
    loss: np.ndarray
    example: np.ndarray
    expected: int

    def top(self, k: int) -> float:
        """Return the share of examples whose class is among the k likeliest, in percent."""
        true = np.take_along_axis(self.probs, self.label[:, None], axis=1)
        # Ties count against the network, so that constant scores earn nothing.
        rank = np.sum(self.probs >= true, axis=1) - 1
        return float(np.mean(rank < k) * 100.0)

    def metrics(self) -> dict[str, float]:
        """Return `top1`, `top5` (percent), `loss`, and how many `examples` were `expected`."""
        return {
            "top1": self.top(1),
            "top5": self.top(5),
            "loss": float(self.loss.mean()),
            "examples": float(len(self.label)),
            "expected": float(self.expected),
        }

    def summary(self) -> str:
        """Return accuracy in words, and what was left out, if anything."""
        left_out = self.expected - len(self.label)
        note = f" ({left_out} of {self.expected} examples could not be read)" if left_out else ""
        return f"test top-1 {self.top(1):.2f} %{note}"


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
        eval_step: compiled; gives `probs` and `loss` of a batch.
        variables: of the network.
        batches: this process's slices, padded and masked; every process has as many.
        mesh: where they are computed.
        num_examples: examples in the set; `Batch.example` is in [0, num_examples).
        interruption: tells of signals.
        watchdog: is told of every batch.

    Returns:
        The scores, the same on every process.

    Raises:
        Interrupted: a signal came, here or on another process; all end at the same batch.
        RuntimeError: no example could be read.
    """
    probs: np.ndarray | None = None
    label = np.zeros(num_examples, np.int32)
    loss = np.zeros(num_examples, np.float64)
    views = np.zeros(num_examples, np.int32)
    for batch in batches:
        flags = np.full(len(batch.label), interruption.requested)
        arrays = {"video": batch.video, "label": batch.label, "stop": flags}
        out = eval_step(variables, parallel.put_batch(arrays, mesh))
        if bool(out.pop("stop")):
            raise Interrupted("testing was interrupted")
        watchdog.beat()
        local = jax.tree.map(_local_rows, out)
        if probs is None:
            probs = np.zeros((num_examples, local["probs"].shape[-1]), np.float64)
        example = batch.example[batch.mask]
        np.add.at(probs, example, local["probs"][batch.mask])
        np.add.at(loss, example, local["loss"][batch.mask])
        np.add.at(views, example, 1)
        label[example] = batch.label[batch.mask]
    if probs is None:
        raise RuntimeError("the test set gave no batch")
    if jax.process_count() > 1:
        # Views of one example may lie on several hosts, so sums travel and means come after.
        gathered = multihost_utils.process_allgather((probs, loss, views, label))
        probs, loss, views = (x.sum(axis=0) for x in gathered[:3])
        label = gathered[3].max(axis=0)
    (seen,) = np.nonzero(views)
    if not len(seen):
        raise RuntimeError(f"none of the {num_examples} test examples could be read")
    return Scores(
        probs=(probs[seen] / views[seen, None]).astype(np.float32),
        label=label[seen],
        loss=(loss[seen] / views[seen]).astype(np.float32),
        example=seen,
        expected=num_examples,
    )


def _local_rows(array: jax.Array) -> np.ndarray:
    """Return the rows that this process fed, in order."""
    # A row may lie on several devices only where the mesh replicates it; then any copy will do.
    shards = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    return np.concatenate([np.asarray(shards[start]) for start in sorted(shards)])
