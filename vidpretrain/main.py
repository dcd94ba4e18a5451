# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Run a recipe: `python -m vidpretrain.main --config configs/demo.py --workdir runs/demo`.

Flags, devices, the stages that the config names, the report; no logic of its own.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from vidpretrain import config as recipes

EXIT_BAD_INPUT = 2
EXIT_FAILED = 1

_DESCRIPTION = """\
Train and test networks as a recipe says. The same command with the same --workdir goes on where
an interrupted run was, and does nothing if it is finished.

examples:
  python -m vidpretrain.main --config configs/demo.py --workdir runs/demo
  python -m vidpretrain.main --config configs/demo.py:seed=1 --workdir runs/demo1
  python -m vidpretrain.main --config configs/demo.py --workdir runs/x \\
      --config.finetuned_sts.schedule.base_lr=0.05
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code (docs/checkpoints.md lists them)."""
    parser = argparse.ArgumentParser(
        prog="python -m vidpretrain.main",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", required=True, metavar="FILE[:ARG=VALUE,...]", help="recipe and its arguments"
    )
    parser.add_argument("--workdir", required=True, type=Path, metavar="DIR", help="run's folder")
    parser.add_argument(
        "--config.STAGE.FIELD",
        metavar="VALUE",
        help="set one field of one stage, such as --config.scratch_sts.seed=1; see "
        "vidpretrain/config.py for the fields",
    )
    flags, rest = parser.parse_known_args(argv)
    try:
        config = recipes.load_recipe(flags.config, recipes.overrides_of(rest))
        return _run(config, flags.workdir)
    except recipes.ConfigError as error:
        return _fail(error, EXIT_BAD_INPUT)


def _run(config: recipes.ConfigDict, workdir: Path) -> int:
    # Imported here: --help and a mistyped flag must not wait for JAX.
    from vidpretrain.analyze import report
    from vidpretrain.convert.folder import CheckpointError
    from vidpretrain.convert.tree import MismatchError
    from vidpretrain.data import TooManyBadInputsError, WorkerError
    from vidpretrain.train import stages, workdirs
    from vidpretrain.train.interrupt import EXIT_INTERRUPTED, Interrupted, Interruption
    from vidpretrain.train.loop import TrainingError
    from vidpretrain.train.plan import PlanError

    try:
        resolved = config.to_dict()
        plans = stages.plan_stages({name: resolved[name] for name in config.stages})
        workdirs.claim(workdir, resolved)
        workdirs.use_compilation_cache(workdir)
        with Interruption() as interruption:
            results = stages.run_stages(plans, workdir, interruption)
        print(report.table(results))
        report.draw_curves(workdir, results, workdir / "curves.png")
        print(f"\nresults.json, curves.png and checkpoints are in {workdir}")
    except Interrupted as stopped:
        print(f"interrupted: {stopped}; the same command goes on from there", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (PlanError, MismatchError, workdirs.WorkdirError) as error:
        return _fail(error, EXIT_BAD_INPUT)
    except (CheckpointError, TrainingError, TooManyBadInputsError, WorkerError, OSError) as error:
        return _fail(error, EXIT_FAILED)
    return os.EX_OK


def _fail(error: Exception, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
