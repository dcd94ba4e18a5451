# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""`data check LIST --root DIR`: decode every file of a list; write a report and a clean list."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from vidpretrain.data import list_flags, lists
from vidpretrain.data.bad_input import BadInput, Fault
from vidpretrain.data.health import Checkup, Health
from vidpretrain.data.index import path_beside
from vidpretrain.data.isolated import map_isolated
from vidpretrain.data.journal import Journal

REPORT = ".report.json"
CLEAN = ".clean.txt"
_MOST_SHOWN = 10
_FULL_LIMIT_SEC, _LIMIT_SEC = 600.0, 60.0

_DESCRIPTION = """\
Decode the first, middle and last frame (--full: every frame) of every file of a list. Writes
LIST.report.json, with everything found, and LIST.clean.txt: the entries that can be used, as
`path label` lines. An interrupted command goes on where it was. The exit code is 1 if anything is
wrong.

  python -m vidpretrain.data check train.txt --root /data/k400
"""


@dataclasses.dataclass(frozen=True)
class Finding:
    """What is wrong with an entry of a list.

    Attributes:
        line: Of the list, from 1; 0 where the list is no text.
        path: What the list calls the file.
        fault: The kind of fault.
        detail: What exactly was found.
    """

    line: int
    path: str
    fault: str
    detail: str


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    parser = list_flags.list_parser("check", _DESCRIPTION)
    parser.add_argument("--full", action="store_true", help="decode every frame")
    parser.add_argument("--classes", default="", metavar="FILE", help="names of the classes")
    parser.add_argument("--num-classes", type=int, default=0, help="where classes have no names")
    parser.add_argument("--out", default="", metavar="PREFIX", help="write there (LIST)")
    list_flags.add_workers(parser)
    flags = parser.parse_args(arguments)
    listing, root = list_flags.listing_of(flags)
    prefix = Path(flags.out) if flags.out else path_beside(flags.list, flags.split, "")
    checkup = Checkup(root, list_flags.reader_of(flags), full=flags.full)
    outcomes = check_files(
        listing, checkup, journal=_beside(prefix, ".check.part"), num_workers=flags.workers
    )
    findings = [Finding(0, "", "unreadable line", str(fault)) for fault in listing.faults]
    findings += _labels_out_of_range(listing, flags.classes, flags.num_classes)
    findings += find_faults(listing, outcomes)
    _write(listing, findings, prefix)
    _beside(prefix, ".check.part").unlink()
    return 1 if findings else 0


def check_files(
    listing: lists.Listing, checkup: Checkup, *, journal: Path, num_workers: int
) -> list[Health | BadInput]:
    """Look at every file of a list, in processes that a bad one may kill.

    Args:
        listing: The list.
        checkup: How to look.
        journal: Where results are kept until all are there; stays.
        num_workers: Processes; 0 for this one.
    """
    entries = listing.entries
    work = {"list": listing.sha256, "checkup": repr(checkup)}
    with Journal(journal, work) as notes:
        todo = [position for position in range(len(entries)) if position not in notes.done]
        outcomes = map_isolated(
            checkup,
            [(entries[position].path, entries[position].seconds) for position in todo],
            num_workers=num_workers,
            limit_sec=_FULL_LIMIT_SEC if checkup.full else _LIMIT_SEC,
        )
        with tqdm(total=len(entries), initial=len(notes.done), unit="file", disable=None) as bar:
            for at, outcome in outcomes:
                bad = isinstance(outcome, BadInput)
                note = [str(outcome.fault), outcome.detail] if bad else dataclasses.asdict(outcome)  # type: ignore[union-attr, arg-type]
                notes.add(todo[at], note)
                bar.update()
        return [_from_json(entry.path, notes.done[at]) for at, entry in enumerate(entries)]


def find_faults(listing: lists.Listing, outcomes: Sequence[Health | BadInput]) -> list[Finding]:
    """Return what is wrong with a list's files, files that are there twice included."""
    findings = []
    first_of: dict[str, int] = {}
    for position, (entry, outcome) in enumerate(zip(listing.entries, outcomes, strict=True)):
        if isinstance(outcome, BadInput):
            findings.append(Finding(entry.line, entry.path, str(outcome.fault), outcome.detail))
            continue
        first = first_of.setdefault(outcome.sha256 or entry.path, position)
        if first != position:
            detail = f"the same as {listing.entries[first].path}"
            findings.append(Finding(entry.line, entry.path, str(Fault.DUPLICATE), detail))
    return findings


def _labels_out_of_range(listing: lists.Listing, classes: str, num_classes: int) -> list[Finding]:
    names = lists.read_classes(Path(classes)) if classes else listing.classes
    count = len(names) if names is not None else num_classes
    if not count:
        try:
            names, count = lists.infer_classes(listing)
        except lists.ListError as error:
            # Without the number of classes, only what can never be a label is found.
            findings = [
                Finding(entry.line, entry.path, str(Fault.LABEL), f"label {entry.label}")
                for entry in listing.entries
                if isinstance(entry.label, int) and not 0 <= entry.label < lists.MAX_CLASSES
            ]
            return findings or [Finding(0, listing.name, str(Fault.LABEL), str(error))]
    labels, _ = lists.number_labels(listing, names, count)
    return [
        Finding(entry.line, entry.path, str(Fault.LABEL), f"{entry.label!r} of {count} classes")
        for entry, label in zip(listing.entries, labels, strict=True)
        if label < 0
    ]


def _write(listing: lists.Listing, findings: Sequence[Finding], prefix: Path) -> None:
    counts = collections.Counter(finding.fault for finding in findings)
    bad = {(finding.line, finding.path) for finding in findings}
    clean = [entry for entry in listing.entries if (entry.line, entry.path) not in bad]
    report = {
        "list": listing.name,
        "sha256": listing.sha256,
        "entries": len(listing.entries),
        "clean": len(clean),
        "faults": dict(counts.most_common()),
        "findings": [dataclasses.asdict(finding) for finding in findings],
    }
    _replace(_beside(prefix, REPORT), json.dumps(report, indent=1) + "\n")
    _replace(_beside(prefix, CLEAN), "".join(_clean_line(entry) for entry in clean))
    print(f"{listing.name}: {len(clean)} of {len(listing.entries)} entries are clean")
    for fault, count in counts.most_common():
        print(f"  {count:8} {fault}")
    for finding in findings[:_MOST_SHOWN]:
        print(f"  line {finding.line}: {finding.path}: {finding.fault}: {finding.detail}")
    print(f"{_beside(prefix, REPORT)} has all of it, {_beside(prefix, CLEAN)} the clean entries")


def _clean_line(entry: lists.Entry) -> str:
    # Tabs, for paths may have spaces and commas.
    fields = [entry.path, entry.num_frames, entry.label]
    return "\t".join(str(field) for field in fields if field is not None) + "\n"


def _replace(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".tmp")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _beside(prefix: Path, suffix: str) -> Path:
    return prefix.with_name(prefix.name + suffix)


def _from_json(path: str, note: Mapping[str, str | int] | list[str]) -> Health | BadInput:
    if isinstance(note, list):
        return BadInput(path, Fault(note[0]), note[1])
    return Health(**note)  # type: ignore[arg-type]
