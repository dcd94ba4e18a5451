# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Dry runs: what they print, on data that are not there too, and that they write nothing."""

import re

import pytest

from tests.runs import MICRO, ROOT
from vidpretrain import data
from vidpretrain import main as entry
from vidpretrain.analyze import dry_run
from vidpretrain.config import load_recipe
from vidpretrain.train.stages import plan_stages


def rehearse(recipe, workdir, capsys, *flags):
    code = entry.main(["--config", recipe, "--workdir", str(workdir), *flags])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_a_dry_run_tells_what_stages_cost_and_writes_nothing(tmp_path, capsys):
    code, out, _ = rehearse(MICRO, tmp_path / "run", capsys, "--dry-run")
    assert code == 0
    assert not (tmp_path / "run").exists()
    pretrained, finetuned = out.split("stage finetuned")
    # 6 steps of 4 images, then 20 of 4 clips of 4 frames.
    assert re.search(r"images seen +24\n", pretrained)
    assert re.search(r"images seen +320, after 24 before: 344\n", finetuned)
    assert re.search(r"epochs +2\n", pretrained)
    assert re.search(r"steps +20 of 4 examples, 4 on each of 1 device", finetuned)
    assert "0 at step 0, 0.02 at step 1, 0.01" in re.sub(r"0\.0106\d*", "0.01", finetuned)
    assert re.search(r"memory a device +[\d,]+ MiB on cpu", finetuned)


def test_on_shapes_alone_nothing_is_compiled(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(dry_run, "memory_per_device", None)
    code, out, _ = rehearse(MICRO, tmp_path / "run", capsys, "--dry-run=shapes")
    assert code == 0
    assert "memory" not in out


def test_recipes_need_no_data(tmp_path, capsys):
    """SlowOnly-50 with STS on Kinetics-400: the figures of STS Tables 4 and 7."""
    recipe = f"{ROOT}/configs/finetune_k400.py:conv=sts,init=/nowhere"
    code, out, _ = rehearse(recipe, tmp_path / "run", capsys, "--dry-run=shapes")
    assert code == 0
    assert "240,436 examples to train, 19,796 to test, 400 classes" in out
    assert "the published size of kinetics400, for " in out
    assert re.search(r"parameters +32,454,096\n", out)
    assert "54.860 for 8 x 256 x 256 (rule mmcv)" in out
    assert re.search(r"images seen +96,17\d,\d{3}\n", out)
    assert re.search(r"learning rate +0.002 at step 0, 0.02 at step 9,392", out)
    assert re.search(r"batch norm +precise over 200 batches", out)


def test_training_needs_its_data(tmp_path, capsys):
    recipe = f"{ROOT}/configs/finetune_k400.py"
    code, _, error = rehearse(recipe, tmp_path / "run", capsys)
    assert code == entry.EXIT_BAD_INPUT
    assert "data/k400/annotations/train.csv" in error


def test_an_unknown_published_name_is_refused():
    with pytest.raises(ValueError, match="did you mean 'kinetics400'"):
        data.make_source("videos", split="train", published="kinetics40", train="x", root="y")


def test_parts_need_less_memory():
    """The state and the batch stay as they are; what lives within the step shrinks."""

    def memory(*overrides):
        large = ["scratch.batch_size=32", *overrides]
        config = load_recipe(f"{MICRO}:stages=scratch", large).to_dict()
        return dry_run.memory_per_device(plan_stages({"scratch": config["scratch"]})[0])

    whole, parts = memory(), memory("scratch.optim.accumulate=4")
    assert parts.arguments == whole.arguments
    # The batch: 32 clips of 4 x 16 x 16 x 3 bytes, labels, and two flags each.
    assert whole.arguments > 32 * (3072 + 4 + 2)
    assert parts.temporaries < 0.6 * whole.temporaries
