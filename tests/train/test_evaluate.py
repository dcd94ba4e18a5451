# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Scores: every example once, views averaged, whatever the batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidpretrain import parallel
from vidpretrain.data.batch import Batch, regroup
from vidpretrain.train.evaluate import evaluate
from vidpretrain.train.interrupt import Interrupted, Interruption, Watchdog


def rows(num_examples, num_views, batch_size):
    """Yield padded batches in which view v of example e is a clip of the value 10 e + v."""
    pairs = [(e, v) for e in range(num_examples) for v in range(num_views)]
    for start in range(0, len(pairs), batch_size):
        chunk = pairs[start : start + batch_size]
        fill = batch_size - len(chunk)
        yield Batch(
            video=np.array([10 * e + v for e, v in chunk] + [0] * fill, np.uint8),
            label=np.array([e % 3 for e, _ in chunk] + [0] * fill, np.int32),
            mask=np.array([True] * len(chunk) + [False] * fill),
            example=np.array([e for e, _ in chunk] + [-1] * fill, np.int32),
        )


def fake_step(variables, batch):
    value = np.asarray(batch["video"], np.float32)
    probs = np.stack([value, 2 * value, 255 - value], axis=1) / 512
    return {
        "scores": jax.device_put(probs),
        "loss": jax.device_put(value),
        "stop": np.any(batch["stop"]),
    }


def run(batches, num_examples, interruption=None):
    return evaluate(
        fake_step,
        {},
        batches,
        parallel.make_mesh(data=1),
        num_examples=num_examples,
        interruption=interruption or Interruption(),
        watchdog=Watchdog(0),
    )


def test_hidden_transfers_are_refused():
    """A variable that lies on the host would be sent to the devices with every batch."""
    step = jax.jit(lambda scale, batch: fake_scores(scale, batch["video"], batch["stop"]))

    def test(scale):
        return evaluate(
            step,
            scale,
            rows(5, 1, 5),
            parallel.make_mesh(data=1),
            num_examples=5,
            interruption=Interruption(),
            watchdog=Watchdog(0),
        )

    assert len(test(jax.device_put(np.float32(1))).label) == 5
    with pytest.raises(jax.errors.JaxRuntimeError, match="Disallowed host-to-device transfer"):
        test(np.float32(1))


def fake_scores(scale, video, stop):
    scores = video.astype(jnp.float32)[:, None] * scale
    return {"scores": scores, "loss": scores[:, 0], "stop": jnp.any(stop)}


@pytest.mark.parametrize("batch_size", [1, 2, 4, 7])
@pytest.mark.parametrize("num_rows", [None, 1, 4, 6])
def test_views_are_averaged_on_any_batch_size(batch_size, num_rows):
    batches = rows(5, 3, batch_size)
    got = run(regroup(batches, num_rows) if num_rows else batches, 5)
    mean = 10 * np.arange(5) + 1.0
    np.testing.assert_allclose(got.loss, mean, rtol=1e-6)
    expected = np.stack([mean, 2 * mean, 255 - mean], axis=1) / 512
    np.testing.assert_allclose(got.values, expected, rtol=1e-6)
    np.testing.assert_array_equal(got.label, np.arange(5) % 3)
    assert got.metrics()["examples"] == got.metrics()["expected"] == 5
    assert "could not be read" not in got.summary()


def test_examples_that_cannot_be_read_are_left_out_and_told():
    got = run(rows(5, 1, 5), 7)
    assert (len(got.label), got.expected) == (5, 7)
    assert "2 of 7 examples could not be read" in got.summary()
    unread = (b._replace(mask=np.zeros_like(b.mask)) for b in rows(5, 1, 5))
    with pytest.raises(RuntimeError, match="none of the 5"):
        run(unread, 5)


def test_a_signal_ends_it():
    interruption = Interruption()
    interruption.requested = True
    with pytest.raises(Interrupted):
        run(rows(5, 1, 5), 5, interruption)
