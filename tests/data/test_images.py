# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Images in files and in prepared data sets."""

import json
import os
import pickle

import cv2
import numpy as np
import pytest

from vidpretrain.data import eval_batches, make_source, make_views
from vidpretrain.data.bad_input import BadInput, Fault
from vidpretrain.data.encode import encode_jpeg
from vidpretrain.data.lists import ListError
from vidpretrain.data.prepared import find_prepared

SIZES = {"cat": (40, 60), "dog, left": (60, 40), "dog, right": (30, 30)}


def picture(level: int, size: tuple[int, int]) -> np.ndarray:
    frame = np.full((*size, 3), level, np.uint8)
    frame[..., 0] = 200
    return frame


@pytest.fixture
def folders(tmp_path):
    """A folder per class, three images in each; the grey level is 10 times class + number."""
    for label, (name, size) in enumerate(SIZES.items()):
        folder = tmp_path / "train" / name
        folder.mkdir(parents=True)
        for number in range(3):
            data = encode_jpeg(picture(30 * label + 10 * number, size))
            (folder / f"{number} x.JPEG").write_bytes(data)
        (folder / "notes.txt").write_text("no image")
    return tmp_path


def test_a_folder_per_class(folders):
    source = make_source("images", split="train", train=str(folders / "train"))
    assert source.class_names == tuple(SIZES)
    assert source.num_classes == 3
    assert [source.label(i) for i in range(len(source))] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert source.num_frames(4) == 1
    frames = source.frames(4, [0, 0])
    assert frames.shape == (2, 60, 40, 3)
    np.testing.assert_allclose(frames.mean((0, 1, 2)), [200, 40, 40], atol=2)
    # A mirror exchanges left and right, in names too.
    assert source.flip_labels == (0, 2, 1)


def test_a_list_with_its_classes_in_the_training_list(folders):
    lines = ["cat/0 x.JPEG 0", "dog, left/1 x.JPEG 1", "cat/2 x.JPEG 0"]
    (folders / "train.txt").write_text("\n".join(lines))
    (folders / "test.txt").write_text("cat/1 x.JPEG 0\n")
    lists = {
        "train": str(folders / "train.txt"),
        "test": str(folders / "test.txt"),
        "root": str(folders / "train"),
    }
    train, test = (make_source("images", split=split, **lists) for split in ("train", "test"))
    assert [train.label(i) for i in range(3)] == [0, 1, 0]
    assert (train.num_classes, test.num_classes) == (2, 2)
    assert test.frames(0, [0])[0, 5, 5].tolist() == pytest.approx([200, 10, 10], abs=3)


def test_large_images_are_shrunk_while_decoded(folders):
    source = make_source("images", split="train", train=str(folders / "train"), short_side_px=20)
    shapes = [source.frames(i, [0]).shape[1:3] for i in (0, 3, 6)]
    assert shapes == [(20, 30), (30, 20), (20, 20)]


def test_images_go_the_way_of_clips(folders):
    source = make_source("images", split="train", train=str(folders / "train"))
    views = make_views(source, frames=1, size_px=16, test_short_side_px=20, test_crops=3)
    (batch,) = eval_batches(source, views.sampling, views.test_crops, batch_size=9)
    assert batch.video.shape == (27, 1, 16, 16, 3)
    assert batch.label[::3].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_bad_images_say_what_is_wrong(folders):
    (folders / "train" / "cat" / "0 x.JPEG").write_bytes(b"<html>gone</html>")
    (folders / "train" / "cat" / "1 x.JPEG").unlink()
    (folders / "train" / "cat" / "1 x.JPEG").symlink_to("/etc/passwd")
    source = make_source("images", split="train", train=str(folders / "train"))
    for example, fault in ((0, Fault.UNDECODABLE), (1, Fault.OUTSIDE_ROOT)):
        with pytest.raises(BadInput) as caught:
            source.frames(example, [0])
        assert caught.value.fault is fault
        assert "x.JPEG" in str(caught.value)
    with pytest.raises(IndexError, match=r"Frames \[0, 1\] asked of an image"):
        source.frames(2, [0, 1])


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ListError, match="names no"):
        make_source("images", split="train", train=str(tmp_path))


NUMBERS = {"train": 6, "validation": 3}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """What `tfds build --file_format=array_record` leaves, made by tensorflow-datasets itself."""
    import tensorflow_datasets as tfds

    folder = tmp_path_factory.mktemp("tensorflow_datasets")

    class Pictures(tfds.core.GeneratorBasedBuilder):
        """Pictures."""

        VERSION = tfds.core.Version("2.0.0")
        # Of builders in packages it looks for documentation, by a library that we do not need.
        __module__ = "pictures"

        def _info(self):
            image = tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")
            label = tfds.features.ClassLabel(names=["cat", "dog"])
            features = tfds.features.FeaturesDict({"image": image, "label": label})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, manager):
            return {name: self._generate_examples(count) for name, count in NUMBERS.items()}

        def _generate_examples(self, count):
            for number in range(count):
                image = encode_jpeg(picture(20 * number, (40, 60)))
                yield number, {"image": image, "label": number % 2}

    builder = Pictures(data_dir=folder, file_format="array_record")
    builder.download_and_prepare()
    return folder


def levels(source) -> list[int]:
    return sorted(int(source.frames(i, [0])[0, 5, 5, 1]) for i in range(len(source)))


def test_prepared_images(prepared):
    train, test = (
        make_source("tfds_images", split=split, folder=str(prepared / "pictures"))
        for split in ("train", "test")
    )
    assert levels(train) == pytest.approx(range(0, 120, 20), abs=2)
    assert levels(test) == pytest.approx(range(0, 60, 20), abs=2)
    assert train.class_names == ("cat", "dog")
    assert train.flip_labels == (0, 1)
    for example in range(6):
        assert train.label(example) == round(train.frames(example, [0])[0, 5, 5, 1] / 20) % 2
    assert train.num_frames(0) == 1
    copy = pickle.loads(pickle.dumps(train))
    np.testing.assert_array_equal(copy.frames(3, [0]), train.frames(3, [0]))


def test_parts_of_splits_and_shrinking(prepared):
    half = make_source(
        "tfds_images",
        split="train",
        folder=str(prepared),
        train="train[:50%]",
        short_side_px=20,
    )
    assert len(half) == 3
    assert half.frames(0, [0]).shape == (1, 20, 30, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "trian"}, "split 'trian' of .*; did you mean 'train'"),
        ({"image": "img"}, "feature 'img' of .*; did you mean 'image'"),
        ({"label": "image"}, "class feature 'image' of .*; allowed: label"),
        ({"folder": "/nowhere"}, "/nowhere holds no data set prepared by tensorflow-datasets"),
    ],
)
def test_what_is_not_there_is_named(prepared, options, message):
    with pytest.raises(ValueError, match=message):
        make_source("tfds_images", split="train", **{"folder": str(prepared), **options})


def test_the_highest_version_is_found(tmp_path):
    for version in ("1.2.0", "1.10.0", "1.9.3"):
        folder = tmp_path / "imagenet2012" / version
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").write_text(json.dumps({"fileFormat": "array_record"}))
    assert find_prepared(str(tmp_path / "imagenet2012")).name == "1.10.0"
    assert find_prepared(str(tmp_path)).name == "1.10.0"
    os.renames(tmp_path / "imagenet2012" / "1.2.0", tmp_path / "cifar10" / "1.2.0")
    with pytest.raises(ValueError, match=r"several data sets \(cifar10/1.2.0, "):
        find_prepared(str(tmp_path))


def test_formats_that_need_tensorflow_are_refused(tmp_path):
    (tmp_path / "dataset_info.json").write_text(json.dumps({"fileFormat": "tfrecord"}))
    with pytest.raises(ValueError, match="tfds build NAME --file_format=array_record"):
        find_prepared(str(tmp_path))


def test_records_that_are_no_image_are_bad_inputs(prepared, monkeypatch):
    source = make_source("tfds_images", split="train", folder=str(prepared))
    record = {"image": cv2.imencode(".png", picture(0, (9, 9)))[1].tobytes()[:40], "label": 1}
    monkeypatch.setattr("vidpretrain.data.prepared.latest", lambda records, example: record)
    with pytest.raises(BadInput, match=r"train record 4 of .*pictures"):
        source.frames(4, [0])
