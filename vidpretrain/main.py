# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Run a recipe: `python -m vidpretrain.main --config configs/demo.py --workdir runs/demo`.

Flags, devices, the stages that the config names, the report; no logic of its own.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from vidpretrain import config as recipes
from vidpretrain.train.interrupt import EXIT_INTERRUPTED, Interrupted, Interruption

EXIT_BAD_INPUT = 2
EXIT_FAILED = 1
EXIT_PEER_LOST = os.EX_PROTOCOL
"""76: another process is gone; started again, the run goes on from the last checkpoint."""
_LAST_WORDS_SEC = 2.0
# How errors begin that JAX raises for other reasons than a peer or a device that is gone.
_OF_THIS_PROCESS = ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED")

_DESCRIPTION = """\
Train and test networks as a recipe says. The same command with the same --workdir goes on where
an interrupted run was, and does nothing if it is finished.

examples:
  python -m vidpretrain.main --config configs/demo.py --workdir runs/demo
  python -m vidpretrain.main --config configs/demo.py:seed=1 --workdir runs/demo1
  python -m vidpretrain.main --config configs/demo.py --workdir runs/x \\
      --config.finetuned_sts.schedule.base_lr=0.05

what a recipe would cost, on shapes alone; nothing is written, and published data sets need not be
there:
  python -m vidpretrain.main --config configs/demo.py --workdir runs/demo --dry-run

on several processes, with --workdir on a file system they share: as Slurm, Open MPI, Kubernetes
or a Cloud TPU start them (docs/scaling.md), or each with its own --process_id:
  python -m vidpretrain.main --config FILE --workdir DIR \\
      --coordinator 10.0.0.2:1234 --num_processes 2 --process_id 0
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code (docs/checkpoints.md lists them)."""
    began = time.monotonic()
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
    parser.add_argument(
        "--profile_steps",
        type=_first_and_last,
        metavar="FIRST:LAST",
        help="trace these training steps of every stage, for TensorBoard and xprof",
    )
    parser.add_argument(
        "--dry-run",
        nargs="?",
        const="compiled",
        choices=("compiled", "shapes"),
        help="print what every stage would cost, and end: parameters, GFLOPs, steps, images, "
        "rates, and a compiled step's memory on a device; 'shapes' compiles nothing",
    )
    hosts = parser.add_argument_group("several processes")
    hosts.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 listens")
    hosts.add_argument("--num_processes", type=int, metavar="N", help="how many there are")
    hosts.add_argument("--process_id", type=int, metavar="I", help="which this is, from 0")
    hosts.add_argument(
        "--distributed",
        nargs="?",
        const="on",
        default="auto",
        metavar="auto|on|off",
        help="ask the cluster's environment for these three, where one is found (auto)",
    )
    hosts.add_argument(
        "--heartbeat_sec",
        type=float,
        metavar="SEC",
        help="when a process has been silent for so long, the others end (100)",
    )
    hosts.add_argument(
        "--join_sec",
        type=float,
        metavar="SEC",
        help="when the others have not started in so long, this one ends (300)",
    )
    flags, rest = parser.parse_known_args(argv)
    try:
        config = recipes.load_recipe(flags.config, recipes.overrides_of(rest))
        if flags.profile_steps:
            recipes.set_in_stages(config, "profile.profile_steps", flags.profile_steps)
    except recipes.ConfigError as error:
        return _fail_together(error, flags)
    if flags.dry_run:
        return _rehearse(config, compile_steps=flags.dry_run == "compiled")
    with Interruption() as interruption:
        return _run(config, flags, interruption, began)


def _run(
    config: recipes.ConfigDict,
    flags: argparse.Namespace,
    interruption: Interruption,
    began: float,
) -> int:
    with interruption.nothing_to_save():
        # Imported here: --help and a mistyped flag must not wait for JAX.
        import jax

        from vidpretrain import parallel
    from vidpretrain.analyze import report
    from vidpretrain.convert.folder import CheckpointError
    from vidpretrain.convert.tree import MismatchError
    from vidpretrain.data import TooManyBadInputsError, WorkerError
    from vidpretrain.train import stages, workdirs
    from vidpretrain.train.goodput import Goodput
    from vidpretrain.train.identity import identity
    from vidpretrain.train.loop import TrainingError
    from vidpretrain.train.plan import PlanError

    workdir = flags.workdir
    try:
        with interruption.nothing_to_save():
            joined = _join_others(flags)
        with Goodput(since=began) as goodput:
            resolved = config.to_dict()
            if joined:
                parallel.together(lambda: None)  # Another's recipe may not have come so far.
                parallel.require_same(
                    {"--num_processes": flags.num_processes, **identity(resolved)}
                )
            plans = parallel.together(
                lambda: stages.plan_stages({name: resolved[name] for name in config.stages})
            )
            workdirs.claim(workdir, resolved)
            workdirs.use_compilation_cache(workdir)
            if parallel.is_first_process():
                goodput.keep_in(workdir)
            results = stages.run_stages(plans, workdir, interruption, goodput)

            def tell() -> None:
                if parallel.is_first_process():
                    print(report.table(results))
                    report.draw_curves(workdir, results, workdir / "curves.png")
                    print(f"\n{goodput.table()}")
                    print(f"\nresults.json, curves.png and checkpoints are in {workdir}")

            # The others stay until all is written: at its end JAX waits for none as long as that.
            parallel.together(tell)
    except Interrupted as stopped:
        print(f"interrupted: {stopped}; the same command goes on from there", file=sys.stderr)
        return EXIT_INTERRUPTED
    except parallel.PeerError as error:
        return _fail(error, EXIT_BAD_INPUT if error.bad_input else EXIT_FAILED)
    except (
        parallel.JoinError,
        parallel.DisagreementError,
        PlanError,
        MismatchError,
        workdirs.WorkdirError,
    ) as error:
        return _fail(error, EXIT_BAD_INPUT)
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1 or str(error).startswith(_OF_THIS_PROCESS):
            raise
        first_line = str(error).partition("\n")[0]
        lost = ConnectionError(
            f"another process is gone, or a device has failed ({first_line}); started again, "
            "the same command goes on from the last checkpoint"
        )
        return _fail(lost, EXIT_PEER_LOST)
    except (CheckpointError, TrainingError, TooManyBadInputsError, WorkerError, OSError) as error:
        return _fail(error, EXIT_FAILED)
    return os.EX_OK


def _rehearse(config: recipes.ConfigDict, *, compile_steps: bool) -> int:
    from vidpretrain.analyze import dry_run
    from vidpretrain.train import stages
    from vidpretrain.train.plan import PlanError

    resolved = config.to_dict()
    try:
        plans = stages.plan_stages({name: resolved[name] for name in config.stages}, on_paper=True)
    except PlanError as error:
        return _fail(error, EXIT_BAD_INPUT)
    for description in dry_run.describe(plans, compile_steps=compile_steps):
        print(description, flush=True)
    return os.EX_OK


def _join_others(flags: argparse.Namespace, *, exit_alone: int = EXIT_FAILED) -> bool:
    from vidpretrain import parallel

    names = ("coordinator", "num_processes", "process_id", "distributed")
    given = {name: getattr(flags, name) for name in (*names, "heartbeat_sec", "join_sec")}
    given = {name: value for name, value in given.items() if value is not None}
    return parallel.join(**given, exit_alone=exit_alone)


def _fail_together(error: recipes.ConfigError, flags: argparse.Namespace) -> int:
    """Say what is wrong with the recipe, here and to processes that wait for this one."""
    code = _fail(error, EXIT_BAD_INPUT)
    with Interruption() as interruption, interruption.nothing_to_save():
        from vidpretrain import parallel

        def fail() -> None:
            raise error

        try:
            if _join_others(flags, exit_alone=code):
                parallel.together(fail)
        except (parallel.JoinError, recipes.ConfigError, OSError):
            pass  # The recipe's error is what to mend first.
    return code


def _first_and_last(text: str) -> tuple[int, int]:
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} must be FIRST:LAST, such as 10:12")
    return int(first), int(last)


def _fail(error: Exception, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


def _run_and_exit() -> NoReturn:
    """Run the command line and end the process, so that nothing keeps it and it keeps nobody.

    A reader that hangs would keep it, and at the end JAX waits for all processes: for those that
    are gone, and for those that wait for this one, which has failed alone.
    """
    try:
        code = main()
    except Exception:
        if not _is_joined():
            raise
        traceback.print_exc()
        code = EXIT_FAILED
    if code in (EXIT_INTERRUPTED, EXIT_PEER_LOST) or (code != os.EX_OK and _is_joined()):
        from vidpretrain import parallel

        if code == EXIT_INTERRUPTED:
            parallel.leave()
        elif code != EXIT_PEER_LOST and parallel.is_first_process():
            # It keeps the processes together: those that fail with it shall say so, too.
            time.sleep(_LAST_WORDS_SEC)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _is_joined() -> bool:
    if "jax" not in sys.modules:
        return False
    from vidpretrain import parallel

    return parallel.is_joined()


if __name__ == "__main__":
    _run_and_exit()
