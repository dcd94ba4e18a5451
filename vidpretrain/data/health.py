# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the files of a list, found by decoding them."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from vidpretrain.data.bad_input import BadInput, Fault
from vidpretrain.data.clips import Reader, VideoReader
from vidpretrain.data.files import open_inside
from vidpretrain.data.video import read_durations

_FRAMES_AT_A_TIME = 8


@dataclasses.dataclass(frozen=True)
class Health:
    """What was found out of a file that can be used.

    Attributes:
        num_frames: Number of frames.
        sha256: Hash of the bytes of a file; empty for a folder.
    """

    num_frames: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Checkup:
    """How files are looked at.

    Attributes:
        root: Folder of all files.
        reader: Knows what the entries are.
        full: Decode every frame, not only the first, the middle and the last.
        tolerance_sec: How far durations may be apart: what the header says, what the list says,
            and what is there.
    """

    root: Path
    reader: Reader
    full: bool = False
    tolerance_sec: float = 1.0

    def __call__(self, item: tuple[str, float | None]) -> Health:
        """Look at a file.

        Args:
            item: Path below the root, and the seconds that the list says it lasts, if it does.

        Raises:
            BadInput: It cannot be used, or is not what it should be.
        """
        path, listed_sec = item
        facts = self.reader.scan(self.root, path)
        count = facts.video.num_frames
        wanted = list(range(count)) if self.full else sorted({0, count // 2, count - 1})
        for start in range(0, len(wanted), _FRAMES_AT_A_TIME):
            self.reader.frames(self.root, path, facts, wanted[start : start + _FRAMES_AT_A_TIME])
        if not isinstance(self.reader, VideoReader):
            return Health(count, "")
        with open_inside(self.root, path) as file:
            there_sec, header_sec = read_durations(file)
            for said_sec, who in ((header_sec, "its header"), (listed_sec, "the list")):
                self._compare(path, there_sec, said_sec, who)
            file.seek(0)
            return Health(count, hashlib.file_digest(file, "sha256").hexdigest())  # type: ignore[arg-type]

    def _compare(self, path: str, there_sec: float, said_sec: float | None, who: str) -> None:
        if said_sec is None:
            return
        # Long recordings are cut at key frames, so a tenth is borne as well.
        if abs(there_sec - said_sec) > max(self.tolerance_sec, 0.1 * said_sec):
            detail = f"it lasts {there_sec:.2f} s, and {who} says {said_sec:.2f} s"
            raise BadInput(path, Fault.WRONG_DURATION, detail)
