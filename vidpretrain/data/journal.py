# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a long command has found out so far, so that it goes on where it was interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any


class Journal:
    """A file of JSON lines, one for each piece of work that is done.

    The first line says what the work is. A journal of other work is begun anew.

    Attributes:
        done: Results by the position of their piece of work.
    """

    def __init__(self, path: Path, work: dict[str, Any]) -> None:
        """Open a journal, or begin one.

        Args:
            path: Of the file.
            work: What the work is, such as the hash of a list; survives JSON.
        """
        self.path = path
        self.done: dict[int, Any] = {}
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else [""]
        # What is behind the last line break was being written when the command ended.
        whole = [json.loads(line) for line in lines[:-1]]
        if whole and whole[0] == work:
            self.done = dict(whole[1:])
        self._file = path.open("w", encoding="utf-8")
        self._write(work)
        for position, result in self.done.items():
            self._write([position, result])

    def add(self, position: int, result: Any) -> None:
        """Note the result of a piece of work; it survives the end of the process."""
        self.done[position] = result
        self._write([position, result])
        self._file.flush()

    def remove(self) -> None:
        """Remove the file: all is done, and kept elsewhere."""
        self._file.close()
        self.path.unlink()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def _write(self, line: Any) -> None:
        self._file.write(json.dumps(line) + "\n")
