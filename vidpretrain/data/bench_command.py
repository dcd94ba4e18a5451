# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""`data bench LIST|--synthetic`: how fast this machine makes clips, step by step."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from vidpretrain.data import list_flags
from vidpretrain.data.bench import StepCosts, measure_steps, write_synthetic
from vidpretrain.data.clips import listed_clips
from vidpretrain.data.packed import packed_videos
from vidpretrain.data.pipeline import train_batches
from vidpretrain.data.source import Source
from vidpretrain.data.views import Views, make_views

_SYNTHETIC_VIDEOS = 4
_DESCRIPTION = """\
Make training clips of a list of videos, of a packed data set, or of synthetic videos (340 x 256
pixels, H.264, 10 s); print what each step costs a core, and the speed of the whole stream. A
network that trains faster than the stream waits for it.

  python -m vidpretrain.data bench train.txt --root /data/k400
  python -m vidpretrain.data bench /data/k400_packed
  python -m vidpretrain.data bench --synthetic
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    parser = list_flags.list_parser("bench", _DESCRIPTION, needs_list=False)
    parser.add_argument("--synthetic", action="store_true", help="make videos, and measure these")
    parser.add_argument("--sampling", choices=["dense", "segments"], default="dense")
    parser.add_argument("--num-frames", type=int, default=8, help="of a clip (8)")
    parser.add_argument("--stride", type=int, default=8, help="of dense clips, in frames (8)")
    parser.add_argument("--short-side", type=int, default=0, help="shrink frames to this; 0: keep")
    parser.add_argument("--size", type=int, default=224, help="of the crop, in pixels (224)")
    parser.add_argument("--randaugment", default="", help="such as rand-m7-mstd0.5-inc1")
    parser.add_argument("--batch-size", type=int, default=16, help="(16)")
    parser.add_argument("--clips", type=int, default=100, help="that the steps are measured on")
    parser.add_argument("--seconds", type=float, default=10.0, help="that the stream runs (10)")
    list_flags.add_workers(parser)
    flags = parser.parse_args(arguments)
    if bool(flags.list) == flags.synthetic:
        parser.error("name a list, or give --synthetic")
    with tempfile.TemporaryDirectory() as folder:
        if flags.synthetic:
            print(f"writing {_SYNTHETIC_VIDEOS} synthetic videos", flush=True)
            flags.list = str(
                write_synthetic(Path(folder), num_videos=_SYNTHETIC_VIDEOS, pictures=flags.frames)
            )
        source = _open(flags)
        views = make_views(
            source,
            sampling=flags.sampling,
            frames=flags.num_frames,
            stride=flags.stride,
            size_px=flags.size,
            randaugment=flags.randaugment,
            test_short_side_px=0,
        )
        print(f"{len(source)} videos; clips of {flags.num_frames} frames, {views.sampling}")
        costs = measure_steps(source, views, num_clips=flags.clips, batch_size=flags.batch_size)
        _print_steps(costs)
        speed = _stream_speed(source, views, flags)
    print(
        f"\n{flags.workers} worker(s): {speed:.1f} clips/s, {speed * flags.num_frames:.0f} frames/s"
        f"\na network that takes more than {speed:.1f} clips/s on this machine waits for its data"
    )
    return 0


def _open(flags: argparse.Namespace) -> Source:
    if (Path(flags.list) / "dataset_info.json").is_file():
        return packed_videos("train", folder=flags.list, train=flags.split)
    return listed_clips(
        "train",
        list_flags.reader_of(flags, flags.short_side),
        train=flags.list,
        root=flags.root,
        list_format=flags.list_format,
        template=flags.template,
    )


def _print_steps(costs: StepCosts) -> None:
    print(f"\n{'step':<10}{'ms/clip':>10}{'clips/s/core':>14}{'share':>8}")
    steps = {**dataclasses.asdict(costs), "all": costs.total}
    for name, cost in steps.items():
        speed = f"{1 / cost:.1f}" if cost else "-"
        print(f"{name:<10}{1000 * cost:>10.2f}{speed:>14}{cost / costs.total:>8.1%}")


def _stream_speed(source: Source, views: Views, flags: argparse.Namespace) -> float:
    """Return how many clips a second come out of the stream of batches."""
    with train_batches(
        source,
        views.sampling,
        views.augmentation,
        batch_size=flags.batch_size,
        seed=0,
        num_workers=flags.workers,
        read_ahead=max(4, 2 * flags.workers),
    ) as batches:
        # What was read ahead while the processes started is no part of the steady speed.
        for _ in range(max(4, 2 * flags.workers) + 1):
            next(batches)
        start, count = time.monotonic(), 0
        while time.monotonic() < start + flags.seconds:
            next(batches)
            count += flags.batch_size
        return count / (time.monotonic() - start)
