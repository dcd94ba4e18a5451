# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The table and the chart at the end of a run."""

import cv2

from vidpretrain.analyze import report
from vidpretrain.train.metrics import MetricsWriter
from vidpretrain.train.stages import Result


def result(name, before=0):
    return Result(
        name=name,
        network="resnet",
        top1=12.345,
        top5=50.0,
        images_seen=before + 1000,
        images_pretrained=before,
        seconds=3.6,
        steps=10,
        seed=0,
        examples=4,
        expected=4,
    )


def test_the_table_lines_up():
    lines = report.table([result("pretrained"), result("finetuned", before=1000)]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[3].split("|")[1:-1] == [
        " finetuned  ",
        "   12.35 ",
        "   50.00 ",
        "       2,000 ",
        "          1,000 ",
        "       4 ",
    ]


def test_the_chart_is_drawn_whole_and_shows_both_stages(tmp_path):
    results = [result("pretrained"), result("finetuned", before=1000)]
    for one in results:
        with MetricsWriter(tmp_path / one.name, images_per_step=100) as writer:
            for step in (5, 10):
                writer.write(step, {"train/loss": 1.0 / step, "test/top1": 5.0 * step})
    report.draw_curves(tmp_path, results, tmp_path / "curves.png")
    picture = cv2.imread(str(tmp_path / "curves.png"))
    assert picture.shape == (504, 1320, 3)
    # matplotlib's first two colours, in OpenCV's order.
    for colour in ((180, 119, 31), (14, 127, 255)):
        assert (picture == colour).all(axis=2).any()
    assert not list(tmp_path.glob("*.tmp*"))
