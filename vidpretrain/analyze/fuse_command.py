# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""`python -m vidpretrain.analyze fuse`: ensembles and two streams, from files of scores."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vidpretrain.analyze.fusion import fuse
from vidpretrain.analyze.report import markdown
from vidpretrain.train.scores import AVERAGES, Scores, ScoresError

EPILOG = """\
Scores are kept by `python -m vidpretrain.analyze test` and by training with test.save_scores=true.

examples:
  # An ensemble of networks with 8 and with 16 frames:
  python -m vidpretrain.analyze fuse runs/ct8/scores.npz runs/ct16/scores.npz
  # Two streams, flow at half the weight:
  python -m vidpretrain.analyze fuse rgb.npz flow.npz --weights 1,0.5 --out both.npz
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m vidpretrain.analyze fuse",
        description="Fuse several networks' scores of one test set, matched example by example, "
        "and print the accuracy of each and of all.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("scores", nargs="+", type=Path, metavar="SCORES.npz", help="two or more")
    add("--weights", type=_numbers, default=(), metavar="W,W,...", help="of each file (equal)")
    add("--average", choices=AVERAGES, default="", help="of the networks (what the files have)")
    add("--common", action="store_true", help="leave out examples that not all files have")
    add("--out", type=Path, metavar="FILE.npz", help="write the fused scores")
    options = parser.parse_args(arguments)
    try:
        parts = [Scores.load(path) for path in options.scores]
        fused = fuse(parts, weights=options.weights, average=options.average, common=options.common)
        if options.out:
            fused.save(options.out)
    except ScoresError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rows = [_row(str(path), part) for path, part in zip(options.scores, parts, strict=True)]
    print(markdown(HEADER, [*rows, _row(f"fused, mean of {fused.average}", fused)]))
    if len(fused.names) < max(len(part.names) for part in parts):
        print(f"\nfused: the {len(fused.names)} examples that all files have")
    if options.out:
        print(f"written: {options.out}")
    return 0


HEADER = ("scores", "examples", "top-1 %", "top-5 %", "mean class %")


def _row(name: str, scores: Scores) -> tuple[str, ...]:
    accuracies = (scores.top(1), scores.top(5), scores.mean_class())
    return (name, f"{len(scores.label):,}", *(f"{value:.2f}" for value in accuracies))


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be numbers with commas between, such as 1,0.5"
        ) from None
