# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a person looks at when a run is over: a table and the learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vidpretrain.train.metrics import read_metrics
from vidpretrain.train.stages import Result


def table(results: Sequence[Result]) -> str:
    """Return the stages' results as a table in Markdown.

    Args:
        results: of the finished stages.

    Returns:
        One row a stage: test accuracy, images seen (those of pre-training and its own), seconds.
    """
    header = ("stage", "top-1 %", "top-5 %", "images seen", "of them before", "seconds")
    rows = [
        (
            result.name,
            f"{result.top1:.2f}",
            f"{result.top5:.2f}",
            f"{result.images_seen:,}",
            f"{result.images_pretrained:,}",
            f"{result.seconds:.0f}",
        )
        for result in results
    ]
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        # The name to the left, numbers to the right.
        aligned = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(aligned)} |"

    rule = line([("-" * width) for width in widths])
    return "\n".join([line(header), rule, *map(line, rows)])


def draw_curves(workdir: Path, stages: Sequence[str], path: Path) -> None:
    """Draw test accuracy and training loss of every stage over the images it has seen.

    Args:
        workdir: the run's folder.
        stages: names, in order.
        path: the PNG to write.
    """
    # Imported here: matplotlib takes longer than everything else that reports need.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    accuracy, loss = figure.subplots(1, 2)
    for index, stage in enumerate(stages):
        records = read_metrics(workdir / stage)
        colour = f"C{index}"
        for axes, metric in ((accuracy, "test/top1"), (loss, "train/loss")):
            points = [(r["images"], r[metric]) for r in records if metric in r]
            if points:
                marker = "o" if metric.startswith("test") else None
                images, values = zip(*points, strict=True)
                axes.plot(images, values, color=colour, marker=marker, ms=3, label=stage)
    accuracy.set(xlabel="images seen by this stage", ylabel="test top-1, %", ylim=(0, 100))
    loss.set(xlabel="images seen by this stage", ylabel="training loss", yscale="log")
    for axes in (accuracy, loss):
        axes.grid(alpha=0.3)
    accuracy.legend(frameon=False)
    temporary = path.with_suffix(".tmp.png")
    figure.savefig(temporary, dpi=120)
    temporary.replace(path)
