# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The temporal shift (TSM) as a drop-in: an image network's convolution on shifted channels."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax

from vidpretrain import ops
from vidpretrain.models.layers import Conv, ConvSite


class ShiftedConv(Conv):
    """A convolution that sees some channels a frame early and some a frame late.

    Its parameters are those of the convolution without the shift.

    Attributes:
        fraction: Share of the input channels shifted each way.
    """

    fraction: float = 1 / 8

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Shift and convolve `x` `[B, T, H, W, I]` into `[B, T, H', W', O]`."""
        return super().__call__(ops.temporal_shift(x, self.fraction), train)


@dataclasses.dataclass(frozen=True)
class TemporalShift:
    """Builds a `ShiftedConv`. In a residual block it goes first, inside the branch.

    Attributes:
        fraction: Share of the channels shifted each way, from 0 to 1/2.

    Raises:
        ValueError: The fraction is out of range.

    References:
        Lin et al., TSM: Temporal Shift Module for Efficient Video Understanding, ICCV 2019,
        Figure 3b (residual shift), 1/8 each way.
    """

    fraction: float = 1 / 8

    owns_norm: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 0.5:
            raise ValueError(
                f"fraction={self.fraction}: the share shifted each way must be from 0 to 0.5"
            )

    def build(self, site: ConvSite, name: str) -> ShiftedConv:
        """Return the convolution for a site."""
        return ShiftedConv(
            site.features,
            (1, *site.kernel),
            site.strides,
            groups=site.groups,
            dtype=site.dtype,
            fraction=self.fraction,
            name=name,
        )
