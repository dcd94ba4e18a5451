# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""One checkpoint, one folder: whole or not there, and found from any place above it."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

from vidpretrain.convert import folder
from vidpretrain.convert.folder import Card, CheckpointError

CARD = Card(
    name="slowonly50:conv=sts",
    num_classes=174,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    frames=8,
    size=224,
    class_names=("push", "pull"),
    stage="finetune",
    step=1200,
    clock_sec=12.5,
    metric=62.7,
    metrics={"test/top1": 62.7},
)
ARRAYS = {
    "params": {"head": {"kernel": np.ones((2, 3), np.float32)}},
    "batch_stats": {"norm": {"mean": np.zeros(2, np.float32)}},
}


def write(path, step=0, metric=None, arrays=ARRAYS):
    folder.write_checkpoint(path, arrays, dataclasses.replace(CARD, step=step, metric=metric))
    return path


def test_a_card_survives_json():
    assert Card.from_json(CARD.to_json()) == CARD


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 2}', '{"format": 1, "name": "x"}', '{"format": 1, "nam": "x"}'],
)
def test_other_text_is_no_card(text):
    with pytest.raises(CheckpointError, match="no card"):
        Card.from_json(text)


def test_a_checkpoint_is_three_things(tmp_path):
    write(tmp_path / "a", step=3)
    assert sorted(child.name for child in (tmp_path / "a").iterdir()) == [
        "card.json",
        "manifest.json",
        "state",
    ]
    folder.verify(tmp_path / "a")
    assert folder.read_card(tmp_path / "a").step == 3
    variables = folder.read_variables(tmp_path / "a")
    np.testing.assert_array_equal(variables["params"]["head"]["kernel"], np.ones((2, 3)))
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_the_manifest_lists_every_other_file(tmp_path):
    write(tmp_path / "a")
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    files = {
        path.relative_to(tmp_path / "a").as_posix()
        for path in (tmp_path / "a").rglob("*")
        if path.is_file()
    }
    assert {*manifest["files"], "manifest.json"} == files


def test_nothing_is_overwritten(tmp_path):
    write(tmp_path / "a", step=1)
    with pytest.raises(CheckpointError, match="exists already"):
        write(tmp_path / "a", step=2)
    assert folder.read_card(tmp_path / "a").step == 1


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder, "_write_durably", fail)
    with pytest.raises(CheckpointError, match="No space left"):
        write(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_sizes_alone_miss_other_bytes_of_the_same_length(tmp_path):
    write(tmp_path / "a")
    card = tmp_path / "a" / "card.json"
    card.write_text(card.read_text().replace("174", "175"))
    folder.verify(tmp_path / "a", "size")
    with pytest.raises(CheckpointError, match=r"card\.json has other bytes"):
        folder.verify(tmp_path / "a")


def test_moving_averages_are_taken_where_kept(tmp_path):
    ema = {"params": {"head": {"kernel": np.full((2, 3), 5.0)}}, "batch_stats": {}}
    write(tmp_path / "with", arrays={**ARRAYS, "ema": ema, "opt_state": {"trace": np.ones(4)}})
    write(tmp_path / "without")

    def first(path, **options):
        variables = folder.read_variables(tmp_path / path, **options)
        assert variables.keys() <= {"params", "batch_stats"}
        return variables["params"]["head"]["kernel"][0, 0]

    assert first("with") == 5
    assert first("with", ema=True) == 5
    assert first("with", ema=False) == 1
    assert first("without") == 1
    with pytest.raises(CheckpointError, match="no moving averages"):
        first("without", ema=True)


# --- finding ----------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """A working folder with one stage of three steps, of which the second is the best."""
    steps = tmp_path / "run" / "finetune" / "checkpoints"
    for step, metric in ((2, 0.1), (10, 0.9), (20, 0.5)):
        write(steps / str(step), step, metric)
    (steps / "30.tmp").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("not a stage")
    return tmp_path / "run"


def found(path, *args) -> str:
    return pathlib.Path(folder.find_checkpoint(path, *args)).name


@pytest.mark.parametrize("inside", ["", "finetune", "finetune/checkpoints"])
def test_steps_are_found_from_above(run, inside):
    path = run / inside
    assert found(path) == "20"
    assert found(path, "best") == "10"
    assert found(path, 2) == "2"
    assert found(path, "2") == "2"


def test_a_step_itself_is_found(run):
    assert found(run / "finetune/checkpoints/10") == "10"


def test_damaged_steps_are_passed_over_but_stay(run):
    steps = run / "finetune/checkpoints"
    (steps / "20" / "card.json").write_text("")
    (steps / "10" / "state" / "_METADATA").unlink()
    (steps / "40").mkdir()
    assert found(run) == "2"
    assert found(run, "best") == "2"
    assert (steps / "40").is_dir()
    with pytest.raises(CheckpointError, match="is damaged"):
        found(run, 20)


def test_what_is_not_found_is_explained(run, tmp_path):
    with pytest.raises(CheckpointError, match="no such folder"):
        found(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"no step 7\. Its steps: 2, 10, 20"):
        found(run, 7)
    with pytest.raises(CheckpointError, match="did you mean 'latest'"):
        found(run, "lates")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        found(tmp_path / "empty")
    shutil.copytree(run / "finetune", run / "other")
    with pytest.raises(CheckpointError, match="several stages: finetune, other"):
        found(run)
    for step in (2, 10, 20):
        (run / "other/checkpoints" / str(step) / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"no latest checkpoint.*has no manifest\.json"):
        found(run / "other")


def test_best_needs_a_metric(tmp_path):
    write(tmp_path / "steps" / "1", 1)
    with pytest.raises(CheckpointError, match="No step carries a metric"):
        found(tmp_path / "steps", "best")
