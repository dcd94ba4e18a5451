# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What scores come to class by class: tables, and the confusion matrix as numbers and picture."""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from vidpretrain.analyze.report import save_figure
from vidpretrain.train.scores import Scores

PER_CLASS, CONFUSION, CONFUSION_PNG = "per_class.csv", "confusion.csv", "confusion.png"

# Sizes of the picture.
_CELL_IN, _SMALL_CELL_IN = 0.17, 0.1
_LEAST_SIDE_IN, _MOST_SIDE_IN = 3.2, 24.0
_POINTS_PER_INCH = 72
_DPI = 130
# Classes up to which cells are large, have their counts written in, and are all named.
_MOST_LARGE = 60
_MOST_NUMBERED = 12
_MOST_NAMED = 200
_MOST_LETTERS = 44


@dataclasses.dataclass(frozen=True)
class ClassRow:
    """One class of a test set.

    Attributes:
        label: its number.
        name: its name.
        examples: of it that were tested.
        top1: share of them whose likeliest class it is, percent; NaN without examples.
        top5: share of them for which it is among the five likeliest, percent; NaN without examples.
        taken_for: the other class that most of them are taken for; empty if none is.
        taken: how many that are.
    """

    label: int
    name: str
    examples: int
    top1: float
    top5: float
    taken_for: str
    taken: int


def per_class(scores: Scores) -> list[ClassRow]:
    """Return a row for every class, by label."""
    matrix = scores.confusion()
    counts = matrix.sum(axis=1)
    among_five = np.bincount(scores.label, weights=scores.hits(5), minlength=len(matrix))
    wrong = matrix - np.diag(np.diag(matrix))
    rows = []
    for label, count in enumerate(counts.tolist()):
        rival = int(np.argmax(wrong[label]))
        taken = int(wrong[label, rival])
        rows.append(
            ClassRow(
                label=label,
                name=scores.class_name(label),
                examples=count,
                top1=100.0 * matrix[label, label] / count if count else float("nan"),
                top5=100.0 * among_five[label] / count if count else float("nan"),
                taken_for=scores.class_name(rival) if taken else "",
                taken=taken,
            )
        )
    return rows


def write_reports(scores: Scores, folder: Path) -> None:
    """Write `per_class.csv`, `confusion.csv` (counts; true classes down) and `confusion.png`.

    Args:
        scores: of a test set.
        folder: where to write; is made.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fields = [field.name for field in dataclasses.fields(ClassRow)]
    rows = [dataclasses.astuple(row) for row in per_class(scores)]
    write_csv(folder / PER_CLASS, fields, rows)
    names = [scores.class_name(label) for label in range(scores.num_classes)]
    matrix = scores.confusion()
    counts = [[name, *row] for name, row in zip(names, matrix.tolist(), strict=True)]
    write_csv(folder / CONFUSION, ["true \\ predicted", *names], counts)
    title = (
        f"{scores.network}, {len(scores.label):,} examples\n"
        f"top-1 {scores.top(1):.2f} %, mean class {scores.mean_class():.2f} %"
    )
    draw_confusion(matrix, names, folder / CONFUSION_PNG, title)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table as CSV, whole or not at all; floats with four decimals."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row in rows:
            writer.writerow([f"{x:.4f}" if isinstance(x, float) else x for x in row])
    os.replace(temporary, path)


def draw_confusion(matrix: np.ndarray, names: Sequence[str], path: Path, title: str) -> None:
    """Draw a confusion matrix, each row as shares of its class.

    Args:
        matrix: counts by true (row) and predicted class, `[K, K]`.
        names: of the classes, `[K]`; beyond 200 classes only some are written.
        path: the PNG to write.
        title: above the picture.
    """
    # Imported here: matplotlib takes longer than everything else that reports need.
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    num_classes = len(matrix)
    cell = _CELL_IN if num_classes <= _MOST_LARGE else _SMALL_CELL_IN
    side = float(np.clip(cell * num_classes, _LEAST_SIDE_IN, _MOST_SIDE_IN))
    # Names fill the rows, up to a size; other words grow with the picture.
    step = -(-num_classes // _MOST_NAMED)
    name_pt = float(np.clip(side / num_classes * step * _POINTS_PER_INCH * 0.75, 4.0, 10.0))
    word_pt = 8.0 + 0.4 * side
    labels = [_shorten(name) for name in names]
    margin = max(map(len, labels)) * name_pt * 0.6 / _POINTS_PER_INCH + 0.5
    figure = Figure(figsize=(side + margin + 1.5, side + margin + 0.8), layout="constrained")
    axes = figure.subplots()
    counts = matrix.sum(axis=1, keepdims=True)
    shares = np.where(counts > 0, 100.0 * matrix / np.maximum(counts, 1), np.nan)
    # The root of the share: a few confusions among many examples must still be seen.
    norm = PowerNorm(0.5, vmin=0.0, vmax=100.0)
    image = axes.imshow(shares, cmap="Blues", norm=norm, interpolation="nearest")
    axes.set_facecolor("0.88")  # What has no share, a class without examples, shows it.
    places = range(0, num_classes, step)
    shown = [labels[place] for place in places]
    axes.set_xticks(places, shown, rotation=90, fontsize=name_pt)
    axes.set_yticks(places, shown, fontsize=name_pt)
    axes.tick_params(length=2)
    axes.set_xlabel("predicted class", fontsize=word_pt)
    axes.set_ylabel("true class", fontsize=word_pt)
    axes.set_title(title, fontsize=word_pt + 1)
    if num_classes <= _MOST_NUMBERED:
        for (row, column), count in np.ndenumerate(matrix):
            colour = "white" if shares[row, column] > 35 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=25, ticks=[0, 1, 5, 10, 25, 50, 100])
    bar.set_label("share of the true class, %", fontsize=word_pt)
    bar.ax.tick_params(labelsize=word_pt - 1)
    save_figure(figure, path, dpi=_DPI)


def _shorten(name: str) -> str:
    return name if len(name) <= _MOST_LETTERS else name[: _MOST_LETTERS - 1].rstrip() + "…"
