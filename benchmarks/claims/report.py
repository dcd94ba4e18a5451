# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Tables and charts of the claims, from finished runs alone."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.claims.claims import Claim, Row
from benchmarks.claims.protocol import with_its_source
from benchmarks.claims.run import Run

Runs = Mapping[str, Mapping[int, Run]]
"""Finished runs by training and seed."""

_PARTS = ("digit", "motion")


def read_runs(results: Mapping[str, Any]) -> dict[str, dict[int, Run]]:
    """Return the runs of what `run.gather` returned."""
    runs: dict[str, dict[int, Run]] = {}
    for fields in results["runs"]:
        run = Run(**fields)
        runs.setdefault(run.training, {})[run.seed] = run
    return runs


def is_complete(claim: Claim, runs: Runs) -> bool:
    """Return whether each row of a claim has a finished training."""
    return all(row.training in runs for row in claim.rows)


def table(claim: Claim, runs: Runs) -> str:
    """Return a claim's figures as a table in Markdown.

    Each row has top-1 by seed, mean and sample standard deviation, and the mean difference from
    another row over the seeds that both have, with how many of these it is above zero in. Where
    classes are pairs, the means for digit and motion alone follow.
    """
    seeds = sorted({seed for row in claim.rows for seed in runs.get(row.training, ())})
    header = [f"top-1 %, {claim.data}", *(f"seed {seed}" for seed in seeds)]
    header += ["mean", "s.d.", "difference"]
    asks_both = any(_means_of_parts(row, runs) for row in claim.rows)
    if asks_both:
        header += ["digit", "motion"]
    if claim.paper_column:
        header.append(f"paper: {claim.paper_column}")
    lines = [header, ["---"] * len(header)]
    for row in claim.rows:
        by_seed = runs.get(row.training, {})
        scores = [by_seed[seed].top1 for seed in seeds if seed in by_seed]
        cells = [row.label]
        cells += [f"{by_seed[seed].top1:.1f}" if seed in by_seed else "" for seed in seeds]
        cells.append(f"{statistics.mean(scores):.1f}" if scores else "")
        cells.append(f"{statistics.stdev(scores):.1f}" if len(scores) > 1 else "")
        cells.append("" if row == claim.rows[0] else _difference(row, claim, runs))
        if asks_both:
            cells += _means_of_parts(row, runs) or ["", ""]
        if claim.paper_column:
            cells.append(row.paper)
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _means_of_parts(row: Row, runs: Runs) -> list[str]:
    """Return the mean shares of clips with the right digit and motion; empty if not asked for."""
    mine = [run for run in runs.get(row.training, {}).values() if run.digit is not None]
    if not mine:
        return []
    return [f"{statistics.mean(getattr(run, part) for run in mine):.1f}" for part in _PARTS]


def _difference(row: Row, claim: Claim, runs: Runs) -> str:
    against = row.against or claim.rows[0].training
    (name,) = (other.label for other in claim.rows if other.training == against)
    mine, other = runs.get(row.training, {}), runs.get(against, {})
    gains = [mine[seed].top1 - other[seed].top1 for seed in sorted(mine.keys() & other.keys())]
    if not gains:
        return ""
    above = sum(gain > 0 for gain in gains)
    return f"{statistics.mean(gains):+.1f} from *{name}*; above in {above} of {len(gains)}"


def cost_table(claims: Mapping[str, Claim], runs: Runs) -> str:
    """Return what each claim's trainings cost, those that claims share counted in each."""
    lines = ["| claim | trainings | processor min | wall min |", "| --- | --- | --- | --- |"]
    for name, claim in claims.items():
        lines.append(_cost_line(name, trainings_of([claim]), runs))
    lines.append(_cost_line("all, shared ones once", trainings_of(claims.values()), runs))
    return "\n".join(lines)


def trainings_of(claims: Sequence[Claim]) -> list[str]:
    """Return the names of all trainings that claims need, pre-training included, each once."""
    names = (
        name for claim in claims for row in claim.rows for name in with_its_source(row.training)
    )
    return list(dict.fromkeys(names))


def _cost_line(name: str, trainings: Sequence[str], runs: Runs) -> str:
    mine = [run for training in trainings for run in runs.get(training, {}).values()]
    cpu_min = sum(run.cpu_sec for run in mine) / 60
    wall_min = sum(run.wall_sec for run in mine) / 60
    return f"| {name} | {len(mine)} | {cpu_min:.1f} | {wall_min:.1f} |"


def draw(claim: Claim, runs: Runs, path: Path) -> None:
    """Draw a claim: a dot for each seed, a line at each mean, and what guessing gives."""
    # Imported here: nothing else needs it.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.2 + 0.42 * len(claim.rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(claim.rows):
        scores = [run.top1 for run in runs.get(row.training, {}).values()]
        if scores:
            mean = statistics.mean(scores)
            axes.plot([mean, mean], [place - 0.3, place + 0.3], color="C0", lw=2.5, label="mean")
            axes.plot(
                scores,
                [place] * len(scores),
                "o",
                color="C1",
                ms=5,
                alpha=0.8,
                label="a seed",
            )
    axes.axvline(claim.chance, color="0.5", ls=":", lw=1.5, label="guessing")
    axes.set_yticks(range(len(claim.rows)), [row.label for row in claim.rows])
    axes.set(ylim=(len(claim.rows) - 0.5, -0.5), xlabel=f"test top-1, % ({claim.data})")
    axes.set_title(f"{claim.title} ({claim.tables})", fontsize=9, loc="left")
    axes.grid(axis="x", alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    each_once = dict(zip(labels, handles, strict=True))
    figure.legend(each_once.values(), each_once, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=120)
