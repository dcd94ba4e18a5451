# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The entry point, whole: a run, its files, bad input, interruption and resumption."""

import json
import os
import signal
import time

import jax
import numpy as np
import pytest

import vidpretrain
from tests.runs import MICRO, losses, start, state_bytes
from vidpretrain import main as entry
from vidpretrain.train.interrupt import EXIT_INTERRUPTED
from vidpretrain.train.metrics import read_metrics


@pytest.fixture(autouse=True)
def leave_the_compilation_cache_as_it_was():
    before = jax.config.jax_compilation_cache_dir
    yield
    jax.config.update("jax_compilation_cache_dir", before)


def run(workdir, recipe=MICRO, *overrides):
    return entry.main(["--config", recipe, "--workdir", str(workdir), *overrides])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    assert run(workdir) == 0
    return workdir


def test_a_run_leaves_results_curves_and_the_config(finished):
    runs = json.loads((finished / "results.json").read_text())["runs"]
    assert [r["name"] for r in runs] == ["pretrained", "finetuned"]
    # 6 steps of 4 images, then 20 steps of 4 clips of 4 frames.
    assert [r["images_seen"] for r in runs] == [24, 24 + 320]
    assert all(0 <= r["top1"] <= 100 and r["seconds"] > 0 and r["seed"] == 0 for r in runs)
    assert (finished / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((finished / "config.json").read_text())["finetuned"]["batch_size"] == 4
    report = json.loads((finished / "finetuned" / "report.json").read_text())
    assert report["counts"]["centre-initialised"] == 1
    steps = [r["step"] for r in read_metrics(finished / "finetuned") if "train/loss" in r]
    assert steps == list(range(1, 21))


def test_a_finished_run_does_nothing(finished, capsys):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*/checkpoints/**/*")}
    assert run(finished) == 0
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*/checkpoints/**/*")} == before
    shown = capsys.readouterr()
    assert "finetuned: finished before" in shown.err
    assert "| finetuned" in shown.out


def test_load_opens_what_training_wrote(finished):
    model, variables = vidpretrain.load(finished / "finetuned")
    card = vidpretrain.read_card(finished / "finetuned")
    clips = np.zeros((2, card.frames, card.size, card.size, len(card.mean)), np.float32)
    logits = model.apply(variables, clips, train=False)
    assert logits.shape == (2, card.num_classes) == (2, 40)
    assert card.mean == (0.5, 0.5, 0.5)
    assert card.step == 20


def test_another_configuration_is_refused(finished, capsys):
    assert run(finished, MICRO, "--config.finetuned.seed=1") == entry.EXIT_BAD_INPUT
    assert "finetuned.seed: 0 before, 1 now" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.pretrained.sead=1", "did you mean config.pretrained.seed?"),
        ("--config.pretrained.model.name=resnett", "did you mean 'resnet'"),
        ("--config.finetuned.model.name=resnet:conv=stss", "sts"),
        ("--config.finetuned.model.name=resnet:conv=sts,ratio=-1:2", "ratio"),
        ("--config.pretrained.parallel.data=64", "parallel.data=64"),
        ("--config.pretrained.batch_size=0", "batch_size=0"),
        ("--config.finetuned.views.short=refuse --config.finetuned.views.frames=40", "40 frames"),
        ("--config.finetuned.views.size_px=64", "64 x 64"),
        ("--config.finetuned.source.name=movingdigits", "did you mean 'moving_digits'"),
        ("--config.finetuned.schedule.warmup=100 epochs", "warm-up"),
        ("--config.finetuned.duration=5", "duration='5'"),
        ("--config.finetuned.optim.name=adam", "optim.name='adam'"),
        ("--config.finetuned.optim.frozen=('stemm/*',)", "did you mean 'stem/*'?"),
        ("--config.finetuned.optim.lr_factors=(('*bia',2.0),)", "optim.lr_factors: '*bia'"),
        ("--config.finetuned.optim.accumulate=3", "optim.accumulate=3"),
        ("--config.finetuned.model.name=resnet:norm_group=3", "groups of 3"),
        ("--config.finetuned.schedule.per=batch", "schedule.per='batch'"),
        ("--config.finetuned.schedule.milestones=('3 steps',)", "milestones"),
        ("--config.finetuned.ema.decay=1.0", "ema.decay=1.0"),
        ("--config.finetuned.init.source=/nowhere", "/nowhere"),
        ("--config.finetuned.init.method=centre", "center"),
        ("--config.finetuned.checkpoint.keep_every=10", "checkpoint.keep_every='10'"),
        ("--config.finetuned.model.num_classes=3", "40"),
        ("--config.finetuned.loss.kind=bce", "loss.kind='bce'"),
        ("--config.finetuned.mix.per=batches", "did you mean 'batch'"),
        ("--config.finetuned.erase.prob=2", "erase.prob=2.0"),
        (
            "--config.finetuned.mix.cutmix=1 --config.finetuned.views.repeats=3",
            "batch_size=4 with views.repeats=3: mixup and cutmix need two examples",
        ),
    ],
)
def test_bad_input_is_one_clear_error_and_writes_nothing(tmp_path, capsys, override, message):
    overrides = override.split(" --") if " --" in override else [override]
    overrides = [o if o.startswith("--") else "--" + o for o in overrides]
    assert run(tmp_path / "run", MICRO, *overrides) == entry.EXIT_BAD_INPUT
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file" / "run") == entry.EXIT_BAD_INPUT
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_stopped_in_fine_tuning_it_resumes_to_the_same_bits(finished, tmp_path, number):
    (process,) = start(tmp_path / "run")
    deadline = time.monotonic() + 120
    checkpoints = tmp_path / "run" / "finetuned" / "checkpoints"
    while time.monotonic() < deadline and not (checkpoints / "2").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.002)
    process.send_signal(number)
    error = process.communicate()[1]
    if number == signal.SIGTERM:
        assert process.returncode == EXIT_INTERRUPTED
        assert "the same command goes on from there" in error
    else:
        assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "finetuned" / "result.json").exists()

    assert run(tmp_path / "run") == 0
    assert state_bytes(tmp_path / "run" / "finetuned") == state_bytes(finished / "finetuned")
    assert losses(tmp_path / "run" / "finetuned") == losses(finished / "finetuned")


def test_workers_change_no_bit_and_what_a_step_keeps_resumes(tmp_path):
    """Moving averages that warm up, and LAMB's memory of what is not frozen, in micro-batches."""
    recipe = f"{MICRO}:stages=scratch,ema=0.9,steps=4"
    kept = [
        "--config.scratch.ema.warmup=true",
        "--config.scratch.optim.name=lamb",
        "--config.scratch.optim.frozen=('stem/*',)",
        "--config.scratch.optim.accumulate=2",
    ]
    whole, cut = tmp_path / "whole" / "scratch", tmp_path / "cut" / "scratch"
    assert run(whole.parent, recipe, *kept) == 0
    assert run(cut.parent, recipe, *kept, "--config.scratch.input.num_workers=1") == 0
    assert state_bytes(whole) == state_bytes(cut)
    # Stopped after 2 steps: the checkpoint of step 2 is all that is left.
    os.rename(cut / "checkpoints" / "4", tmp_path / "step4")
    (cut / "result.json").unlink()
    assert run(cut.parent, recipe, *kept) == 0
    assert state_bytes(whole) == state_bytes(cut)


def test_checkpoints_are_kept_as_the_recipe_says(tmp_path):
    saves = {"every": "1 step", "keep": 2, "keep_every": "2 steps"}
    fields = [f"--config.scratch.checkpoint.{field}={value}" for field, value in saves.items()]
    assert run(tmp_path, f"{MICRO}:stages=scratch,steps=7", *fields) == 0
    steps = {path.name for path in (tmp_path / "scratch" / "checkpoints").iterdir()}
    assert steps == {"2", "4", "6", "7"}


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        entry.main(["--help"])
    assert "--config configs/demo.py --workdir runs/demo" in capsys.readouterr().out
