# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""`data index LIST --root DIR`: note what every video of a list has, beside the list."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vidpretrain.data import list_flags
from vidpretrain.data.bad_input import BadInput, Fault
from vidpretrain.data.clips import Reader
from vidpretrain.data.index import (
    SUFFIX,
    FileFacts,
    ListIndex,
    hash_paths,
    make_index,
    path_beside,
    write_index,
)
from vidpretrain.data.isolated import map_isolated
from vidpretrain.data.journal import Journal
from vidpretrain.data.video import VideoIndex

_DESCRIPTION = """\
Read the packets of every video of a list, without decoding them, and note frame counts and key
frames in LIST.index.npz. Training finds it there, and need not scan. An interrupted command goes
on where it was.

  python -m vidpretrain.data index train.txt --root /data/k400
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    parser = list_flags.list_parser("index", _DESCRIPTION)
    parser.add_argument("--out", default="", metavar="FILE", help="write there instead")
    list_flags.add_workers(parser)
    flags = parser.parse_args(arguments)
    listing, root = list_flags.listing_of(flags)
    paths = [entry.path for entry in listing.entries]
    out = Path(flags.out) if flags.out else path_beside(flags.list, flags.split, SUFFIX)
    index = index_files(
        paths, root, list_flags.reader_of(flags), journal=_part(out), num_workers=flags.workers
    )
    write_index(out, index, hash_paths(paths))
    _part(out).unlink()
    _report(listing.name, index, paths, out)
    return 0


def index_files(
    paths: Sequence[str], root: Path, reader: Reader, *, journal: Path, num_workers: int
) -> ListIndex:
    """Scan files, in processes that a bad one may kill.

    Args:
        paths: Of the entries, below the root.
        root: Folder of all files.
        reader: Knows what the entries are.
        journal: Where results are kept until all are there; stays.
        num_workers: Processes; 0 for this one.
    """
    work = {"paths": hash_paths(paths), "root": str(root), "reader": repr(reader)}
    with Journal(journal, work) as notes:
        todo = [position for position in range(len(paths)) if position not in notes.done]
        outcomes = map_isolated(
            functools.partial(reader.scan, root),
            [paths[position] for position in todo],
            num_workers=num_workers,
        )
        with tqdm(total=len(paths), initial=len(notes.done), unit="file", disable=None) as bar:
            for at, outcome in outcomes:
                notes.add(todo[at], _to_json(outcome))
                bar.update()
        return make_index(
            [_from_json(paths[position], notes.done[position]) for position in range(len(paths))]
        )


def _part(out: Path) -> Path:
    return out.with_name(out.name + ".part")


def _to_json(outcome: FileFacts | BadInput) -> dict[str, Any]:
    if isinstance(outcome, BadInput):
        return {"fault": str(outcome.fault), "detail": outcome.detail}
    return dataclasses.asdict(outcome)


def _from_json(path: str, note: dict[str, Any]) -> FileFacts | BadInput:
    if "fault" in note:
        return BadInput(path, Fault(note["fault"]), note["detail"])
    video: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in note["video"].items()
    }
    return FileFacts(VideoIndex(**video), note["size_bytes"])


def _report(name: str, index: ListIndex, paths: Sequence[str], out: Path) -> None:
    good = len(index) - len(index.faults)
    print(
        f"{name}: {good} of {len(index)} can be used, {int(index.num_frames.sum())} frames; {out}"
    )
    for position, (fault, detail) in list(index.faults.items())[:10]:
        print(f"  {paths[position]}: {fault}: {detail}", file=sys.stderr)
    if index.faults:
        print("`python -m vidpretrain.data check` looks closer, and writes a clean list.")
