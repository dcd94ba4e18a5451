# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""`python -m vidpretrain.analyze probe`: linear probes of a 3D network's temporal taps."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from vidpretrain import config as recipes
from vidpretrain.analyze import probe
from vidpretrain.convert import CheckpointError, MismatchError
from vidpretrain.convert.source import find_card
from vidpretrain.data import TooManyBadInputsError, WorkerError
from vidpretrain.suggest import closest
from vidpretrain.train import stages, workdirs
from vidpretrain.train.goodput import Goodput
from vidpretrain.train.interrupt import EXIT_INTERRUPTED, Interrupted, Interruption
from vidpretrain.train.loop import TrainingError
from vidpretrain.train.plan import PlanError
from vidpretrain.train.stages import RESULTS, Result

CHART, TABLE = "probe.png", "probe.md"

EPILOG = """\
The recipe's stage says which images, for how long and at which rate; its network is replaced by the
image twin of the checkpoint's, and all but the classifier is frozen. The same command with the same
--workdir goes on where an interrupted one was.

examples:
  # Table 1 of the STS paper, after training from scratch:
  python -m vidpretrain.analyze probe runs/k400_csn50_scratch/finetune \\
      --config configs/pretrain_imagenet.py:epochs=100 --workdir runs/probe_csn50
  # On the digits, in a minute:
  python -m vidpretrain.analyze probe runs/demo/scratch_plain --config configs/demo.py \\
      --stage pretrained --workdir runs/probe
"""


class ProbeError(ValueError):
    """A probe cannot be made or drawn as asked; the message says why."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    began = time.time()
    parser = argparse.ArgumentParser(
        prog="python -m vidpretrain.analyze probe",
        description="Cut the 2D networks t1, t2 and t3 out of a 3D network, train a classifier on "
        "each, and print and draw their accuracy.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="a checkpoint's, stage's or run's folder")
    add("--config", required=True, metavar="FILE[:ARG=VALUE,...]", help="recipe for images")
    add("--stage", default="", help="of the recipe (the first one)")
    add("--config.STAGE.FIELD", metavar="VALUE", help="set one field of the stage")
    add("--workdir", required=True, type=Path, metavar="DIR", help="the probe's folder")
    add("--beside", nargs="+", default=[], type=Path, metavar="DIR", help="show other probes, too")
    options, rest = parser.parse_known_args(arguments)
    try:
        others = {str(folder): _read(folder) for folder in options.beside}
        with Interruption() as interruption, Goodput(since=began) as goodput:
            results = _run(options, recipes.overrides_of(rest), interruption, goodput)
    except Interrupted as stopped:
        print(f"interrupted: {stopped}; the same command goes on from there", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (
        recipes.ConfigError,
        ProbeError,
        PlanError,
        MismatchError,
        workdirs.WorkdirError,
    ) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (CheckpointError, TrainingError, TooManyBadInputsError, WorkerError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    probes = {find_card(options.checkpoint).name: results, **others}
    text = probe.to_text(probes)
    (options.workdir / TABLE).write_text(text + "\n", encoding="utf-8")
    probe.draw(probes, options.workdir / CHART)
    print(f"{text}\n\nwritten: {TABLE} and {CHART} in {options.workdir}")
    return 0


def _run(
    options: argparse.Namespace,
    overrides: Sequence[str],
    interruption: Interruption,
    goodput: Goodput,
) -> list[Result]:
    whole = recipes.load_recipe(options.config, overrides)
    name = options.stage or whole.stages[0]
    if name not in whole.stages:
        raise ProbeError(f"{options.config} has no stage {name!r}; {closest(name, whole.stages)}")
    card = find_card(options.checkpoint)
    resolved = probe.probe_stages(whole.to_dict()[name], options.checkpoint, card)
    plans = stages.plan_stages(resolved)
    workdirs.claim(options.workdir, resolved)
    workdirs.use_compilation_cache(options.workdir)
    goodput.keep_in(options.workdir)
    return stages.run_stages(plans, options.workdir, interruption, goodput)


def _read(folder: Path) -> list[Result]:
    """Read the results of a finished probe.

    Raises:
        ProbeError: there is none.
    """
    fields = {field.name for field in dataclasses.fields(Result)}
    try:
        runs = json.loads((folder / RESULTS).read_text(encoding="utf-8"))["runs"]
        results = [Result(**{key: run[key] for key in fields}) for run in runs]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ProbeError(f"there is no finished probe in {folder} ({error})") from error
    if tuple(result.name for result in results) != probe.TAPS:
        raise ProbeError(f"{folder} is no probe: its stages are not {', '.join(probe.TAPS)}")
    return results
