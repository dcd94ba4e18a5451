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
