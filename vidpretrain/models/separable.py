# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The separable convolutions that the STH and CT papers compare theirs with.

They keep the channels of the convolution that they replace. The (2+1)D convolution whose middle
channels match the weights of a 3D one is `layers.FactorizedConvolution`.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax

from vidpretrain import ops
from vidpretrain.models.layers import BatchNorm, Conv, ConvSite

ARRANGEMENTS = ("sequential", "parallel")


class SeparableConv(nn.Module):
    """A spatial and a 3x1x1 temporal convolution, one after the other or summed.

    Submodules: `spatial`, `temporal`, and `norm` between them with `norm_between`.

    Attributes:
        site: Where the convolution stands.
        arrangement: `sequential`, or `parallel`: the sum of both, applied to the same input.
        norm_between: Batch norm and ReLU between the two, which only `sequential` has room for.
    """

    site: ConvSite
    arrangement: str = "sequential"
    norm_between: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[B, T, H, W, I]` to `[B, T', H', W', O]`."""
        site = self.site
        frames, rows, columns = site.strides
        if self.arrangement == "parallel":
            strides = {"spatial": site.strides, "temporal": site.strides}
        else:
            strides = {"spatial": (1, rows, columns), "temporal": (frames, 1, 1)}
        spatial, temporal = (
            Conv(
                site.features,
                kernel_size,
                strides[name],
                groups=site.groups,
                dtype=site.dtype,
                name=name,
            )
            for name, kernel_size in (("spatial", (1, *site.kernel)), ("temporal", (3, 1, 1)))
        )
        if self.arrangement == "parallel":
            return spatial(x) + temporal(x)
        x = spatial(x)
        if self.norm_between:
            x = ops.relu(BatchNorm(site.norm, site.dtype, name="norm")(x, train))
        return temporal(x)


@dataclasses.dataclass(frozen=True)
class Separable:
    """Builds a `SeparableConv`.

    Attributes:
        arrangement: `sequential` or `parallel`.
        norm_between: Batch norm and ReLU between the two convolutions.

    Raises:
        ValueError: The arrangement does not exist, or leaves no room for the norm.

    References:
        Li et al., STH, 2020, Table 6: "(2+1)D", sequential and parallel, nothing in between (as the
        parameters given there imply).
        Li et al., CT-Net, ICLR 2021, Table 1: "R(2+1)D module", sequential with norm and ReLU.
    """

    arrangement: str = "sequential"
    norm_between: bool = False

    owns_norm: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.arrangement not in ARRANGEMENTS:
            raise ValueError(
                f"arrangement={self.arrangement!r} is not one of {', '.join(ARRANGEMENTS)}"
            )
        if self.norm_between and self.arrangement != "sequential":
            raise ValueError("norm_between needs arrangement='sequential'")

    def build(self, site: ConvSite, name: str) -> SeparableConv:
        """Return the convolution for a site."""
        return SeparableConv(site, self.arrangement, self.norm_between, name=name)
