# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The index of a list: what every video has, noted once, so that training never scans a file.

The file lies beside the list and is an uncompressed NumPy archive, read without unpickling. It
belongs to the list's entries, by their hash: a list that has changed needs a new index.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from vidpretrain.data.bad_input import BadInput, Fault
from vidpretrain.data.video import VideoIndex

SUFFIX = ".index.npz"
_VERSION = 1


class IndexFileError(ValueError):
    """An index that does not fit its list or cannot be read; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class FileFacts:
    """What the index says of one file.

    Attributes:
        video: What its packets say. For a folder of pictures, their number, and no more.
        size_bytes: Size of the file when it was indexed; 0 for a folder.
    """

    video: VideoIndex
    size_bytes: int


@dataclasses.dataclass(frozen=True, eq=False)
class ListIndex:
    """What is known of every video of a list, by position in the list.

    Attributes:
        num_frames: int32 `[N]`; 0 for videos that cannot be used.
        size_bytes: int64 `[N]`.
        frame_px: int32 `[N, 2]`, height and width.
        key_offsets: int64 `[N + 1]`: the key frames of video `i` are those from `key_offsets[i]`.
        key_frames: int32 `[K]`, positions of key frames.
        key_times: int64 `[K]`, their times; -2^63 where frames have none.
        faults: Why a video cannot be used, by position.
    """

    num_frames: np.ndarray
    size_bytes: np.ndarray
    frame_px: np.ndarray
    key_offsets: np.ndarray
    key_frames: np.ndarray
    key_times: np.ndarray
    faults: Mapping[int, tuple[str, str]]

    def __len__(self) -> int:
        return len(self.num_frames)

    def facts(self, position: int, path: str) -> FileFacts:
        """Return what is known of a video.

        Args:
            position: In the list.
            path: What the list calls it.

        Raises:
            BadInput: It could not be used when it was indexed.
        """
        if position in self.faults:
            fault, detail = self.faults[position]
            raise BadInput(path, Fault(fault), detail)
        keys = slice(self.key_offsets[position], self.key_offsets[position + 1])
        times = self.key_times[keys].tolist()
        height, width = self.frame_px[position].tolist()
        return FileFacts(
            VideoIndex(
                num_frames=int(self.num_frames[position]),
                height=height,
                width=width,
                key_frames=tuple(self.key_frames[keys].tolist()),
                key_times=() if _NO_TIME in times else tuple(times),
            ),
            size_bytes=int(self.size_bytes[position]),
        )


_NO_TIME = int(np.iinfo(np.int64).min)


def path_beside(list_name: str, split: str, suffix: str) -> Path:
    """Return the path of a file that belongs to a list: beside it.

    Args:
        list_name: Path of the list, or a pattern that stands for several files.
        split: Tells apart what is read of a pattern.
        suffix: What is put behind the list's name.
    """
    path = Path(list_name)
    if "*" in path.name:
        return path.with_name(f"{path.name.replace('*', 'all')}.{split}{suffix}")
    return path.with_name(path.name + suffix)


def hash_paths(paths: Iterable[str]) -> str:
    """Return the hash that ties an index to the entries of a list."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.encode() + b"\0")
    return digest.hexdigest()


def make_index(outcomes: Sequence[FileFacts | BadInput]) -> ListIndex:
    """Put together what was found out of every video of a list, in the list's order."""
    facts = [outcome if isinstance(outcome, FileFacts) else _NOTHING for outcome in outcomes]
    counts = [len(fact.video.key_frames) for fact in facts]
    return ListIndex(
        num_frames=np.array([fact.video.num_frames for fact in facts], np.int32),
        size_bytes=np.array([fact.size_bytes for fact in facts], np.int64),
        frame_px=np.array([(f.video.height, f.video.width) for f in facts], np.int32).reshape(
            -1, 2
        ),
        key_offsets=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
        key_frames=np.array([at for fact in facts for at in fact.video.key_frames], np.int32),
        key_times=np.array(
            [
                time
                for fact in facts
                for time in fact.video.key_times or (_NO_TIME,) * len(fact.video.key_frames)
            ],
            np.int64,
        ),
        faults={
            position: (str(outcome.fault), outcome.detail)
            for position, outcome in enumerate(outcomes)
            if isinstance(outcome, BadInput)
        },
    )


def join_indexes(parts: Sequence[ListIndex]) -> ListIndex:
    """Return the indexes of several lists as that of the lists joined."""
    starts = np.cumsum([0, *(len(part) for part in parts)])
    key_starts = np.cumsum([0, *(len(part.key_frames) for part in parts)])
    offsets = [
        part.key_offsets[:-1] + start for part, start in zip(parts, key_starts, strict=False)
    ]
    return ListIndex(
        num_frames=np.concatenate([part.num_frames for part in parts]),
        size_bytes=np.concatenate([part.size_bytes for part in parts]),
        frame_px=np.concatenate([part.frame_px for part in parts]),
        key_offsets=np.concatenate([*offsets, key_starts[-1:]]),
        key_frames=np.concatenate([part.key_frames for part in parts]),
        key_times=np.concatenate([part.key_times for part in parts]),
        faults={
            at + int(start): fault
            for part, start in zip(parts, starts, strict=False)
            for at, fault in part.faults.items()
        },
    )


_NOTHING = FileFacts(VideoIndex(0, 0, 0, (), ()), 0)
_ARRAYS = ("num_frames", "size_bytes", "frame_px", "key_offsets", "key_frames", "key_times")


def write_index(path: Path, index: ListIndex, paths_sha256: str) -> None:
    """Write an index, whole or not at all.

    Args:
        path: Of the file.
        index: What to write.
        paths_sha256: `hash_paths` of the list's entries.
    """
    note = {"version": _VERSION, "paths_sha256": paths_sha256, "faults": dict(index.faults)}
    part = path.with_name(path.name + ".tmp")
    with part.open("wb") as file:
        np.savez(
            file,
            note=np.frombuffer(json.dumps(note).encode(), np.uint8),
            **{name: getattr(index, name) for name in _ARRAYS},
        )
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def read_index(path: Path, paths_sha256: str) -> ListIndex:
    """Read an index.

    Args:
        path: Of the file.
        paths_sha256: `hash_paths` of the list's entries.

    Raises:
        IndexFileError: It is no index, or that of other entries.
    """
    remedy = "run `python -m vidpretrain.data index` again"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            note = json.loads(archive["note"].tobytes())
            arrays = {name: archive[name] for name in _ARRAYS}
            version, hashed, faults = note["version"], note["paths_sha256"], note["faults"]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise IndexFileError(f"index {path} cannot be read ({error}); {remedy}") from None
    if version != _VERSION or hashed != paths_sha256:
        raise IndexFileError(f"index {path} is not of this list as it is now; {remedy}")
    return ListIndex(**arrays, faults={int(at): (f, d) for at, (f, d) in faults.items()})
