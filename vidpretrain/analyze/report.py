# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a person looks at when a run is over: a table and the learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vidpretrain.train.metrics import read_metrics
from vidpretrain.train.stages import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    return markdown(header, rows)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown, aligned for reading as text.

    Args:
        header: names of the columns; the first is set to the left, the others to the right.
        rows: as many cells each.
    """
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


def draw_curves(workdir: Path, results: Sequence[Result], path: Path) -> None:
    """Draw test accuracy and training loss of every stage over the images seen.

    A stage that starts from an earlier one starts where that one ended, so that equal budgets end
    at the same place.

    Args:
        workdir: the run's folder.
        results: of the finished stages.
        path: the PNG to write.
    """
    # Imported here: matplotlib takes longer than everything else that reports need.
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    accuracy, loss = figure.subplots(1, 2)
    for index, result in enumerate(results):
        records = read_metrics(workdir / result.name)
        for axes, metric in ((accuracy, "test/top1"), (loss, "train/loss")):
            points = [
                (result.images_pretrained + record["images"], record[metric])
                for record in records
                if metric in record
            ]
            if points:
                images, values = zip(*points, strict=True)
                marker = "o" if axes is accuracy else None
                axes.plot(images, values, color=f"C{index}", marker=marker, ms=3, label=result.name)
    accuracy.set(ylabel="test top-1, %", ylim=(0, 100))
    loss.set(ylabel="training loss", yscale="log")
    for axes in (accuracy, loss):
        axes.set(xlabel="images seen, pre-training included")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(alpha=0.3)
    accuracy.legend(frameon=False)
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path, dpi: int = 120) -> None:
    """Write a figure as PNG, whole or not at all."""
    temporary = path.with_suffix(".tmp.png")
    figure.savefig(temporary, dpi=dpi)
    temporary.replace(path)
