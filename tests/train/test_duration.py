# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Durations against the STS paper's own budgets."""

import pytest

from vidpretrain.train.duration import Budget


@pytest.mark.parametrize(
    ("duration", "steps"),
    [("300 steps", 300), ("1 step", 1), ("2 epochs", 50), ("0.5 epochs", 12), ("640 images", 20)],
)
def test_units(duration, steps):
    assert Budget(batch_size=8, num_examples=200, images_per_example=4).steps(duration) == steps


@pytest.mark.parametrize(
    ("videos", "frames", "epochs", "images"),
    [
        # Table 7: 0.24M videos, from scratch 100 epochs of 8, 16, 32 frames; 1.28M images.
        (240_000, 8, 100, 192_000_000),
        (240_000, 16, 100, 384_000_000),
        (240_000, 32, 100, 768_000_000),
        (240_000, 8, 50, 96_000_000),
        (1_280_000, 1, 100, 128_000_000),
        (1_280_000, 1, 150, 192_000_000),
        (1_280_000, 1, 300, 384_000_000),
    ],
)
def test_the_budgets_of_sts_table_7(videos, frames, epochs, images):
    budget = Budget(batch_size=64, num_examples=videos, images_per_example=frames)
    assert budget.images(budget.steps(f"{epochs} epochs")) == images
    assert budget.steps(f"{images} images") == budget.steps(f"{epochs} epochs")


@pytest.mark.parametrize("duration", ["", "5", "epochs", "-1 epochs", "5 hours", "1.2.3 epochs"])
def test_nonsense_is_refused(duration):
    with pytest.raises(ValueError, match=r"test\.every"):
        Budget(8, 100).steps(duration, field="test.every")


@pytest.mark.parametrize(
    ("frames", "image_epochs", "scratch_epochs", "millions", "ratio"),
    [
        (8, 100, 100, (128, 96, 192), 1.1667),
        (16, 150, 100, (192, 192, 384), 1.0),
        (32, 300, 100, (384, 384, 768), 1.0),
    ],
)
def test_budgets_of_the_sts_paper(frames, image_epochs, scratch_epochs, millions, ratio):
    """Table 7: 1.28M images, then 50 epochs of 0.24M videos, against videos from scratch."""
    images, videos = Budget(1024, 1_280_000), Budget(64, 240_000, frames)
    seen = (
        images.images(images.steps(f"{image_epochs} epochs")),
        videos.images(videos.steps("50 epochs")),
        videos.images(videos.steps(f"{scratch_epochs} epochs")),
    )
    assert seen == tuple(million * 1_000_000 for million in millions)
    assert (seen[0] + seen[1]) / seen[2] == pytest.approx(ratio, abs=1e-4)
    # The same budget, told in images.
    assert videos.steps(f"{seen[2]} images") == videos.steps(f"{scratch_epochs} epochs")
