# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The commands: write digits, check them, look at them."""

import json

import cv2
import numpy as np
import pytest

from tests.data.corpus import clip
from vidpretrain.data import __main__ as command
from vidpretrain.data.digits import moving_digits
from vidpretrain.data.encode import encode_video
from vidpretrain.data.health import Checkup


def run(*arguments):
    return command.main([str(argument) for argument in arguments])


def test_digits_of_another_scene_are_written(tmp_path):
    written = run("digits", "--out", tmp_path, "--format", "jpeg", "--clips", 1, "--workers", 0,
                  "--canvas-px", 24, "--noise", 0, "--digit-scale", 0.5, 0.6)  # fmt: skip
    assert written == 0
    name = next(tmp_path.glob("train/*/00000/img_00001.jpg"))
    frame = cv2.cvtColor(cv2.imread(str(name)), cv2.COLOR_BGR2RGB)
    scene = {"canvas_px": 24, "noise": 0.0, "digit_scale": (0.5, 0.6)}
    expected = moving_digits("train", num_clips=1, **scene).frames(0, [0])[0]
    assert np.abs(frame.astype(int) - expected).mean() < 6


@pytest.mark.parametrize("form", ["mp4", "webm", "avi", "jpeg"])
def test_digits_are_written_and_healthy(tmp_path, capsys, form):
    out = tmp_path / "digits"
    written = run("digits", "--out", out, "--format", form, "--clips", 3, "--clip-frames", 5,
                  "--workers", 0)  # fmt: skip
    assert written == 0
    assert len((out / "classes.txt").read_text().splitlines()) == 40
    frames = ["--frames"] if form == "jpeg" else []
    for split in ("train", "validation", "test"):
        checked = run("check", out / f"{split}.txt", "--num-classes", 40, "--workers", 0, *frames)
        assert checked == 0
    assert "3 of 3 entries are clean" in capsys.readouterr().out


@pytest.fixture
def folder(tmp_path):
    """Seven videos, of which two are good."""
    data = encode_video(clip(6))
    for name, content in {
        "good.mp4": data,
        "same.mp4": data,
        "label.mp4": encode_video(clip(7)),
        "cut.mp4": data[:300],
        "html.mp4": b"<html>",
        "sound.mp4": b"",
        "fine one.mp4": encode_video(clip(8)),
    }.items():
        (tmp_path / name).write_bytes(content)
    names = ("good", "same", "label", "cut", "html", "sound", "missing", "fine one")
    lines = [f"{name}.mp4\t{9 if name == 'label' else 1}" for name in names]
    (tmp_path / "list.txt").write_text("\n".join([*lines, "no label"]))
    return tmp_path


@pytest.mark.parametrize("full", [[], ["--full"]])
def test_a_check_finds_everything_and_writes_a_clean_list(folder, capsys, full):
    assert run("check", folder / "list.txt", "--num-classes", 2, "--workers", 0, *full) == 1
    report = json.loads((folder / "list.txt.report.json").read_text())
    assert report["faults"] == {
        "duplicate": 1,
        "label out of range": 1,
        "undecodable": 1,
        "unknown format": 1,
        "empty": 1,
        "missing": 1,
        "unreadable line": 1,
    }
    assert (report["entries"], report["clean"]) == (8, 2)
    assert (folder / "list.txt.clean.txt").read_text() == "good.mp4\t1\nfine one.mp4\t1\n"
    by_path = {finding["path"]: finding for finding in report["findings"]}
    assert by_path["same.mp4"]["detail"] == "the same as good.mp4"
    assert by_path["missing.mp4"]["line"] == 7
    assert "2 of 8 entries are clean" in capsys.readouterr().out
    assert run("check", folder / "list.txt.clean.txt", "--num-classes", 2, "--workers", 0) == 0


def test_a_check_goes_on_where_it_was(folder, monkeypatch):
    look, looked = Checkup.__call__, []

    def failing(self, item):
        if len(looked) == 3:
            raise KeyboardInterrupt
        looked.append(item[0])
        return look(self, item)

    monkeypatch.setattr(Checkup, "__call__", failing)
    arguments = ("check", folder / "list.txt", "--num-classes", 2, "--workers", 0)
    with pytest.raises(KeyboardInterrupt):
        run(*arguments)
    monkeypatch.setattr(Checkup, "__call__", lambda *a: looked.append(a[1][0]) or look(*a))
    run(*arguments)
    assert len(looked) == len(set(looked)) == 8


def test_durations_are_compared(tmp_path):
    (tmp_path / "ID_000005_000015.mp4").write_bytes(encode_video(clip(50), rate=10))
    (tmp_path / "train.csv").write_text(
        "label,youtube_id,time_start,time_end,split\nrun,ID,5,15,train\n"
    )
    assert run("check", tmp_path / "train.csv", "--workers", 0) == 1
    report = json.loads((tmp_path / "train.csv.report.json").read_text())
    assert report["faults"] == {"wrong duration": 1}
    assert report["findings"][0]["detail"] == "it lasts 5.00 s, and the list says 10.00 s"


def test_processes_check_and_index(folder):
    assert run("check", folder / "list.txt", "--num-classes", 2, "--workers", 2) == 1
    assert json.loads((folder / "list.txt.report.json").read_text())["clean"] == 2
    (folder / "list.txt").write_text((folder / "list.txt.clean.txt").read_text())
    assert run("index", folder / "list.txt", "--workers", 2) == 0


def test_a_contact_sheet(folder, capsys):
    (folder / "list.txt").write_text("good.mp4 0\nsame.mp4 1\ncut.mp4 0\nhtml.mp4 1\n")
    out = folder / "sheet.png"
    shown = run("show", folder / "list.txt", "--out", out, "--clips", 4, "--num-frames", 3,
                "--stride", 2, "--size-px", 20, "--flip")  # fmt: skip
    assert shown == 0
    sheet = cv2.imread(str(out))
    assert sheet.shape == (4 * (14 + 20), 3 * 22, 3)
    assert sheet.std() > 10
    assert "replaced cut.mp4" in capsys.readouterr().err


def test_a_contact_sheet_of_embedded_data(tmp_path):
    assert run("show", "moving_digits", "--out", tmp_path / "s.png", "--size-px", 32) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check", "nowhere.txt"), "error: list nowhere.txt: No such file"),
        (
            ("check", "no/train.txt"),
            "error: list no/train.txt: No such file or directory; no/ is not there, or empty",
        ),
        (("index", "."), "error: . names no video"),
        (("show", "nowhere.txt"), "error: list nowhere.txt"),
    ],
)
def test_errors_are_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert capsys.readouterr().err.startswith(message)


def test_an_unknown_command(capsys):
    with pytest.raises(SystemExit):
        run("chek")
    assert "did you mean 'check'" in capsys.readouterr().err
