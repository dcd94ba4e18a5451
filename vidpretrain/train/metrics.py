# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Where metrics go: JSON lines, TensorBoard, and the terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TextIO

import tensorboardX
import tqdm

JSON_LINES = "metrics.jsonl"


class MetricsWriter:
    """Appends metrics to `metrics.jsonl` and to TensorBoard event files in a folder.

    A line of `metrics.jsonl` is `{"step": 120, "images": 7680, "train/loss": 1.2, ...}`. Lines of
    steps after `start_step` are dropped when the file is opened: a resumed run takes those steps
    again.
    """

    def __init__(self, folder: Path, *, images_per_step: int, start_step: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._images_per_step = images_per_step
        path = folder / JSON_LINES
        _drop_after(path, start_step)
        self._lines = path.open("a", encoding="utf-8")
        self._board = tensorboardX.SummaryWriter(
            str(folder / "tensorboard"), purge_step=start_step + 1 if start_step else None
        )

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one record; it is on its way to the disk when this returns."""
        record = {"step": step, "images": step * self._images_per_step, **metrics}
        self._lines.write(json.dumps(record) + "\n")
        self._lines.flush()
        for name, value in metrics.items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the files."""
        self._lines.close()
        self._board.close()

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Return the records of a folder's `metrics.jsonl`, oldest first; none if there is no file.

    A last line that a killed run left half-written is passed over.
    """
    path = folder / JSON_LINES
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


def _drop_after(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = [record for record in read_metrics(path.parent) if record["step"] <= step]
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
    os.replace(temporary, path)


class Progress:
    """A progress bar on a terminal; one plain line per report elsewhere.

    With `shown=False` nothing at all: of several processes one speaks.
    """

    def __init__(
        self,
        name: str,
        *,
        start_step: int,
        total_steps: int,
        shown: bool = True,
        stream: TextIO | None = None,
    ) -> None:
        self._shown = shown
        self._name = name
        self._total = total_steps
        self._stream = sys.stderr if stream is None else stream
        self._bar = tqdm.tqdm(
            initial=start_step,
            total=total_steps,
            desc=name,
            unit="step",
            dynamic_ncols=True,
            disable=not shown or not self._stream.isatty(),
            file=self._stream,
        )

    def advance(self) -> None:
        """Count one step."""
        self._bar.update()

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show the metrics of a step."""
        text = " ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        if self._bar.disable:
            self._print(f"{self._name} step {step}/{self._total} {text}")
        else:
            self._bar.set_postfix_str(text)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self._bar.disable:
            self._print(f"{self._name}: {text}")
        else:
            self._bar.write(f"{self._name}: {text}", file=self._stream)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()

    def _print(self, line: str) -> None:
        if self._shown:
            print(line, file=self._stream, flush=True)
