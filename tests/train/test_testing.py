# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""A stage's test: the same scores on any batch size and number of devices; stages that only test.

Which batch a clip is in changes the order in which XLA sums its convolutions, and nothing else:
scores are asked to agree to 2e-6, a few of float32's units in the last place of a probability.
"""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from tests.runs import MICRO, ROOT
from vidpretrain import main as entry
from vidpretrain.config import load_recipe
from vidpretrain.convert import read_card
from vidpretrain.train.interrupt import Interruption, Watchdog
from vidpretrain.train.plan import PlanError, make_plan
from vidpretrain.train.scores import Scores
from vidpretrain.train.testing import make_tester

# Six views of each of 12 examples: 72 rows.
VIEWS = ("views.test_clips=2", "views.test_crops=3", "views.test_size_px=12")


def make_test_plan(*overrides, stage="scratch"):
    config = load_recipe(f"{MICRO}:stages={stage}", [f"{stage}.{o}" for o in (*VIEWS, *overrides)])
    return make_plan(stage, config.to_dict()[stage])


def scores_of(plan):
    variables = jax.jit(plan.init)(jax.random.key(1))
    return make_tester(plan, Interruption(), Watchdog(0))(variables)


BATCHES = """
import sys
import numpy as np
from tests.train.test_testing import make_test_plan, scores_of

cases = [(1, 72), (1, 1), (1, 5), (8, 16), (8, 40)]
overrides = ["batch_size=8", "test.average=logits"]
values = [
    scores_of(make_test_plan(*overrides, f"{DEVICES}={devices}", f"test.batch_size={clips}")).values
    for devices, clips in cases
]
np.save(sys.argv[1], np.stack(values))
"""


def test_scores_depend_on_no_batch_size_and_no_number_of_devices(tmp_path):
    field = "parallel.data"
    subprocess.run(
        [sys.executable, "-c", BATCHES.replace("{DEVICES}", field), tmp_path / "values.npy"],
        cwd=ROOT,
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        },
        check=True,
    )
    values = np.load(tmp_path / "values.npy")
    assert values.shape == (5, 12, 40)
    assert np.ptp(values[0]) > 0.1, "the network must tell the clips apart"
    scale = np.abs(values[0]).max()
    np.testing.assert_allclose(values[1:] / scale, np.stack([values[0]] * 4) / scale, atol=2e-6)


def test_scores_are_means_over_views_of_softmax_or_logits():
    logits, probs = (scores_of(make_test_plan(f"test.average={a}")) for a in ("logits", "softmax"))
    assert (logits.average, probs.average) == ("logits", "softmax")
    assert logits.views == probs.views == 6
    np.testing.assert_allclose(probs.values.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(logits.loss, probs.loss, rtol=1e-5)


def test_an_unknown_average_is_refused_in_planning():
    with pytest.raises(PlanError, match=r"test.average='logit'; did you mean 'logits'"):
        make_test_plan("test.average=logit")


@pytest.fixture
def leave_the_compilation_cache_as_it_was():
    before = jax.config.jax_compilation_cache_dir
    yield
    jax.config.update("jax_compilation_cache_dir", before)


def test_a_stage_of_no_steps_only_tests(tmp_path, leave_the_compilation_cache_as_it_was):
    def run(workdir, *overrides):
        flags = [f"--config.scratch.{o}" for o in overrides]
        recipe = f"{MICRO}:stages=scratch,steps=2"
        return entry.main(["--config", recipe, "--workdir", str(workdir), *flags])

    assert run(tmp_path / "trained", "test.save_scores=true") == 0
    trained = tmp_path / "trained" / "scratch"
    for only in ("0 steps", "0 epochs"):
        tested = tmp_path / only / "scratch"
        overrides = (f"init.source={trained}", f"duration={only}", "test.save_scores=true")
        assert run(tmp_path / only, *overrides) == 0
        before, after = (Scores.load(folder / "scores.npz") for folder in (trained, tested))
        np.testing.assert_array_equal(after.values, before.values)
        assert after.names == tuple(map(str, range(12)))
        result = json.loads((tested / "result.json").read_text())
        assert (result["steps"], result["images_seen"]) == (0, 0)
        card = read_card(tested / "checkpoints" / "0")
        assert card.metrics["test/top1"] == before.top(1)
        # Again, as after an interruption between the test and the result.
        (tested / "result.json").unlink()
        assert run(tmp_path / only, *overrides) == 0
