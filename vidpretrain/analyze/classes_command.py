# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""`python -m vidpretrain.analyze classes`: scores class by class, and what is taken for what."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from vidpretrain.analyze import classes
from vidpretrain.analyze.report import markdown
from vidpretrain.train.scores import Scores, ScoresError

_SHOWN = 10


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m vidpretrain.analyze classes",
        description="Write the accuracy of every class and the confusion matrix of saved scores "
        f"({classes.PER_CLASS}, {classes.CONFUSION}, {classes.CONFUSION_PNG}).",
    )
    parser.add_argument("scores", type=Path, metavar="SCORES.npz", help="kept by a test")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write")
    options = parser.parse_args(arguments)
    try:
        scores = Scores.load(options.scores)
        classes.write_reports(scores, options.out)
    except ScoresError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {options.out} cannot be written: {error}", file=sys.stderr)
        return 1
    print(to_text(scores))
    print(
        f"\nwritten: {classes.PER_CLASS}, {classes.CONFUSION}, {classes.CONFUSION_PNG} in "
        f"{options.out}"
    )
    return 0


def to_text(scores: Scores) -> str:
    """Return the accuracy over all, and the classes that are hardest."""
    overall = markdown(
        ("network", "views", "examples", "top-1 %", "top-5 %", "mean class %"),
        [
            (
                scores.network,
                str(scores.views),
                f"{len(scores.label):,} of {scores.expected:,}",
                f"{scores.top(1):.2f}",
                f"{scores.top(5):.2f}",
                f"{scores.mean_class():.2f}",
            )
        ],
    )
    rows = [row for row in classes.per_class(scores) if not math.isnan(row.top1)]
    hardest = sorted(rows, key=lambda row: row.top1)[:_SHOWN]
    table = markdown(
        ("hardest classes", "examples", "top-1 %", "most often taken for"),
        [
            (
                row.name,
                str(row.examples),
                f"{row.top1:.2f}",
                f"{row.taken_for} ({row.taken})" if row.taken else "",
            )
            for row in hardest
        ],
    )
    return f"{overall}\n\n{table}"
