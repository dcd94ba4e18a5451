# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Precise batch statistics: by the book, in runs, and over an interruption within them."""

import os
import signal

import flax.linen as nn
import jax
import numpy as np
import pytest

from tests.reference import norm as reference
from tests.runs import MICRO, state_bytes
from vidpretrain import main as entry
from vidpretrain.convert import folder
from vidpretrain.models.layers import BatchNorm, Norm
from vidpretrain.train import precise
from vidpretrain.train.interrupt import EXIT_INTERRUPTED

RECIPE = f"{MICRO}:stages=scratch,steps=4,ema=0.9"
PRECISE = ("--config.scratch.norm.precise_batches=2", "--config.scratch.test.every=2 steps")


class OneNorm(nn.Module):
    """A network of a norm: its statistics are those of the pixels."""

    norm: Norm = Norm(momentum=0.0)

    @nn.compact
    def __call__(self, x, train=False):
        return BatchNorm(self.norm, name="norm")(x, train)


@pytest.mark.parametrize("group", [None, 2])
def test_statistics_are_the_means_over_batches_and_groups(group):
    model = OneNorm(Norm(momentum=0.0, group_size=group))
    rng = np.random.default_rng(0)
    batches = [
        {"video": rng.integers(low, 256, (4, 2, 3, 3, 3), np.uint8), "stop": np.zeros(4, bool)}
        for low in (0, 100, 200)
    ]
    variables = model.init(jax.random.key(0), np.zeros((4, 2, 3, 3, 3), np.float32))
    step = precise.make_statistics_step(model, mean=(0.5,) * 3, std=(0.2,) * 3)
    # What it starts from does not matter.
    average = jax.tree.map(lambda x: x + 7, variables["batch_stats"])
    for number, batch in enumerate(batches):
        average, stop = step(variables, average, batch, jax.random.key(1), number)
        assert not stop

    seen = [
        reference.grouped_batch_norm(
            (batch["video"] / 255 - 0.5) / 0.2, group or 4, np.ones(3), np.zeros(3), 1e-5
        )
        for batch in batches
    ]
    np.testing.assert_allclose(
        average["norm"]["mean"], np.mean([mean for _, mean, _ in seen], axis=0), rtol=1e-5
    )
    np.testing.assert_allclose(
        average["norm"]["var"], np.mean([var for _, _, var in seen], axis=0), rtol=1e-5
    )


def test_a_frozen_norm_keeps_its_statistics_exactly():
    model = OneNorm()
    video = np.random.default_rng(0).integers(0, 256, (2, 1, 3, 3, 3), np.uint8)
    variables = model.init(jax.random.key(0), np.zeros((2, 1, 3, 3, 3), np.float32))
    variables["batch_stats"]["norm"]["mean"] += 0.1
    step = precise.make_statistics_step(model, mean=(0.5,) * 3, std=(0.2,) * 3, frozen=("norm/*",))
    average = jax.tree.map(np.zeros_like, variables["batch_stats"])
    for number in range(3):
        batch = {"video": video, "stop": np.zeros(2, bool)}
        average, _ = step(variables, average, batch, jax.random.key(1), number)
    jax.tree.map(np.testing.assert_array_equal, average, variables["batch_stats"])


def run(workdir, *overrides):
    return entry.main(["--config", RECIPE, "--workdir", str(workdir), *overrides])


def state_of(workdir, step):
    return state_bytes(workdir / "scratch" / "checkpoints" / str(step))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    assert run(workdir, *PRECISE) == 0
    return workdir


def test_training_goes_on_as_without(whole, tmp_path):
    """Only the statistics that are tested, here those of the averages, are others."""
    assert run(tmp_path) == 0
    precise_state, plain_state = state_of(whole, 4), state_of(tmp_path, 4)
    assert precise_state.keys() == plain_state.keys()
    others = {name for name, value in precise_state.items() if value != plain_state[name]}
    assert others == {name for name in precise_state if name.startswith("ema/batch_stats/")}


def test_interrupted_within_the_batches_it_comes_to_the_same_bits(whole, tmp_path, monkeypatch):
    def signalled(plan, open_batches=precise._open_batches):
        os.kill(os.getpid(), signal.SIGTERM)
        return open_batches(plan)

    with monkeypatch.context() as patch:
        patch.setattr(precise, "_open_batches", signalled)
        assert run(tmp_path, *PRECISE) == EXIT_INTERRUPTED
    # Saved before it could be tested, with running statistics.
    assert state_of(tmp_path, 2) != state_of(whole, 2)
    assert run(tmp_path, *PRECISE) == 0
    for step in (2, 4):
        assert state_of(tmp_path, step) == state_of(whole, step)
    cards = [folder.read_card(path / "scratch" / "checkpoints" / "2") for path in (whole, tmp_path)]
    assert cards[0].metrics == cards[1].metrics != {}


def test_frozen_norms_have_no_precise_statistics(tmp_path, capsys):
    frozen = "--config.scratch.model.name=resnet:depths=1,width=4,norm_frozen=true"
    assert run(tmp_path / "run", *PRECISE, frozen) == entry.EXIT_BAD_INPUT
    assert "drop norm_frozen" in capsys.readouterr().err
