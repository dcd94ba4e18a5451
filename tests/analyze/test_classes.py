# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Class by class: rows by hand, files, pictures of any number of classes."""

import csv
import math

import numpy as np
import pytest

from vidpretrain.analyze.__main__ import main
from vidpretrain.analyze.classes import ClassRow, draw_confusion, per_class
from vidpretrain.train.scores import Scores

SIX = Scores(
    values=np.float32(
        [
            [0.30, 0.20, 0.20, 0.12, 0.10, 0.08],
            [0.20, 0.30, 0.20, 0.12, 0.10, 0.08],
            [0.20, 0.30, 0.20, 0.12, 0.10, 0.08],
            [0.01, 0.30, 0.20, 0.12, 0.10, 0.27],
            [0.20, 0.25, 0.20, 0.12, 0.13, 0.10],
        ]
    ),
    label=np.int32([0, 0, 0, 0, 4]),
    loss=np.zeros(5, np.float32),
    example=np.arange(5),
    expected=6,
    names=tuple("abcde"),
    class_names=("push", "pull, slowly", "drop"),
    network="tsn50",
)


def test_rows_by_hand():
    rows = per_class(SIX)
    assert rows[0] == ClassRow(0, "push", 4, 25.0, 75.0, "pull, slowly", 3)
    assert rows[4] == ClassRow(4, "4", 1, 0.0, 100.0, "pull, slowly", 1)
    assert (rows[1].examples, rows[1].taken_for, rows[1].taken) == (0, "", 0)
    assert math.isnan(rows[1].top1)


def test_the_command_writes_tables_and_a_picture(tmp_path, capsys):
    SIX.save(tmp_path / "s.npz")
    out = tmp_path / "new" / "folder"
    assert main(["classes", str(tmp_path / "s.npz"), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "5 of 6" in shown
    assert "pull, slowly (3)" in shown
    with (out / "confusion.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["true \\ predicted", "push", "pull, slowly", "drop", "3", "4", "5"]
    assert rows[0] == ["push", "1", "3", "0", "0", "0", "0"]
    assert np.array([row[1:] for row in rows], int).sum() == 5
    with (out / "per_class.csv").open(newline="") as file:
        first = next(csv.DictReader(file))
    assert (first["name"], first["top1"], first["taken"]) == ("push", "25.0000", "3")
    assert (out / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in out.iterdir()) == sorted(
        ["confusion.csv", "confusion.png", "per_class.csv"]
    )


def test_what_cannot_be_read_or_written_is_told(tmp_path, capsys):
    assert main(["classes", str(tmp_path / "none.npz"), "--out", str(tmp_path)]) == 1
    assert "there is no file" in capsys.readouterr().err
    SIX.save(tmp_path / "s.npz")
    assert main(["classes", str(tmp_path / "s.npz"), "--out", str(tmp_path / "s.npz")]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("num_classes", [1, 2, 13, 201])
def test_pictures_of_any_number_of_classes(tmp_path, num_classes):
    names = [f"class {i} with quite a long name that goes on" for i in range(num_classes)]
    matrix = np.diag(np.arange(num_classes))
    draw_confusion(matrix, names, tmp_path / "c.png", "title")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
