# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Videos on disk as sources: video files, and folders with a picture per frame.

Both are a list (`vidpretrain.data.lists`), a root, and a reader that knows what an entry is. If
the list has an index (`python -m vidpretrain.data index`), nothing is scanned; else each file is
scanned when it is read.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from vidpretrain.data import lists, video
from vidpretrain.data.bad_input import BadInput, Fault
from vidpretrain.data.files import locate, open_inside, read_inside
from vidpretrain.data.index import (
    SUFFIX,
    FileFacts,
    ListIndex,
    hash_paths,
    join_indexes,
    make_index,
    path_beside,
    read_index,
)
from vidpretrain.data.picture import PictureError, decode_picture
from vidpretrain.data.video import VideoError, VideoIndex
from vidpretrain.suggest import closest

_PICTURE_NAME = re.compile(r"(?P<letters>.*?)\d*\.(jpe?g|png|webp|bmp)", re.IGNORECASE)
_CACHED_SCANS = 256


class Reader(Protocol):
    """Knows what an entry of a list is, a file or a folder."""

    def __hash__(self) -> int: ...

    def scan(self, root: Path, path: str) -> FileFacts:
        """Find out what an entry has; raises `BadInput`."""

    def frames(
        self, root: Path, path: str, facts: FileFacts, indices: Sequence[int] | np.ndarray
    ) -> np.ndarray:
        """Return frames, uint8 `[T, H, W, 3]`; raises `BadInput`."""


@dataclasses.dataclass(frozen=True)
class VideoReader:
    """Entries are video files.

    Attributes:
        short_side_px: Frames whose shorter side is longer than this are shrunk to it; 0 for
            frames as they are stored.
    """

    short_side_px: int = 0

    def scan(self, root: Path, path: str) -> FileFacts:
        """Find out what a file has, without decoding it."""
        with open_inside(root, path) as file:
            try:
                return FileFacts(video.scan(file), file.seek(0, os.SEEK_END))
            except VideoError as error:
                raise BadInput(path, error.fault, str(error)) from None

    def frames(
        self, root: Path, path: str, facts: FileFacts, indices: Sequence[int] | np.ndarray
    ) -> np.ndarray:
        """Decode frames of a file."""
        with open_inside(root, path) as file:
            size_bytes = file.seek(0, os.SEEK_END)
            if size_bytes != facts.size_bytes:
                detail = f"it had {facts.size_bytes} bytes and now has {size_bytes}; index again"
                raise BadInput(path, Fault.CHANGED, detail)
            try:
                return video.decode(file, facts.video, indices, short_side_px=self.short_side_px)
            except VideoError as error:
                raise BadInput(path, error.fault, str(error)) from None


@dataclasses.dataclass(frozen=True)
class FolderReader:
    """Entries are folders with a picture per frame.

    Attributes:
        frame_template: Name of a frame by its number from 1, such as "img_{:05d}.jpg". Empty for
            all pictures of the folder in the order of their names.
        short_side_px: Frames whose shorter side is longer than this are shrunk to it, JPEG while
            it is decoded; 0 for frames as they are stored.
    """

    frame_template: str = ""
    short_side_px: int = 0

    def __post_init__(self) -> None:
        if not self.frame_template:
            return
        try:
            names = {self.frame_template.format(number) for number in (1, 2)}
        except (IndexError, KeyError, ValueError):
            names = set()
        if len(names) != 2 or any("/" in name for name in names):
            raise ValueError(
                f"source.frame_template={self.frame_template!r}; it must be a file name with one "
                "number in it, such as 'img_{:05d}.jpg'"
            )

    def scan(self, root: Path, path: str) -> FileFacts:
        """Count a folder's pictures."""
        if self.frame_template:
            names = set(_listed_names(root, path))
            count = 0
            while self.frame_template.format(count + 1) in names:
                count += 1
        else:
            count = len(_picture_names(root, path))
        if not count:
            raise BadInput(path, Fault.NO_FRAMES, "the folder has no frame")
        return FileFacts(VideoIndex(count, 0, 0, (), ()), 0)

    def frames(
        self, root: Path, path: str, facts: FileFacts, indices: Sequence[int] | np.ndarray
    ) -> np.ndarray:
        """Decode pictures of a folder; all come in the size of the first one."""
        names = self.names(root, path, facts, indices)
        clip = [self._picture(root, name) for name in names]
        height, width = clip[0].shape[:2]
        return np.stack(
            [
                frame
                if frame.shape == clip[0].shape
                else cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
                for frame in clip
            ]
        )

    def names(
        self, root: Path, path: str, facts: FileFacts, indices: Sequence[int] | np.ndarray
    ) -> list[str]:
        """Return the paths of the pictures that are some frames of a folder."""
        if self.frame_template:
            chosen = [self.frame_template.format(at + 1) for at in np.asarray(indices).tolist()]
        else:
            in_order = _picture_names(root, path)
            if len(in_order) != facts.video.num_frames:
                detail = f"it had {facts.video.num_frames} frames and now has {len(in_order)}"
                raise BadInput(path, Fault.CHANGED, detail)
            chosen = [in_order[at] for at in np.asarray(indices).tolist()]
        return [f"{path}/{name}" for name in chosen]

    def _picture(self, root: Path, path: str) -> np.ndarray:
        try:
            return decode_picture(read_inside(root, path), short_side_px=self.short_side_px)
        except PictureError as error:
            raise BadInput(path, Fault.UNDECODABLE, str(error)) from None


def _listed_names(root: Path, path: str) -> list[str]:
    try:
        return os.listdir(locate(root, path))
    except FileNotFoundError:
        raise BadInput(path, Fault.MISSING, f"there is no such folder under {root}") from None
    except OSError as error:
        raise BadInput(path, Fault.UNREADABLE, error.strerror or str(error)) from None


def _picture_names(root: Path, path: str) -> list[str]:
    names = sorted(_listed_names(root, path))
    matches = [match for name in names if (match := _PICTURE_NAME.fullmatch(name))]
    kinds = sorted({match["letters"] for match in matches})
    if len(kinds) > 1:
        detail = f"its pictures are named in several ways, {kinds[:3]}; give frame_template"
        raise BadInput(path, Fault.UNKNOWN_FORMAT, detail)
    return [match[0] for match in matches]


@dataclasses.dataclass(frozen=True, eq=False)
class ListedClips:
    """The videos of a list; a source (see `vidpretrain.data.source`).

    Attributes:
        root: Folder that paths start from.
        paths: Of the videos, `[N]`.
        labels: int32 `[N]`.
        classes: Names by label; None if classes have only numbers.
        num_classes: Number of classes.
        reader: Knows what the paths lead to.
        index: What every entry of the list has; None if it has to be found out.
        rows: int64 `[N]`, the examples' positions in the index.
        lists_sha256: Hash of each list, by its name.
    """

    root: Path
    paths: tuple[str, ...] = dataclasses.field(repr=False)
    labels: np.ndarray = dataclasses.field(repr=False)
    classes: tuple[str, ...] | None = dataclasses.field(repr=False)
    num_classes: int
    reader: Reader
    index: ListIndex | None = dataclasses.field(repr=False)
    rows: np.ndarray = dataclasses.field(repr=False)
    lists_sha256: dict[str, str]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the classes' names; their numbers if they have none."""
        return self.classes or tuple(map(str, range(self.num_classes)))

    @functools.cached_property
    def flip_labels(self) -> tuple[int, ...] | None:
        """Return the label of mirror images: left and right in the names change places."""
        return lists.mirrored_labels(self.class_names)

    def __len__(self) -> int:
        return len(self.paths)

    def example_name(self, example: int) -> str:
        """Return a video's path, as the list has it."""
        return self.paths[example]

    def num_frames(self, example: int) -> int:
        """Return how many frames a video has.

        Raises:
            BadInput: It cannot be used.
        """
        return self.file_facts(example).video.num_frames

    def label(self, example: int) -> int:
        """Return a video's label, from 0."""
        return int(self.labels[example])

    def frames(self, example: int, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Decode frames of a video, in the order asked for.

        Returns:
            uint8 `[T, H, W, 3]`.

        Raises:
            BadInput: It cannot be used.
            IndexError: There is no such frame.
        """
        return self.reader.frames(self.root, self.paths[example], self.file_facts(example), indices)

    def file_facts(self, example: int) -> FileFacts:
        """Return what is known of a video; raises `BadInput` if it cannot be used."""
        if self.index is not None:
            return self.index.facts(int(self.rows[example]), self.paths[example])
        return _scanned(self.reader, self.root, self.paths[example])


@functools.lru_cache(maxsize=_CACHED_SCANS)
def _scanned(reader: Reader, root: Path, path: str) -> FileFacts:
    # Frames are asked for right after their number; this saves to scan twice.
    return reader.scan(root, path)


def video_files(
    split: str, seed: int = 0, *, short_side_px: int = 0, **options: Any
) -> ListedClips:
    """Make a source of video files.

    Args:
        split: "train", "validation" or "test".
        seed: Not used; nothing is random.
        short_side_px: Frames whose shorter side is longer than this are shrunk to it; 0 for
            frames as they are stored.
        **options: Those of `listed_clips`.
    """
    return listed_clips(split, VideoReader(short_side_px), **options)


def frame_folders(
    split: str, seed: int = 0, *, frame_template: str = "", short_side_px: int = 0, **options: Any
) -> ListedClips:
    """Make a source of folders with a picture per frame.

    Args:
        split: "train", "validation" or "test".
        seed: Not used; nothing is random.
        frame_template: Name of a frame by its number from 1, such as "img_{:05d}.jpg". Empty for
            all pictures of a folder in the order of their names.
        short_side_px: Frames whose shorter side is longer than this are shrunk to it; 0 for
            frames as they are stored.
        **options: Those of `listed_clips`.
    """
    return listed_clips(split, FolderReader(frame_template, short_side_px), **options)


def listed_clips(
    split: str,
    reader: Reader,
    *,
    train: str = "",
    validation: str = "",
    test: str = "",
    root: str = "",
    list_format: str = "auto",
    template: str = "",
    classes: str = "",
    only_classes: str = "",
    num_classes: int = 0,
    index: str = "auto",
) -> ListedClips:
    """Make a source of a list.

    Args:
        split: Which of the lists: "train", "validation" or "test".
        reader: Knows what the paths in the list lead to.
        train: Path of the list of the training set; several joined with "+". It also says which
            classes there are, unless one of the next arguments does.
        validation: Path of another list.
        test: Path of the list of the test set.
        root: Folder that paths start from; the list's own folder if empty.
        list_format: How the lists are written; see `vidpretrain.data.lists`.
        template: How paths are made of identifiers; see `lists.read_list`.
        classes: File with the names of the classes, in the order of their labels.
        only_classes: File with the names of the classes to keep, in the order of their new
            labels; Mini-Kinetics is Kinetics with such a list.
        num_classes: Number of classes, where labels are numbers without names.
        index: Path of the list's index; "auto" for the one beside it if there is one; empty for
            none.

    Raises:
        ListError: A list is missing, cannot be understood, or has labels out of range.
        IndexFileError: The index cannot be read or is of another list.
    """
    names = {"train": train, "validation": validation, "test": test}
    if split not in names or not names[split]:
        given = [name for name in names if names[name]]
        raise lists.ListError(
            f"source.{split}, the list of this split, is not given; "
            f"given: {', '.join(given) or 'none'}"
        )

    def read(which: str) -> tuple[lists.Listing, list[lists.Listing]]:
        parts = [
            lists.read_list(
                name,
                root=root_of(root, name),
                list_format=list_format,
                template=template,
                split=which,
            )
            for name in lists.list_names(names[which])
        ]
        return lists.join_listings(names[which], parts), parts

    listing, parts = read(split)
    roots = {root_of(root, part.name) for part in parts}
    if len(roots) > 1:
        raise lists.ListError("source.root must be given: the lists are in different folders")
    lists.check_no_faults(listing.faults, listing.name)
    class_names, count = _classes_of(listing, classes, num_classes)
    if not count:
        class_names, count = lists.infer_classes(read("train")[0] if train else listing)
    labels, faults = lists.number_labels(listing, class_names, count)
    lists.check_no_faults(faults, listing.name)
    rows = np.arange(len(labels))
    if only_classes:
        class_names, labels, rows = _keep(
            lists.read_classes(Path(only_classes)), class_names, labels
        )
        count = len(class_names)
    return ListedClips(
        root=roots.pop(),
        paths=tuple(listing.entries[row].path for row in rows),
        labels=np.array(labels, np.int32),
        classes=class_names,
        num_classes=count,
        reader=reader,
        index=_index_of(parts, split, index),
        rows=rows,
        lists_sha256={part.name: part.sha256 for part in parts},
    )


def root_of(root: str, list_name: str) -> Path:
    """Return the folder that a list's paths start from, its own where no other is given."""
    if root:
        return Path(root)
    return Path(list_name) if os.path.isdir(list_name) else Path(list_name).parent


def _classes_of(
    listing: lists.Listing, classes: str, num_classes: int
) -> tuple[tuple[str, ...] | None, int]:
    """Return names and number of the classes as far as they are given, else None and 0."""
    names = lists.read_classes(Path(classes)) if classes else listing.classes
    if names is not None and num_classes and num_classes != len(names):
        raise lists.ListError(
            f"source.num_classes is {num_classes}, but there are {len(names)} names of classes"
        )
    return names, len(names) if names is not None else num_classes


def _keep(
    kept: tuple[str, ...], class_names: tuple[str, ...] | None, labels: list[int]
) -> tuple[tuple[str, ...], list[int], np.ndarray]:
    """Return the names kept, the new labels of the examples kept, and their positions."""
    if class_names is None:
        raise lists.ListError("source.only_classes needs names of classes; give classes")
    number_of = {name: number for number, name in enumerate(class_names)}
    for name in kept:
        if name not in number_of:
            raise lists.ListError(
                f"source.only_classes: class {name!r}; {closest(name, number_of)}"
            )
    new_label = {number_of[name]: label for label, name in enumerate(kept)}
    rows = [row for row, label in enumerate(labels) if label in new_label]
    return kept, [new_label[labels[row]] for row in rows], np.array(rows, np.int64)


def _index_of(parts: Sequence[lists.Listing], split: str, index: str) -> ListIndex | None:
    if all(entry.num_frames is not None for part in parts for entry in part.entries):
        return make_index(
            [
                FileFacts(VideoIndex(entry.num_frames or 0, 0, 0, (), ()), 0)
                for part in parts
                for entry in part.entries
            ]
        )
    if not index:
        return None
    if index != "auto":
        paths = [entry.path for part in parts for entry in part.entries]
        return read_index(Path(index), hash_paths(paths))
    beside = [path_beside(part.name, split, SUFFIX) for part in parts]
    if not all(path.is_file() for path in beside):
        return None
    return join_indexes(
        [
            read_index(path, hash_paths(entry.path for entry in part.entries))
            for path, part in zip(beside, parts, strict=True)
        ]
    )
