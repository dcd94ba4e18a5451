# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""How fast the input pipeline makes batches of moving digits, for every way of reading ahead.

    python -m benchmarks.input [--seconds 5] [--batch-size 64] [--frames 8] [--canvas 32]

Prints the processor's share of each step of one clip, then clips per second of the whole stream.
A network that trains faster than the last column waits for its data.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from vidpretrain.data import Views, make_source, make_views, train_batches
from vidpretrain.data.source import Source

SETTINGS = ((0, 0), (0, 4), (1, 4), (2, 4))
"""Pairs of worker processes and batches read ahead."""


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of every measurement")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--canvas", type=int, default=32, help="pixels")
    args = parser.parse_args()
    source = make_source("moving_digits", split="train", canvas_px=args.canvas)
    views = make_views(
        source,
        frames=args.frames,
        stride=2,
        crop="shifted",
        size_px=args.canvas,
        pad_px=2,
        test_short_side_px=0,
    )
    print_steps(source, views, args.seconds)
    print_streams(source, views, args.batch_size, args.seconds)


def print_steps(source: Source, views: Views, seconds: float) -> None:
    """Print the microseconds of processor time that each step of a clip takes."""
    rng = np.random.default_rng(0)
    indices = views.sampling.draw(source.num_frames(0), rng)
    clip = source.frames(0, indices)
    steps: dict[str, Callable[[], object]] = {
        "choose frames": lambda: views.sampling.draw(source.num_frames(0), rng),
        "render": lambda: source.frames(int(rng.integers(len(source))), indices),
        "augment": lambda: views.augmentation(clip, 0, rng),
    }
    print(f"{'step':<20}{'us per clip':>12}")
    for name, step in steps.items():
        print(f"{name:<20}{1e6 * cost(step, seconds / len(steps)):>12.1f}")


def cost(call: Callable[[], object], seconds: float) -> float:
    """Return the processor time of one call, the best of rounds of 100, in seconds."""
    best, end = np.inf, time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.process_time()
        for _ in range(100):
            call()
        best = min(best, (time.process_time() - start) / 100)
    return best


def print_streams(source: Source, views: Views, batch_size: int, seconds: float) -> None:
    """Print the first batch's delay and the steady speed of every way of reading ahead."""
    print(f"\n{'processes':<12}{'read ahead':<12}{'first batch s':>14}{'clips/s':>10}")
    for num_workers, read_ahead in SETTINGS:
        start = time.monotonic()
        with train_batches(
            source,
            views.sampling,
            views.augmentation,
            batch_size=batch_size,
            seed=0,
            num_workers=num_workers,
            read_ahead=read_ahead,
        ) as batches:
            next(batches)
            first = time.monotonic() - start
            # What was read ahead is not part of the steady speed.
            for _ in range(2 * read_ahead):
                next(batches)
            start, count = time.monotonic(), 0
            while time.monotonic() < start + seconds:
                next(batches)
                count += batch_size
            speed = count / (time.monotonic() - start)
        print(f"{num_workers:<12}{read_ahead:<12}{first:>14.2f}{speed:>10.0f}")


if __name__ == "__main__":
    main()
