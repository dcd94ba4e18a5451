# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""`python -m vidpretrain.analyze test`: test a checkpoint, without training."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vidpretrain.analyze import classes, classes_command
from vidpretrain.analyze.opening import (
    OPENING_ERRORS,
    Opened,
    add_stage_arguments,
    open_stage,
)
from vidpretrain.config import overrides_of
from vidpretrain.data import WorkerError
from vidpretrain.train.interrupt import EXIT_INTERRUPTED, Interrupted, Interruption, Watchdog
from vidpretrain.train.scores import AVERAGES, Scores, ScoresError
from vidpretrain.train.stages import SCORES
from vidpretrain.train.testing import make_tester
from vidpretrain.train.workdirs import write_json

METRICS = "metrics.json"

EPILOG = """\
The recipe says which network it is, which examples are the test set and how they are cut; fields of
the stage are overridden as in training. Memory is set by test.batch_size (clips per step), whatever
the number of views. Nothing is written if the test is interrupted.

To test as a stage of a run, on several processes too, give a stage duration="0 steps" and
init.source.

examples:
  python -m vidpretrain.analyze test runs/demo/finetuned_sts --config configs/demo.py \\
      --stage finetuned_sts --clips 3 --out tested
  # Somebody else's weights:
  python -m vidpretrain.analyze test slowonly.pth --config my_recipe.py --out tested \\
      --clips 10 --crops 3 --config.finetune.test.batch_size=16
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m vidpretrain.analyze test",
        description="Test a checkpoint on the test set of a recipe's stage: accuracy, classes, "
        "confusions and the scores of every example.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_stage_arguments(parser)
    add = parser.add_argument
    add("--clips", type=int, metavar="N", help="clips over the length of a video (the recipe's)")
    add("--crops", type=int, metavar="N", help="squares of a clip: 1, 3 or 10 (the recipe's)")
    add("--average", choices=AVERAGES, help="what is averaged over the views (the recipe's)")
    add("--out", type=Path, required=True, metavar="DIR", help="where to write")
    options, rest = parser.parse_known_args(arguments)
    given = {
        "views.test_clips": options.clips,
        "views.test_crops": options.crops,
        "test.average": options.average,
    }
    changes = {field: value for field, value in given.items() if value is not None}
    try:
        opened = open_stage(
            options.checkpoint,
            options.config,
            stage=options.stage,
            overrides=overrides_of(rest),
            changes=changes,
            which=options.which,
        )
        with Interruption() as interruption:
            scores = _test(opened, interruption)
        write_results(scores, opened, options.out)
    except Interrupted as stopped:
        print(f"interrupted: {stopped}; nothing is written", file=sys.stderr)
        return EXIT_INTERRUPTED
    except OPENING_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (ScoresError, WorkerError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(classes_command.to_text(scores))
    print(
        f"\nwritten: {METRICS}, {SCORES}, {classes.PER_CLASS}, {classes.CONFUSION} and "
        f"{classes.CONFUSION_PNG} in {options.out}"
    )
    return 0


def write_results(scores: Scores, opened: Opened, folder: Path) -> None:
    """Write scores, metrics, classes and confusions.

    Args:
        scores: of the test.
        opened: what was tested.
        folder: where to write; is made.

    Raises:
        OSError: it cannot be written.
        vidpretrain.train.scores.ScoresError: the same of the scores.
    """
    classes.write_reports(scores, folder)
    scores.save(folder / SCORES)
    write_json(folder / METRICS, {**scores.metrics(), **_about(scores, opened)})


def _about(scores: Scores, opened: Opened) -> dict[str, Any]:
    views = opened.plan.views
    return {
        "network": scores.network,
        "checkpoint": opened.path,
        "step": opened.step,
        "stage": opened.plan.name,
        "average": scores.average,
        "clips": views.sampling.num_clips,
        "crops": views.test_crops.num_crops,
        "frames": views.frames,
        "size_px": views.test_crops.size_px,
        "config": json.loads(json.dumps(opened.plan.config)),
    }


def _test(opened: Opened, interruption: Interruption) -> Scores:
    watchdog = Watchdog(opened.plan.config["stall_sec"])
    try:
        return make_tester(opened.plan, interruption, watchdog)(opened.variables)
    finally:
        watchdog.stop()
