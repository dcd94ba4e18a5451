# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""`python -m vidpretrain.analyze splits`: means over splits, as UCF-101 and HMDB-51 want them."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vidpretrain.analyze.report import markdown
from vidpretrain.suggest import closest
from vidpretrain.train.scores import Scores, ScoresError
from vidpretrain.train.stages import RESULTS, SCORES

EPILOG = """\
A run is a working folder (results.json), a folder with scores.npz, or a file of scores. Runs that
differ in their seed can be summed up the same way.

examples:
  python -m vidpretrain.analyze splits runs/ucf1 runs/ucf2 runs/ucf3
  python -m vidpretrain.analyze splits fused1.npz fused2.npz fused3.npz
"""
METRICS = {"top1": "top-1 %", "top5": "top-5 %", "mean_class": "mean class %"}


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m vidpretrain.analyze splits",
        description="Print the accuracy of runs on several splits of a data set, their mean, and "
        "their standard deviation (of a sample: n - 1).",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="RUN", help="two or more")
    add("--stage", help="of the working folders (the last one)")
    options = parser.parse_args(arguments)
    if len(options.runs) < 2:
        parser.error("give at least two runs; the mean of one is itself")
    try:
        found = [read_accuracy(run, options.stage) for run in options.runs]
    except ScoresError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(to_text([str(run) for run in options.runs], found))
    return 0


def read_accuracy(run: Path, stage: str | None) -> dict[str, float]:
    """Return a run's accuracies in percent, by the names of `METRICS`.

    Args:
        run: a file of scores, a folder with one, or a working folder.
        stage: of a working folder; None for the last one.

    Raises:
        ScoresError: none of these is there, or there is no such stage.
    """
    if run.suffix == ".npz":
        return _accuracy(Scores.load(run))
    if (run / SCORES).is_file():
        return _accuracy(Scores.load(run / SCORES))
    try:
        results = json.loads((run / RESULTS).read_text(encoding="utf-8"))["runs"]
        by_stage = {result["name"]: result for result in results}
        last = results[-1]["name"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ScoresError(
            f"{run} is no file of scores, and there is neither {SCORES} nor a {RESULTS} that can "
            f"be read in it ({error}); is the run finished?"
        ) from error
    chosen = stage or last
    if chosen not in by_stage:
        raise ScoresError(f"{run} has no stage {chosen!r}; {closest(chosen, by_stage)}")
    if (run / chosen / SCORES).is_file():
        return _accuracy(Scores.load(run / chosen / SCORES))
    # Results alone do not tell the classes apart.
    return {name: float(by_stage[chosen][name]) for name in ("top1", "top5")}


def to_text(names: Sequence[str], found: Sequence[Mapping[str, float]]) -> str:
    """Return the runs' accuracies, their means and standard deviations, as a table.

    Args:
        names: of the runs.
        found: of each run, by the names of `METRICS`; a metric that one lacks is left out.
    """
    shown = [metric for metric in METRICS if all(metric in accuracy for accuracy in found)]
    values = np.array([[accuracy[metric] for metric in shown] for accuracy in found])
    rows = {
        **dict(zip(names, values, strict=True)),
        "mean": values.mean(axis=0),
        "standard deviation": values.std(axis=0, ddof=1),
    }
    return markdown(
        ("run", *(METRICS[metric] for metric in shown)),
        [(name, *(f"{value:.2f}" for value in row)) for name, row in rows.items()],
    )


def _accuracy(scores: Scores) -> dict[str, float]:
    metrics = scores.metrics()
    return {name: metrics[name] for name in METRICS if not math.isnan(metrics[name])}
