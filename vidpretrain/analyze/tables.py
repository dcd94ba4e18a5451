# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The papers' figures beside what our networks count, and whether they agree."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal

from vidpretrain import models
from vidpretrain.analyze import count
from vidpretrain.analyze.papers import Figures, Row, Table


def agrees(figures: Figures, ours: count.Count) -> bool:
    """Return whether a count lies within half a unit of the last digit of the figures.

    Operations are first rounded to the three decimals to which the figures by hand were summed
    before they were rounded further; figures with more decimals are compared exactly.
    """
    agreements = []
    if figures.gflops:
        printed = Decimal(figures.gflops)
        gflops = Decimal(ours.operations) / 10**9
        if _last_digit(printed) > Decimal("1e-3"):
            gflops = gflops.quantize(Decimal("1e-3"), ROUND_HALF_UP)
        agreements.append(abs(gflops - printed) <= _last_digit(printed) / 2)
    if figures.parameters.endswith("M"):
        printed = Decimal(figures.parameters.removesuffix("M"))
        millions = Decimal(ours.parameters) / 10**6
        agreements.append(abs(millions - printed) <= _last_digit(printed) / 2)
    elif figures.parameters:
        agreements.append(ours.parameters == int(figures.parameters.replace(",", "")))
    return all(agreements)


def _last_digit(printed: Decimal) -> Decimal:
    """Return one unit of the last digit of a decimal: 0.01 of 36.29."""
    return Decimal(1).scaleb(int(printed.as_tuple().exponent))


@functools.cache
def trace(spec: str, frames: int, size: int, classes: int) -> count.Network:
    """Trace a network by name; rows that differ only in the rule share it."""
    return count.trace(models.make_model(spec, num_classes=classes), frames, size)


def count_row(row: Row) -> count.Count:
    """Count the network of a row under the row's rule."""
    network = trace(row.spec, row.frames, row.size, row.classes)
    return network.total(count.RULES[row.rule])


def to_text(tables: Iterable[Table]) -> str:
    """Write the tables for a person: printed, by hand and ours, and whether ours agrees."""
    return "\n\n".join(_table_to_text(table) for table in tables)


def to_json(tables: Iterable[Table]) -> list[dict[str, object]]:
    """Return every row as a JSON value, with our counts and whether they agree."""
    rows = []
    for table in tables:
        for row in table.rows:
            ours = count_row(row)
            rows.append(
                {
                    "table": table.title,
                    **dataclasses.asdict(row),
                    "parameters": ours.parameters,
                    "gflops": ours.gflops,
                    "agrees_with_printed": agrees(row.printed, ours),
                    "agrees_with_by_hand": agrees(row.by_hand, ours),
                }
            )
    return rows


HEADER = (
    "row",
    "network",
    "frames",
    "size",
    "classes",
    "rule",
    "printed",
    "",
    "by hand",
    "",
    "ours",
)


def _table_to_text(table: Table) -> str:
    lines = [HEADER, *map(_cells, table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    notes = [f"({row.label}: {row.note})" for row in table.rows if row.note]
    return "\n".join([table.title, *text, *notes])


def _cells(row: Row) -> tuple[str, ...]:
    ours = count_row(row)
    return (
        row.label,
        row.spec,
        str(row.frames),
        str(row.size),
        str(row.classes),
        row.rule,
        str(row.printed),
        _mark(row.printed, ours),
        str(row.by_hand),
        _mark(row.by_hand, ours),
        f"{ours.gflops:.3f} / {ours.parameters:,}",
    )


def _mark(figures: Figures, ours: count.Count) -> str:
    if figures == Figures():
        return ""
    return "=" if agrees(figures, ours) else "differs"
