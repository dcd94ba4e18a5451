# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Measuring the input: every step has a cost, on every kind of source."""

import dataclasses

import numpy as np
import pytest

from vidpretrain.data import make_source, make_views
from vidpretrain.data.__main__ import main
from vidpretrain.data.bench import measure_steps, read_bytes, synthetic_frames, write_synthetic
from vidpretrain.data.digits import moving_digits


@pytest.fixture(scope="module", params=[False, True], ids=["videos", "frames"])
def listed(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    return write_synthetic(folder, num_videos=2, pictures=request.param, num_frames=20)


def test_synthetic_videos_move_and_are_a_function_of_their_seed():
    one, again, other = (np.stack(list(synthetic_frames(s, num_frames=6))) for s in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.5
    assert one.shape == (6, 256, 340, 3)
    assert all((one[i] != one[i + 1]).mean() > 0.5 for i in range(5))


def test_every_step_has_a_cost(listed):
    kind = "frames" if listed.name == "frames.txt" else "videos"
    source = make_source(kind, split="train", train=str(listed))
    views = make_views(source, frames=4, stride=2, size_px=64, flip=True, randaugment="rand-m9-p1")
    costs = measure_steps(source, views, num_clips=5, batch_size=2)
    assert min(dataclasses.astuple(costs)[1:4]) > 0
    assert costs.total == pytest.approx(sum(dataclasses.astuple(costs)))


def test_what_is_read_is_what_is_needed(listed):
    if listed.name == "videos.txt":
        source = make_source("videos", split="train", train=str(listed))
        expected = (listed.parent / "videos" / "1.mp4").stat().st_size
    else:
        source = make_source("frames", split="train", train=str(listed))
        folder = listed.parent / "frames" / "1"
        expected = sum((folder / f"img_{at:05d}.jpg").stat().st_size for at in (1, 8))
    assert read_bytes(source, 1, np.array([0, 7, 7])) == expected


def test_sources_without_files_are_refused():
    with pytest.raises(TypeError, match="Digits reads no files"):
        read_bytes(moving_digits("test"), 0, np.array([0]))


def test_the_command_prints_steps_and_speed(listed, capsys):
    command = ["bench", str(listed), "--num-frames", "2", "--stride", "1", "--size", "32"]
    command += ["--clips", "2", "--seconds", "0.1", "--workers", "0", "--batch-size", "2"]
    assert main([*command, *(["--frames"] if listed.name == "frames.txt" else [])]) == 0
    lines = capsys.readouterr().out.splitlines()
    steps = [line.split()[0] for line in lines if line.endswith("%")]
    assert steps == ["read", "decode", "resize", "augment", "batch", "all"]
    assert "clips/s" in lines[-2]


def test_a_list_or_synthetic_videos_must_be_named(capsys):
    with pytest.raises(SystemExit):
        main(["bench"])
    assert "name a list, or give --synthetic" in capsys.readouterr().err
