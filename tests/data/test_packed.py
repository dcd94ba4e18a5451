# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Packed data sets: what goes in comes out, whoever packs which part and however often."""

import dataclasses
import hashlib
import json
import pickle

import numpy as np
import pytest

from vidpretrain.data import eval_batches, make_source, make_views
from vidpretrain.data.__main__ import EXIT_BAD_INPUT, main
from vidpretrain.data.bad_input import BadInput, Fault
from vidpretrain.data.digits import moving_digits
from vidpretrain.data.encode import encode_video
from vidpretrain.data.manifest import describe
from vidpretrain.data.motion import show_motion
from vidpretrain.data.packed import (
    Encoding,
    Storage,
    decode_clip,
    encode_clip,
    packed_videos,
)
from vidpretrain.data.packing import PackError, Plan, pack
from vidpretrain.data.source import Modality

NUM_CLIPS = 10
SOURCE = moving_digits("test", num_clips=NUM_CLIPS, canvas_px=65, clip_frames=14, noise=0.0)
JPEG = Encoding(Storage.JPEG, jpeg_quality=98)
FINE = Encoding(key_every_frames=5, crf=1)


def plan_of(source, encoding=JPEG, **options) -> Plan:
    paths = tuple(f"digits/{i}.mp4" for i in range(len(source)))
    return Plan(
        "train", paths, source.class_names, encoding, {}, **{"clips_per_shard": 4} | options
    )


def assert_alike(found, expected, mean: float) -> None:
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < mean


@pytest.mark.parametrize(
    ("encoding", "source", "size", "mean"),
    [
        (FINE, SOURCE, 64, 1.5),  # One column less; colours at half the resolution.
        (JPEG, SOURCE, 65, 1.5),
        (JPEG, show_motion(SOURCE, modality="flow"), 65, 0.5),
    ],
    ids=["video", "jpeg", "flow"],
)
def test_a_clip_comes_out_as_it_went_in(encoding, source, size, mean):
    clip = encode_clip(source, 3, "a path", encoding)
    assert (clip.label, clip.path, clip.index.num_frames) == (
        source.label(3),
        "a path",
        source.num_frames(3),
    )
    wanted = [11, 2, 2, 7]
    assert_alike(decode_clip(clip, wanted), source.frames(3, wanted)[:, :size, :size], mean)
    with pytest.raises(IndexError, match="asked of"):
        decode_clip(clip, [source.num_frames(3)])


def test_videos_have_key_frames_as_often_as_asked():
    clip = encode_clip(SOURCE, 0, "", FINE)
    assert max(np.diff([*clip.index.key_frames, 14])) <= 5
    assert not encode_clip(SOURCE, 0, "", JPEG).index.key_frames


def test_frames_can_be_shrunk_but_flow_cannot():
    clip = encode_clip(SOURCE, 0, "", JPEG)
    assert decode_clip(clip, [0], short_side_px=32).shape == (1, 32, 32, 3)
    flow = encode_clip(show_motion(SOURCE, modality="flow"), 0, "", JPEG)
    assert decode_clip(flow, [0], short_side_px=32).shape == (1, 65, 65, 2)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    out = tmp_path_factory.mktemp("packed")
    assert pack(SOURCE, plan_of(SOURCE), out, shards=range(3), num_workers=2)
    return out


def test_a_packed_data_set_is_a_source(packed):
    source = make_source("packed", split="train", folder=str(packed))
    assert len(source) == NUM_CLIPS
    assert source.class_names == SOURCE.class_names
    assert source.flip_labels == SOURCE.flip_labels
    assert source.modality is Modality.RGB
    for example in range(NUM_CLIPS):
        assert source.label(example) == SOURCE.label(example)
        assert source.num_frames(example) == 14
        assert_alike(source.frames(example, [5, 0]), SOURCE.frames(example, [5, 0]), 1.5)
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy.frames(7, [3]), source.frames(7, [3]))
    described = describe(source)
    assert described["examples"] == NUM_CLIPS
    assert len(described["index_sha256"]) == 64
    assert json.loads(json.dumps(described)) == described


def test_packed_clips_go_the_way_of_all_clips(packed):
    source = make_source("packed", split="train", folder=str(packed), short_side_px=40)
    views = make_views(source, frames=4, crop="shifted", size_px=32, test_short_side_px=0)
    batches = list(eval_batches(source, views.sampling, views.test_crops, batch_size=5))
    assert [batch.video.shape for batch in batches] == [(5, 4, 32, 32, 3)] * 2
    assert np.concatenate([b.label for b in batches]).tolist() == [
        SOURCE.label(i) for i in range(NUM_CLIPS)
    ]


def shards(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*array_record*")}


def test_parts_and_workers_make_the_same_shards(packed, tmp_path):
    plan = plan_of(SOURCE)
    assert not pack(SOURCE, plan, tmp_path, shards=[1], num_workers=0)
    assert not (tmp_path / "dataset_info.json").exists()
    with pytest.raises(ValueError, match="holds no data set"):
        packed_videos("train", folder=str(tmp_path))
    assert pack(SOURCE, plan, tmp_path, shards=[0, 2], num_workers=0)
    assert shards(tmp_path) == shards(packed)
    manifests = [json.loads((f / "manifest-train.json").read_text()) for f in (tmp_path, packed)]
    assert manifests[0] == manifests[1]
    for shard in manifests[0]["shards"]:
        data = (tmp_path / shard["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == shard["sha256"]


@dataclasses.dataclass(frozen=True)
class Faulty:
    """The digits, of which some cannot be used, and one stops the program the first time."""

    bad: tuple[int, ...]
    stops_at: int | None = None
    num_classes: int = SOURCE.num_classes
    class_names: tuple[str, ...] = SOURCE.class_names
    flip_labels: tuple[int, ...] = SOURCE.flip_labels

    def __len__(self):
        return NUM_CLIPS

    def num_frames(self, example):
        return SOURCE.num_frames(example)

    def label(self, example):
        return SOURCE.label(example)

    def frames(self, example, indices):
        if example == self.stops_at:
            raise KeyboardInterrupt
        if example in self.bad:
            raise BadInput(f"digits/{example}.mp4", Fault.TRUNCATED, "half of it is missing")
        return SOURCE.frames(example, indices)


def test_what_was_stopped_goes_on(packed, tmp_path):
    plan = plan_of(SOURCE)
    with pytest.raises(KeyboardInterrupt):
        pack(Faulty((), stops_at=6), plan, tmp_path, shards=range(3), num_workers=0)
    done = shards(tmp_path)
    assert f"{plan.shard_path(tmp_path, 0).name}" in done
    written = plan.shard_path(tmp_path, 0).stat().st_mtime_ns
    assert pack(SOURCE, plan, tmp_path, shards=range(3), num_workers=0)
    assert plan.shard_path(tmp_path, 0).stat().st_mtime_ns == written
    assert shards(tmp_path) == shards(packed)
    assert not list(tmp_path.glob("*.tmp"))


def test_what_cannot_be_used_is_left_out_and_said(tmp_path):
    # Among them a whole shard.
    source = Faulty(bad=(1, 4, 5, 6, 7))
    assert pack(source, plan_of(source), tmp_path, shards=range(3), num_workers=0)
    manifest = json.loads((tmp_path / "manifest-train.json").read_text())
    assert (manifest["listed"], manifest["packed"]) == (10, 5)
    assert [failure["path"] for failure in manifest["failures"]] == [
        f"digits/{i}.mp4" for i in (1, 4, 5, 6, 7)
    ]
    assert manifest["failures"][0]["fault"] == "truncated"
    packed = packed_videos("train", folder=str(tmp_path))
    assert [packed.label(i) for i in range(5)] == [SOURCE.label(i) for i in (0, 2, 3, 8, 9)]
    assert_alike(packed.frames(3, [0]), SOURCE.frames(8, [0]), 1.5)


def test_other_settings_do_not_mix(packed):
    other = plan_of(SOURCE, Encoding(Storage.JPEG, jpeg_quality=50))
    with pytest.raises(PackError, match="begun with another list or other settings"):
        pack(SOURCE, other, packed, shards=[0], num_workers=0)
    classes = dataclasses.replace(plan_of(SOURCE), split="test", class_names=("a", "b"))
    with pytest.raises(PackError, match="has other classes than this list"):
        pack(SOURCE, classes, packed, shards=[0], num_workers=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "train[:1]"}, "must be a word"),
        ({"clips_per_shard": 0}, "clips_per_shard is 0"),
        ({"paths": ()}, "nothing to pack"),
    ],
)
def test_impossible_plans_are_refused(options, message):
    with pytest.raises(PackError, match=message):
        dataclasses.replace(plan_of(SOURCE), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key_every_frames": 0}, "key_every_frames is 0"),
        ({"crf": 52}, "crf is 52"),
        ({"jpeg_quality": 0}, "jpeg_quality is 0"),
    ],
)
def test_impossible_encodings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Encoding(**options)


@pytest.fixture
def listed(tmp_path):
    """Three real mp4 files, a broken one, and their list."""
    lines = []
    for example in range(3):
        frames = SOURCE.frames(example, range(14))
        (tmp_path / f"{example}.mp4").write_bytes(encode_video(frames, options={"crf": "1"}))
        lines.append(f"{example}.mp4 {example}")
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 100)
    (tmp_path / "list.txt").write_text("\n".join([*lines, "broken.mp4 1"]))
    return tmp_path


def test_the_command_packs_a_list_in_parts_and_splits(listed, capsys):
    out = listed / "out"
    command = [
        "pack",
        str(listed / "list.txt"),
        "--out",
        str(out),
        "--short-side",
        "32",
        "--workers",
        "0",
    ]
    command += ["--clips-per-shard", "2", "--key-every", "4"]
    assert main([*command, "--shard", "0/2"]) == 0
    assert "shards of other parts are missing" in capsys.readouterr().out
    assert main([*command, "--shard", "1/2"]) == 0
    assert "packed 3 of 4 clips as train; 1 could not be used" in capsys.readouterr().out
    assert main([*command, "--split", "test", "--storage", "video"]) == 0
    train, test = (packed_videos(split, folder=str(out)) for split in ("train", "test"))
    assert len(train) == len(test) == 3
    assert train.frames(0, [3]).shape == (1, 32, 32, 3)
    # x264 does not make the same bytes of the same frames each time, not even with one thread.
    first, again, other = (
        np.float32(source.frames(example, [5]))
        for source, example in ((train, 2), (test, 2), (train, 1))
    )
    assert np.abs(first - again).mean() < 4 < np.abs(first - other).mean()


def test_the_command_packs_flow(listed, capsys):
    command = ["pack", str(listed / "list.txt"), "--out", str(listed / "flow"), "--workers", "0"]
    assert main([*command, "--modality", "flow"]) == EXIT_BAD_INPUT
    assert "add --storage jpeg" in capsys.readouterr().err
    assert main([*command, "--modality", "flow", "--storage", "jpeg"]) == 0
    flow = make_source("packed", split="train", folder=str(listed / "flow"), stack=5)
    assert flow.modality is Modality.FLOW
    assert flow.num_frames(0) == 9
    assert flow.frames(0, [0, 8]).shape == (2, 65, 65, 10)


@pytest.mark.parametrize("shard", ["2/2", "1", "-1/2", "a/b", "0/0"])
def test_impossible_parts_are_refused(listed, shard, capsys):
    with pytest.raises(SystemExit):
        main(["pack", str(listed / "list.txt"), "--out", str(listed / "out"), f"--shard={shard}"])
    assert "write I/N" in capsys.readouterr().err


def test_a_missing_list_is_one_clear_error(tmp_path, capsys):
    command = ["pack", str(tmp_path / "list.txt"), "--out", str(tmp_path / "out")]
    assert main(command) == EXIT_BAD_INPUT
    assert "list.txt" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_index_that_is_missing_or_another_is_refused(packed, tmp_path):
    for path in packed.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    index = tmp_path / "packed_videos-train.index.npz"
    np.savez(index, labels=np.zeros(3, np.int32), lengths=np.zeros(3, np.int32))
    with pytest.raises(ValueError, match="is of 3 clips, but the data set has 10"):
        packed_videos("train", folder=str(tmp_path))
    index.unlink()
    with pytest.raises(ValueError, match="not packed to its end"):
        packed_videos("train", folder=str(tmp_path))
