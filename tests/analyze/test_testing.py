# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""`analyze test`: a trained checkpoint tested again, with other views, and what it refuses."""

import json

import jax
import numpy as np
import pytest

from tests.runs import MICRO
from vidpretrain import main as entry
from vidpretrain.analyze.__main__ import main
from vidpretrain.train.scores import Scores

RECIPE = f"{MICRO}:stages=scratch,steps=2"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    before = jax.config.jax_compilation_cache_dir
    flags = ["--config", RECIPE, "--workdir", str(workdir)]
    assert entry.main([*flags, "--config.scratch.test.save_scores=true"]) == 0
    jax.config.update("jax_compilation_cache_dir", before)
    return workdir / "scratch"


def test_the_same_views_give_the_scores_of_training(trained, tmp_path, capsys):
    assert main(["test", str(trained), "--config", RECIPE, "--out", str(tmp_path / "t")]) == 0
    shown = capsys.readouterr().out
    again, before = Scores.load(tmp_path / "t" / "scores.npz"), Scores.load(trained / "scores.npz")
    np.testing.assert_allclose(again.values, before.values, rtol=1e-5)
    assert again.names == before.names
    metrics = json.loads((tmp_path / "t" / "metrics.json").read_text())
    assert metrics["top1"] == again.top(1)
    assert (metrics["clips"], metrics["crops"], metrics["step"]) == (1, 1, 2)
    assert f"{again.mean_class():.2f}" in shown
    assert sorted(p.name for p in (tmp_path / "t").iterdir()) == [
        "confusion.csv",
        "confusion.png",
        "metrics.json",
        "per_class.csv",
        "scores.npz",
    ]


def test_other_views_in_steps_of_few_clips(trained, tmp_path):
    flags = ["--config", RECIPE, "--stage", "scratch", "--out", str(tmp_path)]
    views = ["--clips", "2", "--crops", "3", "--average", "logits"]
    few = ["--config.scratch.test.batch_size=5", "--config.scratch.views.test_size_px=12"]
    assert main(["test", str(trained), *flags, *views, *few]) == 0
    scores = Scores.load(tmp_path / "scores.npz")
    assert (scores.views, scores.average) == (6, "logits")
    assert len(scores.label) == 12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--stage", "scrach"], "did you mean 'scratch'"),
        (["--clips", "0"], "clips"),
        (["--config.scratch.test.avarage=logits"], "config.scratch.test.average"),
        (["--config.scratch.pixels.mean=0.4,0.5,0.5"], "scratch.pixels.mean=0.5,0.5,0.5"),
        (["--config.scratch.model.num_classes=41"], "head/kernel"),
        (["--config.scratch.model.name=resnet:depths=2,width=4,stem_kernel=3"], "does not fit"),
        (["--config.scratch.model.name=resnet:depths=1,width=4,stem_kernel=3,image=true"], "--tap"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    trained, tmp_path, capsys, changes, message
):
    flags = ["--config", RECIPE, "--out", str(tmp_path / "t")]
    assert main(["test", str(trained), *flags, *changes]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "t").exists()


def test_a_folder_without_a_checkpoint_is_refused(tmp_path, capsys):
    flags = ["--config", RECIPE, "--out", str(tmp_path / "t")]
    assert main(["test", str(tmp_path), *flags]) == 2
    assert "error:" in capsys.readouterr().err
