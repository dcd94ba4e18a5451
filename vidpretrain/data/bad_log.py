# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a run knows of the bad inputs that it met: a log, and when enough is enough."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

from vidpretrain.data.bad_input import BadInput


class TooManyBadInputsError(RuntimeError):
    """More of the data is bad than a run bears; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Incident:
    """A bad input that a batch met.

    Attributes:
        step: Number of the batch.
        example: Position in the source.
        path: What the list calls the file.
        fault: The kind of fault.
        detail: What exactly was found.
        replacement: The example that took its place; None in tests, where none does.
    """

    step: int
    example: int
    path: str
    fault: str
    detail: str
    replacement: int | None


def incident(bad: BadInput, *, step: int, example: int, replacement: int | None) -> Incident:
    """Note a bad input."""
    return Incident(step, example, bad.path, str(bad.fault), bad.detail, replacement)


class BadInputLog:
    """Every bad example once, in the order in which batches met them.

    A run that is resumed reads what it wrote before, so nothing is entered or counted twice.
    Steps come in the same order on any number of workers, so two runs write the same log.

    Attributes:
        incidents: All of them, those of earlier runs included.
    """

    def __init__(self, path: Path | None, *, most: int) -> None:
        """Open a log.

        Args:
            path: A file of JSON lines, the fields of `Incident`; None keeps it in memory.
            most: Greatest number of bad examples that is borne.
        """
        self._path = path
        self._most = most
        self.incidents: list[Incident] = []
        if path is not None and path.exists():
            # A run that was killed may have left half a line, which the next entry would join.
            whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
            self.incidents = [Incident(**json.loads(line)) for line in whole.split("\n") if line]
            path.write_text(whole + "\n" if whole else "", encoding="utf-8")
        self._known = {incident.example for incident in self.incidents}

    def add(self, incidents: Iterable[Incident]) -> None:
        """Enter what a batch met.

        Raises:
            TooManyBadInputsError: There are more bad examples than are borne.
        """
        new = []
        for one in incidents:
            if one.example not in self._known:
                self._known.add(one.example)
                new.append(one)
        if not new:
            return
        self.incidents += new
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(dataclasses.asdict(one)) + "\n" for one in new)
        if len(self.incidents) > self._most:
            last = new[-1]
            raise TooManyBadInputsError(
                f"{len(self.incidents)} bad inputs, and at most {self._most} are borne. The last: "
                f"{last.path}: {last.fault}: {last.detail}. "
                f"{f'All are in {self._path}. ' if self._path else ''}"
                "`python -m vidpretrain.data check` finds all bad files and writes a clean list."
            )


def open_log(
    folder: Path, *, num_examples: int, max_bad_share: float, process_index: int, process_count: int
) -> BadInputLog:
    """Open the log of a training run: `bad_inputs.jsonl`, one a process.

    Args:
        folder: Of the run; exists.
        num_examples: Examples of the training set.
        max_bad_share: Share of them that may be bad, from 0 to 1, before the run stops.
        process_index: This process among those that train together.
        process_count: How many train together. Each meets its own examples of an epoch, so each
            bears its part of the share.

    Raises:
        ValueError: The share is not within 0 to 1.
    """
    if not 0 <= max_bad_share <= 1:
        raise ValueError(f"max_bad_share is {max_bad_share}; it must be within 0 to 1.")
    name = "bad_inputs.jsonl" if process_index == 0 else f"bad_inputs.{process_index}.jsonl"
    most = int(max_bad_share * num_examples / process_count)
    return BadInputLog(folder / name, most=most)
