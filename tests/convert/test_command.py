# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The command: what it writes, what it says, and that it never leaves half of anything."""

import hashlib
import json
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

import vidpretrain
from tests.convert import torch_writer
from vidpretrain import convert, models
from vidpretrain.convert import files, source, tree
from vidpretrain.convert.__main__ import main
from vidpretrain.convert.folder import Card
from vidpretrain.convert.transfer import Target

ROOT = pathlib.Path(__file__).parents[2]
VIDEO = "resnet:block=bottleneck,depths=1+1,width=4,kernel=3x1x1"
STS = f"{VIDEO},conv=sts"
IMAGE = models.image_twin(VIDEO)
CARD = Card(
    IMAGE,
    num_classes=3,
    mean=(0.4, 0.5, 0.6),
    std=(0.2, 0.3, 0.4),
    frames=1,
    size=32,
    class_names=("a", "b", "c"),
    stage="pretrain",
    step=50,
)
KERNEL = "params/stage2/block0/conv1/conv/kernel"


def weights(network, num_classes, seed=0):
    shapes = Target(network, num_classes, (1, 32, 32, 3)).wanted
    rng = np.random.default_rng(seed)
    return tree.nest({k: rng.uniform(size=v.shape).astype("f4") for k, v in shapes.items()})


@pytest.fixture(scope="module")
def image_weights():
    return weights(IMAGE, 3)


@pytest.fixture
def image(image_weights, tmp_path):
    convert.write_checkpoint(tmp_path / "image", image_weights, CARD)
    return tmp_path / "image"


def run(*arguments) -> int:
    return main([*map(str, arguments), "--no-parity"])


def leaf(path, name=KERNEL):
    return tree.flatten(source.open_source(path).variables)[name]


def fingerprint(folder):
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_an_image_network_becomes_a_video_network(image, tmp_path, capsys):
    before = fingerprint(image)
    assert main([str(image), str(tmp_path / "video"), "--model", STS, "--classes", "12"]) == 0
    assert fingerprint(image) == before
    out = capsys.readouterr().out
    assert f"centre-initialised  {KERNEL} [3, 1, 1, 16, 8]" in out
    assert "43 copied, 2 new, 2 centre-initialised, 2 unused" in out
    # The same logits on one frame, but for rounding.
    assert float(out.split("on one frame: ")[1].split()[0]) < 1e-5

    card = vidpretrain.read_card(tmp_path / "video")
    assert (card.name, card.num_classes, card.frames, card.size) == (STS, 12, 8, 32)
    assert (card.mean, card.std) == (CARD.mean, CARD.std)
    assert (card.step, card.stage, card.class_names) == (0, "", ())
    np.testing.assert_array_equal(leaf(tmp_path / "video")[1], leaf(image)[0])
    report = json.loads((tmp_path / "video" / "report.json").read_text())
    assert report["source"] == str(image)
    assert report["counts"]["centre-initialised"] == 2


def test_the_same_classes_keep_their_names(image, tmp_path):
    assert run(image, tmp_path / "video", "--model", VIDEO, "--init", "average") == 0
    assert vidpretrain.read_card(tmp_path / "video").class_names == CARD.class_names
    np.testing.assert_allclose(leaf(tmp_path / "video").sum(axis=0), leaf(image)[0], rtol=1e-6)


def test_a_seed_draws_the_same_new_leaves(image):
    origin, target = source.open_source(image), Target(VIDEO, 4, (4, 32, 32, 3))
    first, again, other = (
        target.fill(origin, seed=seed)[0]["params"]["head"]["kernel"] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    # The network's own initialisation: N(0, 0.01^2).
    assert 0.003 < first.std() < 0.03


def test_a_tap_is_cut_into_the_image_twin(tmp_path):
    video = weights(VIDEO, 3)
    convert.write_checkpoint(
        tmp_path / "video", video, Card(VIDEO, 3, (0.5,) * 3, (1.0,) * 3, 8, 32)
    )
    assert run(tmp_path / "video", tmp_path / "image", "--tap", 0) == 0
    card = vidpretrain.read_card(tmp_path / "image")
    assert (card.name, card.frames) == (IMAGE, 1)
    np.testing.assert_array_equal(leaf(tmp_path / "image")[0], leaf(tmp_path / "video")[0])


def test_best_step_of_a_run(image_weights, tmp_path):
    for step, metric in ((1, 0.9), (2, 0.1)):
        path = tmp_path / "run/pretrain/checkpoints" / str(step)
        arrays = {**image_weights, "batch_stats": image_weights["batch_stats"]}
        arrays["params"]["head"]["bias"][:] = step
        card = Card(**{**vars(CARD), "step": step, "metric": metric})
        convert.write_checkpoint(path, arrays, card)
    assert run(tmp_path / "run", tmp_path / "best.npz", "--which", "best") == 0
    assert leaf(tmp_path / "best.npz", "params/head/bias")[0] == 1


def test_paths_may_be_relative(image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("image", "video", "--model", VIDEO) == 0
    np.testing.assert_array_equal(leaf("video")[1], leaf(image)[0])


def test_dry_run_writes_nothing(image, tmp_path, capsys):
    assert run(image, "--model", VIDEO, "--dry-run") == 0
    assert "2 centre-initialised" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["image"]


# --- other codebases --------------------------------------------------------------------------


def test_a_torchvision_pth_becomes_an_sts_network(image_weights, image, tmp_path, capsys):
    theirs = source.rename(image_weights, "torchvision", IMAGE)
    assert theirs["layer1.0.conv2.weight"].shape == (4, 4, 3, 3)
    torch_writer.save(tmp_path / "resnet.pth", theirs)
    arguments = (tmp_path / "resnet.pth", tmp_path / "video", "--model", STS, "--size", 64)
    assert run(*arguments) == 0
    np.testing.assert_array_equal(leaf(tmp_path / "video")[1], leaf(image)[0])
    card = vidpretrain.read_card(tmp_path / "video")
    assert (card.num_classes, card.frames, card.size) == (3, 8, 64)
    assert card.mean == (0.485, 0.456, 0.406)

    capsys.readouterr()
    assert run(tmp_path / "resnet.pth", tmp_path / "other") == 1
    assert "give --model" in capsys.readouterr().err


def test_weights_go_to_mmaction2_and_back(tmp_path):
    video = weights(VIDEO, 3)
    card = Card(VIDEO, 3, (0.5,) * 3, (1.0,) * 3, 8, 32)
    convert.write_checkpoint(tmp_path / "video", video, card)
    theirs = tmp_path / "theirs.safetensors"
    assert run(tmp_path / "video", theirs, "--to", "mmaction2/slowonly") == 0
    arrays, _ = files.read_file(theirs)
    assert arrays["backbone.layer2.0.conv1.conv.weight"].shape == (8, 16, 3, 1, 1)
    assert arrays["cls_head.fc_cls.weight"].shape == (3, 32)
    assert (tmp_path / "theirs.safetensors.report.json").is_file()
    assert run(theirs, tmp_path / "back", "--from", "mmaction2/slowonly") == 0
    back = tree.flatten(vidpretrain.load(tmp_path / "back")[1])
    for name, value in tree.flatten(video).items():
        np.testing.assert_array_equal(back[name], value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["out.pth"], "are read, not written"),
        (["out", "--to", "mmaction2"], "go into a file that ends in .safetensors or .npz"),
        (["out.npz", "--to", "mmaction"], "did you mean 'mmaction2'"),
        (["out.npz", "--to", "mmaction2"], "mmaction2/slowonly, mmaction2/csn_ir: say which"),
        (["out.npz", "--to", "mmaction2/r2plus1d"], "has no names for"),
        (["out", "--model", "resnett"], "did you mean 'resnet'"),
        (["out", "--init", "centre"], "did you mean 'center'"),
        (["out", "--which", "first"], "exists already"),
        (["image"], "exists already"),
    ],
)
def test_what_cannot_be_done_is_said(image, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    if "first" in arguments:
        (tmp_path / "out").mkdir()
    there = sorted(tmp_path.iterdir())
    assert run("image", *arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert sorted(tmp_path.iterdir()) == there


# --- misfits and kills ------------------------------------------------------------------------


def without(name):
    return lambda flat: {key: value for key, value in flat.items() if key != name}


MISFITS = {
    "another network": (
        lambda flat: flat,
        "resnet:depths=1,width=4",
        "- params/stage2/block0/conv3",
    ),
    "a missing leaf": (without(KERNEL), VIDEO, f"+ {KERNEL}"),
    "an extra leaf": (lambda flat: {**flat, "params/x": np.ones(2)}, VIDEO, "- params/x"),
    "a misshapen leaf": (lambda flat: {**flat, KERNEL: np.ones((1, 2))}, VIDEO, f"- {KERNEL}"),
    "a NaN": (lambda flat: {**flat, KERNEL: flat[KERNEL] * np.nan}, VIDEO, "not finite"),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_a_misfit_is_shown_and_nothing_written(misfit, image_weights, tmp_path, capsys):
    change, network, message = MISFITS[misfit]
    arrays = tree.nest(change(tree.flatten(image_weights)))
    convert.write_checkpoint(tmp_path / "image", arrays, CARD)
    before = fingerprint(tmp_path)
    assert run(tmp_path / "image", tmp_path / "video", "--model", network) == 1
    assert message in capsys.readouterr().err
    assert fingerprint(tmp_path) == before


STOPPED = """
import os, sys
from vidpretrain.convert import __main__, folder

def stop(*args):
    os._exit(9)

if sys.argv[1] == "before the manifest":
    folder._manifest_bytes = stop
elif sys.argv[1] == "before the name":
    folder.publish = stop
else:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
sys.exit(__main__.main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("when", "code"),
    [
        ("before the manifest", 9),
        ("before the name", 9),
        ("full disk", 1),
    ],
)
def test_a_stop_half_way_leaves_nothing(image, tmp_path, when, code):
    before = fingerprint(image)
    arguments = [str(image), str(tmp_path / "video"), "--model", VIDEO, "--no-parity"]
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, when, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert not (tmp_path / "video").exists()
    assert fingerprint(image) == before
    if when == "full disk":
        assert "error: Cannot write the checkpoint" in done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["image"]
    assert main(arguments) == 0
    vidpretrain.load(tmp_path / "video")


@pytest.mark.long
def test_kills_at_any_time_leave_all_or_nothing(image, tmp_path):
    arguments = [str(image), str(tmp_path / "video"), "--model", VIDEO, "--no-parity"]
    command = [sys.executable, "-m", "vidpretrain.convert", *arguments]
    start = time.monotonic()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    whole_sec = time.monotonic() - start
    for n, delay_sec in enumerate(np.random.default_rng(0).uniform(0.5, 1, 30) * whole_sec):
        path = tmp_path / f"video{n}"
        command[-4] = str(path)
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        time.sleep(delay_sec)
        process.kill()
        process.wait()
        if path.exists():
            vidpretrain.load(path)


@pytest.mark.long
def test_a_torchvision_resnet50_becomes_slowonly50_with_sts(tmp_path, capsys):
    twin = models.image_twin("slowonly50")
    theirs = source.rename(weights(twin, 1000), "torchvision", twin)
    torch_writer.save(tmp_path / "resnet50.pth", theirs)
    arguments = (tmp_path / "resnet50.pth", tmp_path / "video", "--model", "slowonly50:conv=sts")
    assert run(*arguments, "--classes", 174) == 0
    print(capsys.readouterr().out)
    report = json.loads((tmp_path / "video" / "report.json").read_text())
    assert report["counts"] == {"copied": 256, "centre-initialised": 9, "new": 2, "unused": 2}
