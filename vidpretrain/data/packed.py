# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Packed videos: many clips in few files, scaled once, quick to reach into; how one is stored.

A packed data set is one that tensorflow-datasets can read: `array_record` shards of records that
describe themselves. A record's `video` is either a whole video file with a key frame every few
frames, or the JPEG files of all frames, one behind the other. Flow is stored as grey JPEG files,
movement to the right above movement downwards.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import io
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vidpretrain.data import video
from vidpretrain.data.bad_input import BadInput, Fault
from vidpretrain.data.encode import encode_jpeg, encode_video
from vidpretrain.data.lists import mirrored_labels
from vidpretrain.data.picture import PictureError, decode_picture
from vidpretrain.data.prepared import Records, choose_split, find_prepared, latest
from vidpretrain.data.source import Modality, Source, modality_of
from vidpretrain.data.video import VideoError, VideoIndex

NAME = "packed_videos"
"""What tensorflow-datasets calls every packed data set."""
VERSION = "1.0.0"

_CHUNK_FRAMES = 128  # Read at once: of 256 x 340 pixels they take 33 MB.


class Storage(enum.StrEnum):
    """What a record's bytes are."""

    VIDEO = "video"
    """An mp4 file, H.264."""
    JPEG = "jpeg"
    """A JPEG file per frame."""


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How clips are stored.

    Attributes:
        storage: As a video or as pictures.
        key_every_frames: Greatest distance of key frames in a video.
        crf: Quality of a video, from 0 (lossless) to 51; x264's "constant rate factor".
        jpeg_quality: Quality of pictures, 1 to 100.
    """

    storage: Storage = Storage.VIDEO
    key_every_frames: int = 24
    crf: int = 23
    jpeg_quality: int = 90

    def __post_init__(self) -> None:
        if self.key_every_frames < 1:
            raise ValueError(f"key_every_frames is {self.key_every_frames}; it must be at least 1.")
        if not 0 <= self.crf <= 51:
            raise ValueError(f"crf is {self.crf}; it must be within 0 to 51.")
        if not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality is {self.jpeg_quality}; it must be within 1 to 100.")


@dataclasses.dataclass(frozen=True)
class PackedClip:
    """A record.

    Attributes:
        video: Bytes of the video file, or of all pictures.
        label: From 0.
        path: Where it came from.
        modality: What the frames show.
        index: Number, size and key frames of the frames. Of pictures there are no key frames.
        picture_bytes: Length of each picture; empty for a video.
    """

    video: bytes = dataclasses.field(repr=False)
    label: int
    path: str
    modality: Modality
    index: VideoIndex
    picture_bytes: tuple[int, ...] = ()


def encode_clip(source: Source, example: int, path: str, encoding: Encoding) -> PackedClip:
    """Encode all frames of a source's example.

    Args:
        source: Gives frames in the size in which they are stored, but for the last row and
            column of a video of odd size, which are cut off: colours have half the resolution.
        example: Position in the source.
        path: What the record is to call it.
        encoding: How it is stored.

    Raises:
        BadInput: The example cannot be used.
    """
    num_frames = source.num_frames(example)
    frames = _all_frames(source, example, num_frames)
    modality = modality_of(source)
    if encoding.storage is Storage.JPEG:
        pictures = []
        for frame in frames:
            height, width = frame.shape[:2]
            shown = _flow_picture(frame) if modality is Modality.FLOW else frame
            pictures.append(encode_jpeg(shown, quality=encoding.jpeg_quality))
        return PackedClip(
            video=b"".join(pictures),
            label=source.label(example),
            path=path,
            modality=modality,
            index=VideoIndex(num_frames, height, width, (), ()),
            picture_bytes=tuple(map(len, pictures)),
        )
    data = encode_video(
        map(_even, frames),
        key_every_frames=encoding.key_every_frames,
        # Without the coding steps that take longest to undo: decoding takes 40 % of the time, for
        # 10 % more bytes.
        options={"crf": str(encoding.crf), "tune": "fastdecode"},
    )
    return PackedClip(
        video=data,
        label=source.label(example),
        path=path,
        modality=modality,
        index=video.scan(io.BytesIO(data)),
    )


def decode_clip(
    clip: PackedClip, indices: Sequence[int] | np.ndarray, *, short_side_px: int = 0
) -> np.ndarray:
    """Decode frames of a record.

    Args:
        clip: The record.
        indices: Frames wanted, each from 0.
        short_side_px: Larger frames are shrunk so that their shorter side has this length; 0
            for frames as they are stored. Flow is never shrunk, for its numbers are pixels.

    Returns:
        uint8 `[T, H, W, C]`.

    Raises:
        BadInput: A frame cannot be decoded.
        IndexError: There is no such frame.
    """
    wanted = np.asarray(indices, np.int64)
    if not clip.picture_bytes:
        try:
            return video.decode(
                io.BytesIO(clip.video), clip.index, wanted, short_side_px=short_side_px
            )
        except VideoError as error:
            raise BadInput(clip.path, error.fault, str(error)) from None
    if wanted.min() < 0 or wanted.max() >= clip.index.num_frames:
        raise IndexError(f"Frames {wanted.tolist()} asked of {clip.index.num_frames}.")
    starts = [0, *itertools.accumulate(clip.picture_bytes)]
    is_flow = clip.modality is Modality.FLOW
    try:
        pictures = [
            decode_picture(
                clip.video[starts[at] : starts[at + 1]],
                short_side_px=0 if is_flow else short_side_px,
            )
            for at in wanted.tolist()
        ]
    except PictureError as error:
        raise BadInput(clip.path, Fault.UNDECODABLE, str(error)) from None
    return np.stack([_flow_of_picture(p) for p in pictures] if is_flow else pictures)


def features(class_names: Sequence[str]) -> Any:
    """Return a record's features, as tensorflow-datasets describes them.

    Args:
        class_names: By label.
    """
    # Here, for it takes half a second to import.
    import tensorflow_datasets as tfds

    # Bytes in a scalar: the features for videos and sequences of images need TensorFlow.
    raw = tfds.features.Tensor(shape=(), dtype=np.object_)
    numbers = tfds.features.Tensor(shape=(None,), dtype=np.int64)
    number = tfds.features.Scalar(np.int64)
    return tfds.features.FeaturesDict(
        {
            "video": raw,
            "label": tfds.features.ClassLabel(names=list(class_names)),
            "path": tfds.features.Text(),
            "modality": tfds.features.Text(),
            "num_frames": number,
            "height": number,
            "width": number,
            "key_frames": numbers,
            "key_times": numbers,
            "picture_bytes": numbers,
        }
    )


def to_example(clip: PackedClip) -> dict[str, Any]:
    """Return a record by feature, as tensorflow-datasets encodes it."""
    return {
        "video": clip.video,
        "label": clip.label,
        "path": clip.path,
        "modality": str(clip.modality),
        "num_frames": clip.index.num_frames,
        "height": clip.index.height,
        "width": clip.index.width,
        "key_frames": np.array(clip.index.key_frames, np.int64),
        "key_times": np.array(clip.index.key_times, np.int64),
        "picture_bytes": np.array(clip.picture_bytes, np.int64),
    }


def from_example(example: Mapping[str, Any]) -> PackedClip:
    """Return a record of its features, as tensorflow-datasets decodes them."""
    return PackedClip(
        video=example["video"],
        label=int(example["label"]),
        path=example["path"].decode(),
        modality=Modality(example["modality"].decode()),
        index=VideoIndex(
            num_frames=int(example["num_frames"]),
            height=int(example["height"]),
            width=int(example["width"]),
            key_frames=tuple(example["key_frames"].tolist()),
            key_times=tuple(example["key_times"].tolist()),
        ),
        picture_bytes=tuple(example["picture_bytes"].tolist()),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class PackedVideos:
    """A packed data set; a source (see `vidpretrain.data.source`).

    Attributes:
        records: Where the clips are.
        labels: int32 `[N]`.
        lengths: int32 `[N]`, in frames.
        short_side_px: Larger frames are shrunk so that their shorter side has this length; 0
            for frames as they are stored.
        index_sha256: Hash of the index, for a run's manifest.
    """

    records: Records
    labels: np.ndarray = dataclasses.field(repr=False)
    lengths: np.ndarray = dataclasses.field(repr=False)
    short_side_px: int = 0
    index_sha256: str = ""

    @property
    def num_classes(self) -> int:
        """Return the number of classes."""
        return len(self.class_names)

    @functools.cached_property
    def class_names(self) -> tuple[str, ...]:
        """Return the classes' names, by label."""
        return self.records.class_names("label")

    @functools.cached_property
    def flip_labels(self) -> tuple[int, ...] | None:
        """Return the label of mirror images: left and right in the names change places."""
        return mirrored_labels(self.class_names)

    @functools.cached_property
    def modality(self) -> Modality:
        """Return what the frames show."""
        return from_example(latest(self.records, 0)).modality

    def __len__(self) -> int:
        return len(self.labels)

    def num_frames(self, example: int) -> int:
        """Return how many frames a clip has."""
        return int(self.lengths[example])

    def label(self, example: int) -> int:
        """Return a clip's label, from 0."""
        return int(self.labels[example])

    def frames(self, example: int, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Decode frames of a clip, uint8 `[T, H, W, C]`.

        Raises:
            BadInput: It cannot be decoded.
            IndexError: There is no such frame.
        """
        clip = from_example(latest(self.records, example))
        return decode_clip(clip, indices, short_side_px=self.short_side_px)


def packed_videos(
    split: str,
    seed: int = 0,
    *,
    folder: str,
    train: str = "train",
    test: str = "test",
    short_side_px: int = 0,
) -> PackedVideos:
    """Make a source of a packed data set.

    Args:
        split: "train" or "test".
        seed: Not used; nothing is random.
        folder: What `pack --out` named.
        train: The split that is trained on.
        test: The split that is tested on.
        short_side_px: Larger frames are shrunk so that their shorter side has this length; 0
            for frames as they are stored.

    Raises:
        ValueError: There is no such data set or split, or it has no index.
    """
    records = Records(find_prepared(folder), choose_split(split, train=train, test=test))
    path = index_path(records.folder, records.split)
    labels, lengths = _read_index(path, len(records))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return PackedVideos(records, labels, lengths, short_side_px, sha256)


def index_path(folder: Path, split: str) -> Path:
    """Return where labels and lengths of a split are noted."""
    return folder / f"{NAME}-{split}.index.npz"


def write_index(folder: Path, split: str, labels: Sequence[int], lengths: Sequence[int]) -> None:
    """Note labels and lengths of a split's records, so that nobody has to read them for that.

    Args:
        folder: Of the data set.
        split: Name of the split.
        labels: In the records' order.
        lengths: In frames, in the records' order.
    """
    path = index_path(folder, split)
    part = path.with_name(path.name + ".tmp")
    with part.open("wb") as file:
        np.savez(file, labels=np.array(labels, np.int32), lengths=np.array(lengths, np.int32))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _read_index(path: Path, num_records: int) -> tuple[np.ndarray, np.ndarray]:
    if not path.is_file():
        raise ValueError(
            f"{path} is missing: the data set was not packed to its end, or not by "
            "`python -m vidpretrain.data pack`"
        )
    with np.load(path, allow_pickle=False) as archive:
        labels, lengths = archive["labels"], archive["lengths"]
    if not len(labels) == len(lengths) == num_records:
        raise ValueError(
            f"{path} is of {len(labels)} clips, but the data set has {num_records}; pack it again"
        )
    return labels, lengths


def _all_frames(source: Source, example: int, num_frames: int) -> Iterator[np.ndarray]:
    for start in range(0, num_frames, _CHUNK_FRAMES):
        yield from source.frames(example, range(start, min(start + _CHUNK_FRAMES, num_frames)))


def _even(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    return frame[: max(2, height - height % 2), : max(2, width - width % 2)]


def _flow_picture(flow: np.ndarray) -> np.ndarray:
    """Turn a flow field `[H, W, 2]` into a grey picture `[2 H, W, 3]`."""
    grey = np.concatenate([flow[..., 0], flow[..., 1]])
    return np.repeat(grey[..., None], 3, axis=-1)


def _flow_of_picture(picture: np.ndarray) -> np.ndarray:
    right, down = np.split(picture[..., 0], 2)
    return np.stack([right, down], axis=-1)
