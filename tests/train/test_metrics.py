# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Metrics on disk and on the terminal."""

import io

from vidpretrain.train.metrics import MetricsWriter, Progress, read_metrics


def test_records_come_back_with_their_images(tmp_path):
    with MetricsWriter(tmp_path, images_per_step=32) as writer:
        writer.write(10, {"train/loss": 1.5})
        writer.write(20, {"test/top1": 50.0})
    assert read_metrics(tmp_path) == [
        {"step": 10, "images": 320, "train/loss": 1.5},
        {"step": 20, "images": 640, "test/top1": 50.0},
    ]
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_resumed_run_drops_the_steps_it_takes_again(tmp_path):
    with MetricsWriter(tmp_path, images_per_step=1) as writer:
        for step in (10, 20, 30):
            writer.write(step, {"train/loss": float(step)})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "train/lo')  # A kill in the middle of a line.
    with MetricsWriter(tmp_path, images_per_step=1, start_step=20) as writer:
        writer.write(30, {"train/loss": 0.5})
    assert [(r["step"], r["train/loss"]) for r in read_metrics(tmp_path)] == [
        (10, 10.0),
        (20, 20.0),
        (30, 0.5),
    ]


def test_no_file_is_no_records(tmp_path):
    assert read_metrics(tmp_path) == []


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_on_a_terminal_and_lines_elsewhere():
    for stream in (io.StringIO(), Terminal()):
        progress = Progress("stage", start_step=1, total_steps=3, stream=stream)
        progress.say("hello")
        for _ in range(2):
            progress.advance()
        progress.report(3, {"loss": 0.25})
        progress.close()
        shown = stream.getvalue()
        assert "hello" in shown
        assert "loss 0.25" in shown
        assert ("stage step 3/3 loss 0.25\n" in shown) != stream.isatty()
        assert ("3/3 [" in shown) == stream.isatty()
