# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Listed videos and folders of frames are sources like any other."""

import json
import pickle
import shutil

import numpy as np
import pytest

from tests.data.corpus import clip
from vidpretrain.data import __main__ as command
from vidpretrain.data import make_source, make_views, manifest
from vidpretrain.data.bad_input import BadInput, Fault
from vidpretrain.data.clips import FolderReader, VideoReader, listed_clips
from vidpretrain.data.digits import moving_digits
from vidpretrain.data.digits_command import FRAME_TEMPLATE, write_clips
from vidpretrain.data.encode import encode_jpeg, encode_video
from vidpretrain.data.every_frame import every_frame
from vidpretrain.data.index import IndexFileError
from vidpretrain.data.lists import ListError

DIGITS = moving_digits("train", clip_frames=6, num_clips=8, noise=0.0)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Digits as mp4 files and as JPEG frames, with lists and classes."""
    out = tmp_path_factory.mktemp("digits")
    for form in ("mp4", "jpeg"):
        write_clips(DIGITS, out / form, form)
        (out / form / "classes.txt").write_text("\n".join(DIGITS.class_names))
    return out


@pytest.fixture
def videos(written, tmp_path):
    """The mp4 files once more, to be spoilt."""
    shutil.copytree(written / "mp4", tmp_path / "mp4")
    return tmp_path / "mp4"


def source_of(folder, **options):
    return make_source(
        "videos",
        split="train",
        **{"train": f"{folder}/train.txt", "classes": f"{folder}/classes.txt", **options},
    )


def index(folder, *more):
    return command.main(["index", f"{folder}/train.txt", "--workers", "0", *more])


@pytest.mark.parametrize("form", ["mp4", "jpeg"])
def test_files_show_what_was_rendered(written, form):
    source = make_source(
        "videos" if form == "mp4" else "frames",
        split="train",
        train=f"{written}/{form}/train.txt",
        classes=f"{written}/{form}/classes.txt",
    )
    assert len(source) == len(DIGITS)
    assert source.class_names == DIGITS.class_names
    assert source.flip_labels == DIGITS.flip_labels
    for example in (0, 7):
        assert source.label(example) == DIGITS.label(example)
        assert source.num_frames(example) == 6
        frames = source.frames(example, [4, 1, 1])
        expected = DIGITS.frames(example, [4, 1, 1])
        assert frames.dtype == np.uint8
        assert np.abs(frames.astype(int) - expected).mean() < 12
        np.testing.assert_array_equal(frames[1], frames[2])
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy.frames(3, [0]), source.frames(3, [0]))


def test_an_index_saves_the_scan(videos, monkeypatch, capsys):
    plain = source_of(videos)
    assert plain.index is None
    assert index(videos) == 0
    assert "8 of 8 can be used, 48 frames" in capsys.readouterr().out
    assert not list(videos.glob("*.part"))
    indexed = source_of(videos)
    monkeypatch.delattr(VideoReader, "scan")
    for example in range(8):
        assert indexed.num_frames(example) == 6
        np.testing.assert_array_equal(indexed.frames(example, [2]), indexed.frames(example, [2]))


def test_an_index_knows_what_cannot_be_used(videos):
    bad = videos / source_of(videos).paths[3]
    bad.write_bytes(bad.read_bytes()[:500])
    index(videos)
    source = source_of(videos)
    with pytest.raises(BadInput) as caught:
        source.num_frames(3)
    assert (caught.value.path, caught.value.fault) == (source.paths[3], Fault.UNDECODABLE)
    assert manifest.describe(source)["unusable"] == 1
    # Views care for those that can be used.
    make_views(source, frames=6, short="refuse")


def test_a_file_that_has_changed_is_noticed(videos):
    index(videos)
    source = source_of(videos)
    path = videos / source.paths[0]
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(BadInput, match="now has") as caught:
        source.frames(0, [0])
    assert caught.value.fault is Fault.CHANGED


def test_an_index_of_another_list_is_refused(videos):
    index(videos)
    (videos / "train.txt").write_text("x.mp4 0\n")
    with pytest.raises(IndexFileError, match="not of this list as it is now; run `python"):
        source_of(videos)
    for junk in (b"", b"PK\x03\x04", b"\x80\x04N."):
        (videos / "train.txt.index.npz").write_bytes(junk)
        with pytest.raises(IndexFileError, match="cannot be read"):
            source_of(videos)
    assert len(source_of(videos, index="")) == 1


def test_indexing_goes_on_where_it_was(videos, monkeypatch):
    scan, scanned = VideoReader.scan, []

    def failing(self, root, path):
        if len(scanned) == 5:
            raise KeyboardInterrupt
        scanned.append(path)
        return scan(self, root, path)

    monkeypatch.setattr(VideoReader, "scan", failing)
    with pytest.raises(KeyboardInterrupt):
        index(videos)
    monkeypatch.setattr(VideoReader, "scan", lambda *a: scanned.append(a[2]) or scan(*a))
    index(videos)
    assert sorted(scanned) == sorted(source_of(videos).paths)


def test_lists_are_joined(videos):
    lines = (videos / "train.txt").read_text().splitlines(keepends=True)
    (videos / "a.txt").write_text("".join(lines[:3]))
    (videos / "b.txt").write_text("".join(lines[3:]))
    joined = source_of(videos, train=f"{videos}/a.txt+{videos}/b.txt")
    assert joined.paths == source_of(videos).paths
    for name in ("a", "b"):
        assert command.main(["index", f"{videos}/{name}.txt", "--workers", "0"]) == 0
    joined = source_of(videos, train=f"{videos}/a.txt+{videos}/b.txt")
    assert joined.index is not None
    assert [joined.num_frames(example) for example in range(8)] == [6] * 8
    whole = source_of(videos)
    np.testing.assert_array_equal(joined.frames(5, [3]), whole.frames(5, [3]))
    assert len(joined.lists_sha256) == 2


def test_some_classes_are_kept(videos):
    index(videos)
    whole = source_of(videos)
    kept = [whole.class_names[whole.label(example)] for example in (5, 2)]
    (videos / "mini.txt").write_text("\n".join(kept))
    mini = source_of(videos, only_classes=f"{videos}/mini.txt")
    assert mini.class_names == tuple(kept)
    # Clip 6 shows what clip 2 shows.
    assert mini.paths == tuple(whole.paths[example] for example in (2, 5, 6))
    assert mini.labels.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(mini.frames(1, [0]), whole.frames(5, [0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ""}, "none is 0. Give num_classes"),
        ({"num_classes": 3}, "num_classes is 3, but there are 40 names"),
        ({"train": ""}, "source.train, the list of this split, is not given"),
        ({"only_classes": "classes.txt"}, "list classes.txt: No such file"),
        ({"classes": "", "num_classes": 2}, r"line\(s\) of no use"),
    ],
)
def test_impossible_sources(written, options, message):
    with pytest.raises(ListError, match=message):
        source_of(written / "mp4", **options)


def test_the_classes_of_a_test_set_are_those_of_the_training_set(written):
    folder = written / "mp4"
    (folder / "few.txt").write_text("train/x.mp4 run\n")
    (folder / "all.txt").write_text("train/x.mp4 run\ntrain/y.mp4 jump\n")
    source = make_source(
        "videos", split="test", train=f"{folder}/all.txt", test=f"{folder}/few.txt"
    )
    assert (source.class_names, source.label(0)) == (("jump", "run"), 1)


def test_a_folder_for_each_class(written):
    source = make_source("videos", split="train", train=str(written / "mp4/train"))
    assert set(source.class_names) == {
        DIGITS.class_names[DIGITS.label(i)].replace(" ", "_") for i in range(8)
    }
    assert source.num_frames(0) == 6


def write_frames(folder, count, name=FRAME_TEMPLATE, size=(16, 24)):
    folder.mkdir(parents=True)
    for number, frame in enumerate(clip(count, *size), 1):
        (folder / name.format(number)).write_bytes(encode_jpeg(frame, quality=100))


def test_folders_of_frames(tmp_path):
    write_frames(tmp_path / "v", 12, "{:05d}.jpg")
    (tmp_path / "v/readme.txt").touch()
    (tmp_path / "list.csv").write_text("v;Waving\n")
    source = make_source("frames", split="train", train=str(tmp_path / "list.csv"))
    assert source.num_frames(0) == 12
    assert np.abs(source.frames(0, [0, 11]).astype(int) - clip(12, 16, 24)[[0, 11]]).mean() < 12
    small = FolderReader(short_side_px=8)
    assert small.frames(tmp_path, "v", small.scan(tmp_path, "v"), [3]).shape == (1, 8, 12, 3)


@pytest.mark.parametrize(
    ("names", "template", "fault"),
    [
        (["img_00001.jpg", "flow_x_00001.jpg"], "", Fault.UNKNOWN_FORMAT),
        (["img_00001.jpg", "flow_x_00001.jpg"], "img_{:05d}.jpg", None),
        (["2.jpg"], "{}.jpg", Fault.NO_FRAMES),
        (["1.txt"], "", Fault.NO_FRAMES),
    ],
)
def test_the_names_of_frames(tmp_path, names, template, fault):
    (tmp_path / "v").mkdir()
    for name in names:
        (tmp_path / "v" / name).write_bytes(encode_jpeg(clip(1)[0]))
    reader = FolderReader(template)
    if fault is None:
        assert reader.scan(tmp_path, "v").video.num_frames == 1
    else:
        with pytest.raises(BadInput) as caught:
            reader.scan(tmp_path, "v")
        assert caught.value.fault is fault


@pytest.mark.parametrize("template", ["../{}.jpg", "{}/{}.jpg", "{x}.jpg", "a.jpg"])
def test_impossible_names_of_frames(template):
    with pytest.raises(ValueError, match="it must be a file name with one number in it"):
        FolderReader(template)


def test_a_missing_frame_is_reported(tmp_path):
    write_frames(tmp_path / "v", 4)
    (tmp_path / "list.txt").write_text("v 5 0\n")
    source = listed_clips("train", FolderReader(FRAME_TEMPLATE), train=str(tmp_path / "list.txt"))
    assert source.num_frames(0) == 5
    with pytest.raises(BadInput, match=r"v/img_00005.jpg: missing"):
        source.frames(0, [0, 4])


def test_frames_of_different_sizes_become_one(tmp_path):
    write_frames(tmp_path / "v", 2)
    (tmp_path / "v" / FRAME_TEMPLATE.format(3)).write_bytes(encode_jpeg(clip(1, 30, 20)[0]))
    reader = FolderReader()
    frames = reader.frames(tmp_path, "v", reader.scan(tmp_path, "v"), [0, 2])
    assert frames.shape == (2, 16, 24, 3)


@pytest.mark.parametrize(("every", "per_video"), [(1, 6), (4, 2), (6, 1), (9, 1)])
def test_every_frame_is_an_image(every, per_video):
    images = every_frame(DIGITS, every)
    assert len(images) == 8 * per_video
    for example in (0, per_video - 1, per_video, 8 * per_video - 1):
        video, place = divmod(example, per_video)
        assert images.num_frames(example) == 1
        assert images.label(example) == DIGITS.label(video)
        expected = DIGITS.frames(video, [place * every])
        np.testing.assert_array_equal(images.frames(example, [0]), expected)
    with pytest.raises(IndexError, match="asked of an image"):
        images.frames(0, [1])


def test_every_frame_of_files(videos):
    with pytest.raises(ValueError, match="index` on the list first"):
        source_of(videos, stills_every=2)
    bad = videos / source_of(videos).paths[2]
    bad.write_bytes(b"")
    index(videos)
    images = source_of(videos, stills_every=2)
    assert len(images) == 7 * 3 + 1
    with pytest.raises(BadInput, match="empty"):
        images.frames(6, [0])
    assert images.frames(7, [0]).shape == (1, 32, 32, 3)


def test_a_manifest_says_what_was_used(videos):
    index(videos)
    source = source_of(videos, stills_every=2)
    views = make_views(source, frames=1)
    said = manifest.run_manifest({"train": source, "test": DIGITS}, views)
    assert json.loads(json.dumps(said)) == said
    assert said["decoders"]["ffmpeg"]["libavcodec"]
    train = said["sources"]["train"]
    assert train["examples"] == 24
    assert train["source"]["examples"] == 8
    assert train["source"]["lists_sha256"] == source.source.lists_sha256
    assert (train["source"]["indexed"], train["source"]["unusable"]) == (True, 0)
    assert said["sources"]["test"]["scene"]["canvas_px"] == 32
    assert said["views"]["sampling"] == {
        "kind": "DenseWindow", "frames": 1, "stride": 1, "num_clips": 1, "short": "loop",
    }  # fmt: skip


def test_large_files_are_not_read_at_once(videos, monkeypatch):
    monkeypatch.setattr("vidpretrain.data.files.WHOLE_BYTES", 100)
    source = source_of(videos)
    assert source.frames(0, [5]).shape == (1, 32, 32, 3)


def test_what_is_written_can_be_read_in_all_containers(tmp_path):
    for ext in ("mp4", "webm", "mkv", "avi"):
        (tmp_path / f"x.{ext}").write_bytes(encode_video(clip(3), extension=ext))
        assert VideoReader().scan(tmp_path, f"x.{ext}").video.num_frames == 3
