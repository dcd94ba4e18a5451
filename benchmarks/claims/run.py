# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Runs trainings of the protocol that are not finished, and gathers what they came to."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import platform
import resource
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.claims.claims import Claim
from benchmarks.claims.protocol import all_trainings, with_its_source
from vidpretrain.data import digits
from vidpretrain.train import stages, workdirs
from vidpretrain.train.goodput import Goodput
from vidpretrain.train.interrupt import Interruption
from vidpretrain.train.scores import Scores

_COST = "cost.json"


@dataclasses.dataclass(frozen=True)
class Run:
    """One finished training.

    Attributes:
        training: its name in the protocol.
        seed: of the run.
        network: its spec.
        top1: on the test set, percent.
        digit: share of test clips whose digit is right, percent; None where only one of digit and
            motion is asked for.
        motion: the same of the motion.
        images: seen, those of pre-training included.
        cpu_sec: processor time, over all cores; compilation, tests and checkpoints included.
        wall_sec: time passed.
    """

    training: str
    seed: int
    network: str
    top1: float
    digit: float | None
    motion: float | None
    images: int
    cpu_sec: float
    wall_sec: float


def run_claims(claims: Sequence[Claim], num_seeds: int, workdir: Path) -> None:
    """Run what is missing of some claims, one training after the other.

    Args:
        claims: which ones.
        num_seeds: seeds 0 to `num_seeds - 1`; one seed of all rows comes before the next.
        workdir: each training has `seedN/NAME` in it. What is finished there is not run again,
            whichever claim asked for it; what was interrupted goes on.

    Raises:
        vidpretrain.train.interrupt.Interrupted: a signal came; all is saved.
        vidpretrain.train.workdirs.WorkdirError: the folder has a training of another protocol.
    """
    workdirs.use_compilation_cache(workdir)
    with Interruption() as interruption:
        for claim in claims:
            for seed in range(num_seeds):
                for row in claim.rows:
                    _run_training(row.training, seed, workdir, interruption)


def _run_training(name: str, seed: int, workdir: Path, interruption: Interruption) -> None:
    folder = workdir / f"seed{seed}"
    trainings = all_trainings(seed)
    configs = {part: trainings[part].to_dict() for part in with_its_source(name)}
    for count, (part, config) in enumerate(configs.items(), start=1):
        if (folder / part / stages.RESULT).exists():
            continue
        needed = dict(list(configs.items())[:count])
        plans = stages.plan_stages(needed)
        # Each training has a folder of its own, so that it can be shared by any set of claims.
        workdirs.claim(folder / part, {part: config})
        with _accounted(folder / part / _COST), Goodput() as goodput:
            stages.run_stages(plans, folder, interruption, goodput)
        # A program is of no use to the next training; on disk it waits for the next seed.
        jax.clear_caches()


@contextlib.contextmanager
def _accounted(path: Path) -> Iterator[None]:
    """Add what the enclosed work costs to a file, for an interrupted training has several parts."""
    cost = json.loads(path.read_text()) if path.exists() else {"cpu_sec": 0.0, "wall_sec": 0.0}
    cpu_start, wall_start = _cpu_sec(), time.perf_counter()
    try:
        yield
    finally:
        cost["cpu_sec"] += _cpu_sec() - cpu_start
        cost["wall_sec"] += time.perf_counter() - wall_start
        workdirs.write_json(path, cost)


def _cpu_sec() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def gather(workdir: Path) -> dict[str, Any]:
    """Return what is finished in a working folder: `machine`, and `runs` as dicts of `Run`."""
    runs = []
    for seed_folder in sorted(workdir.glob("seed*")):
        for path in sorted(seed_folder.glob(f"*/{stages.RESULT}")):
            result = stages.Result(**json.loads(path.read_text()))
            cost = json.loads((path.parent / _COST).read_text())
            digit, motion = parts(Scores.load(path.parent / stages.SCORES))
            run = Run(
                training=result.name,
                seed=result.seed,
                network=result.network,
                top1=round(result.top1, 2),
                digit=digit,
                motion=motion,
                images=result.images_seen,
                cpu_sec=round(cost["cpu_sec"], 1),
                wall_sec=round(cost["wall_sec"], 1),
            )
            runs.append(dataclasses.asdict(run))
    machine = f"{platform.machine()}, Python {platform.python_version()}, jax {jax.__version__}"
    return {"machine": machine, "runs": runs}


def parts(scores: Scores) -> tuple[float | None, float | None]:
    """Return how often the digit is right and how often the motion, in percent.

    Both are None unless classes are pairs of the two, numbered `4 * digit + motion`.
    """
    if len(scores.class_names) != digits.NUM_DIGITS * len(digits.Motion):
        return None, None
    predicted = np.divmod(scores.predicted(), len(digits.Motion))
    true = np.divmod(scores.label, len(digits.Motion))
    digit, motion = (
        round(float(np.mean(mine == theirs) * 100), 2)
        for mine, theirs in zip(predicted, true, strict=True)
    )
    return digit, motion
