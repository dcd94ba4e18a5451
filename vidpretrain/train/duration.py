# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Lengths of training in steps, epochs or images, all resolved to steps by one function."""

from __future__ import annotations

import dataclasses
import re

_UNITS = ("steps", "epochs", "images")


@dataclasses.dataclass(frozen=True)
class Budget:
    """What one step costs, so that durations in any unit can be told in steps.

    Attributes:
        batch_size: examples (images or clips) in a global batch.
        num_examples: examples in the training set.
        images_per_example: frames that the network sees of each; 1 for images. The STS paper
            counts budgets so: clips x frames (Table 7).
    """

    batch_size: int
    num_examples: int
    images_per_example: int = 1

    def steps(self, duration: str, *, field: str = "duration") -> int:
        """Resolve a duration to a number of steps, rounded to the nearest.

        Args:
            duration: a number and a unit: "300 steps", "50 epochs", "1.92e8 images".
            field: the config field to name in the error.

        Raises:
            ValueError: no number, a negative one, or an unknown unit.
        """
        number, unit = parse(duration, field=field)
        if unit == "epochs":
            number *= self.steps_per_epoch
        elif unit == "images":
            number /= self.batch_size * self.images_per_example
        return round(number)

    @property
    def steps_per_epoch(self) -> float:
        """Steps in which every example is seen once; no whole number, for epochs have no gap."""
        return self.num_examples / self.batch_size

    def images(self, steps: int) -> int:
        """Return how many images the network has seen after so many steps."""
        return steps * self.batch_size * self.images_per_example


def parse(duration: str, *, field: str = "duration") -> tuple[float, str]:
    """Split "50 epochs" into its number and its unit.

    Raises:
        ValueError: no number, a negative one, or an unknown unit.
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-z]+)\s*", duration)
    unit = match.group(2) if match else ""
    unit = unit if unit.endswith("s") else unit + "s"
    if match is None or unit not in _UNITS:
        raise ValueError(
            f"{field}={duration!r} is no duration; write a number and a unit, one of "
            f"{', '.join(_UNITS)}: '50 epochs'"
        )
    try:
        return float(match.group(1)), unit
    except ValueError:
        raise ValueError(f"{field}={duration!r}: {match.group(1)!r} is no number") from None
