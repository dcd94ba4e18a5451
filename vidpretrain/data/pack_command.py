# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""`data pack LIST --root DIR --out DIR`: scale and store videos in a few large files."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path

from vidpretrain.data import list_flags
from vidpretrain.data.clips import listed_clips
from vidpretrain.data.manifest import describe
from vidpretrain.data.motion import FlowMethod, show_motion
from vidpretrain.data.packed import Encoding, Storage
from vidpretrain.data.packing import PackError, Plan, manifest_path, pack
from vidpretrain.data.source import Modality, Source
from vidpretrain.suggest import closest

SPLITS = ("train", "validation", "test")

_DESCRIPTION = """\
Decode every video of a list, shrink it, and store it in array_record shards that training reads
at full speed and tensorflow-datasets can read too. An interrupted command goes on where it was.
Several machines share the work; the last to end joins the shards.

  python -m vidpretrain.data pack train.txt --root /data/k400 --out /data/k400_packed --shard 0/4
  python -m vidpretrain.data pack val.txt --root /data/k400 --out /data/k400_packed --split test
"""


def main(arguments: Sequence[str]) -> int:
    """Pack what the arguments name; return the exit code."""
    parser = list_flags.list_parser("pack", _DESCRIPTION)
    add_packing(parser)
    parser.add_argument(
        "--shard", type=_part, default=(0, 1), metavar="I/N", help="do part I of N, from 0 (0/1)"
    )
    parser.add_argument("--clips-per-shard", type=int, default=64, help="(64)")
    list_flags.add_workers(parser)
    flags = parser.parse_args(arguments)
    source, plan = what_to_pack(flags)
    plan = dataclasses.replace(plan, clips_per_shard=flags.clips_per_shard)
    part, parts = flags.shard
    shards = range(part, plan.num_shards, parts)
    if not pack(source, plan, flags.out, shards=shards, num_workers=flags.workers):
        print(f"{flags.out}: shards of other parts are missing; the last part to end joins them")
        return 0
    noted = manifest_path(flags.out, flags.split)
    content = json.loads(noted.read_text())
    print(
        f"{flags.out}: packed {content['packed']} of {content['listed']} clips as {flags.split}; "
        f"{len(content['failures'])} could not be used (see {noted})"
    )
    return 0 if content["packed"] else 1


def add_packing(parser: argparse.ArgumentParser) -> None:
    """Let a parser take what decides what is in a packed data set."""
    parser.add_argument("--classes", default="", metavar="FILE", help="classes' names, in order")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the packed data set"
    )
    parser.add_argument(
        "--short-side", type=int, default=256, help="pixels; larger frames are shrunk (256)"
    )
    parser.add_argument(
        "--storage",
        choices=[storage.value for storage in Storage],
        default=Storage.VIDEO.value,
        help="mp4, or a JPEG file per frame: quicker for short videos, several times the size",
    )
    parser.add_argument("--key-every", type=int, default=24, help="frames, in mp4 (24)")
    parser.add_argument("--crf", type=int, default=23, help="quality of mp4, 0 best to 51 (23)")
    parser.add_argument("--jpeg-quality", type=int, default=90, help="1 to 100 best (90)")
    parser.add_argument(
        "--modality",
        choices=[Modality.FLOW.value, Modality.DIFFERENCE.value],
        default="",
        help="pack motion instead of colours",
    )
    parser.add_argument(
        "--flow-method",
        choices=[method.value for method in FlowMethod],
        default=FlowMethod.DIS.value,
        help="(dis)",
    )


def what_to_pack(flags: argparse.Namespace) -> tuple[Source, Plan]:
    """Return the source that the arguments name, and how it is packed.

    Raises:
        ValueError: They do not go together, or the list cannot be used.
    """
    if flags.split not in SPLITS:
        raise ValueError(f"--split {flags.split!r}; {closest(flags.split, SPLITS)}")
    if flags.modality and flags.storage != Storage.JPEG:
        raise PackError(f"{flags.modality} is stored as pictures; add --storage jpeg")
    listed = listed_clips(
        flags.split,
        list_flags.reader_of(flags, flags.short_side),
        root=flags.root,
        list_format=flags.list_format,
        template=flags.template,
        classes=flags.classes,
        **{flags.split: flags.list},
    )
    plan = Plan(
        split=flags.split,
        paths=listed.paths,
        class_names=listed.class_names,
        encoding=Encoding(Storage(flags.storage), flags.key_every, flags.crf, flags.jpeg_quality),
        origin={"list": flags.list, "modality": flags.modality, **describe(listed)},
    )
    return show_motion(listed, modality=flags.modality, flow_method=flags.flow_method), plan


def _part(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r}; write I/N with I from 0 to N - 1, such as 0/4")
    return int(match[1]), int(match[2])
