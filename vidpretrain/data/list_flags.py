# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The arguments that commands on a list share: which list, where its files are, what they are."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from vidpretrain.data import lists
from vidpretrain.data.clips import FolderReader, Reader, VideoReader, root_of

MOST_WORKERS = 16


def list_parser(
    command: str, description: str, *, needs_list: bool = True
) -> argparse.ArgumentParser:
    """Return a parser that knows what names a list.

    Args:
        command: What it is called.
        description: What it does, with examples.
        needs_list: Whether the list must be given.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m vidpretrain.data {command}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "list",
        metavar="LIST",
        nargs=None if needs_list else "?",
        help="list of videos, or a folder of classes",
    )
    parser.add_argument(
        "--root", default="", metavar="DIR", help="where paths start (LIST's folder)"
    )
    parser.add_argument(
        "--list-format", default="auto", choices=[str(known) for known in lists.ListFormat]
    )
    parser.add_argument("--template", default="", help="how paths are made of identifiers")
    parser.add_argument("--split", default="train", help="part that is read of a list with both")
    parser.add_argument("--frames", action="store_true", help="entries are folders of pictures")
    parser.add_argument("--frame-template", default="", help="names of pictures: img_{:05d}.jpg")
    return parser


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Let a parser take the number of worker processes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser.add_argument(
        "--workers",
        type=int,
        default=min(MOST_WORKERS, cores or 1),
        help="processes; 0: this one (default: %(default)s, one a core)",
    )


def listing_of(flags: argparse.Namespace) -> tuple[lists.Listing, Path]:
    """Read the list that the arguments name; return it and its root."""
    root = root_of(flags.root, flags.list)
    listing = lists.read_list(
        flags.list,
        root=root,
        list_format=flags.list_format,
        template=flags.template,
        split=flags.split,
    )
    return listing, root


def reader_of(flags: argparse.Namespace, short_side_px: int = 0) -> Reader:
    """Return what reads the list's entries."""
    if flags.frames or flags.frame_template:
        return FolderReader(flags.frame_template, short_side_px)
    return VideoReader(short_side_px)
