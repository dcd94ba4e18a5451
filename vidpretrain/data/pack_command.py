# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""`python -m vidpretrain.data pack`: packs the videos of a list."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from vidpretrain.data.clips import ListedClips, frame_folders, video_files
from vidpretrain.data.motion import FlowMethod, show_motion
from vidpretrain.data.packed import Encoding, Storage
from vidpretrain.data.packing import PackError, Plan, manifest_path, pack
from vidpretrain.data.source import Modality


def main(arguments: Sequence[str]) -> int:
    """Pack what the arguments name; return the exit code."""
    args = _parser().parse_args(arguments)
    listed = _open_list(args)
    source = show_motion(listed, modality=args.modality, flow_method=args.flow_method)
    plan = Plan(
        split=args.split,
        paths=listed.paths,
        class_names=listed.class_names,
        encoding=Encoding(Storage(args.storage), args.key_every, args.crf, args.jpeg_quality),
        origin={"list": args.list, "modality": args.modality, **listed.facts()},
        clips_per_shard=args.clips_per_shard,
    )
    if args.modality and plan.encoding.storage is not Storage.JPEG:
        raise PackError(f"{args.modality} is stored as pictures; add --storage jpeg")
    part, parts = args.shard
    shards = range(part, plan.num_shards, parts)
    if not pack(source, plan, args.out, shards=shards, num_workers=args.workers):
        print(f"{args.out}: shards of other parts are missing; the last part to end joins them")
        return 0
    content = json.loads(manifest_path(args.out, args.split).read_text())
    print(
        f"{args.out}: packed {content['packed']} of {content['listed']} clips as {args.split}; "
        f"{len(content['failures'])} could not be used (see {manifest_path(args.out, args.split)})"
    )
    return 0 if content["packed"] else 1


def _open_list(args: argparse.Namespace) -> ListedClips:
    options = {
        "train": args.list,
        "root": args.root,
        "list_format": args.list_format,
        "template": args.template,
        "classes": args.classes,
        "short_side_px": args.short_side,
    }
    if args.frames:
        return frame_folders("train", frame_template=args.frame_template, **options)
    return video_files("train", **options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vidpretrain.data pack",
        description="Pack the videos of a list into array_record shards.",
    )
    parser.add_argument("list", help="list of videos, or a folder with a folder per class")
    parser.add_argument("--root", default="", help="folder that paths start from (the list's)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the packed data set")
    parser.add_argument("--split", default="train", help="what these videos are (train)")
    parser.add_argument(
        "--short-side", type=int, default=256, help="pixels; larger frames are shrunk (256)"
    )
    parser.add_argument(
        "--storage",
        choices=[storage.value for storage in Storage],
        default=Storage.VIDEO.value,
        help="mp4, or a JPEG file per frame: twice the speed, several times the size",
    )
    parser.add_argument(
        "--shard", type=_part, default=(0, 1), metavar="I/N", help="do part I of N, from 0 (0/1)"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (all cores)")
    parser.add_argument("--classes", default="", help="file with the classes' names, in order")
    parser.add_argument("--list-format", default="auto", help="see docs/data.md (auto)")
    parser.add_argument("--template", default="", help="how paths are made of identifiers")
    parser.add_argument("--frames", action="store_true", help="entries are folders of pictures")
    parser.add_argument("--frame-template", default="", help="such as img_{:05d}.jpg")
    parser.add_argument("--key-every", type=int, default=12, help="frames; of mp4 (12)")
    parser.add_argument("--crf", type=int, default=23, help="quality of mp4, 0 best to 51 (23)")
    parser.add_argument("--jpeg-quality", type=int, default=90, help="1 to 100 best (90)")
    parser.add_argument("--clips-per-shard", type=int, default=64, help="(64)")
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
    return parser


def _part(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r}; write I/N with I from 0 to N - 1, such as 0/4")
    return int(match[1]), int(match[2])
