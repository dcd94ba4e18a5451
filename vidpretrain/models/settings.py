# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Settings that every network takes, beside the options of its family."""

from __future__ import annotations

import dataclasses
from typing import Literal

from vidpretrain import ops
from vidpretrain.models.layers import STS, Norm

ConvKind = Literal["conv3d", "sts"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What can be set on every network.

    Attributes:
        num_classes: Number of classes.
        dtype: Compute type; parameters and statistics are float32 whatever it is.
        dropout: Before the classifier; None is the network's own rate.
        image: Build the image twin, in which every temporal kernel has size 1.
        drop_path: Stochastic depth at the last block, growing linearly from 0 at the first.
        remat: Stages (from 1) whose activations are computed again in the backward pass.
        norm_momentum: See `layers.Norm`.
        norm_group: See `layers.Norm.group_size`.
        norm_frozen: See `layers.Norm`.
        depths: Blocks of each stage; None is the network's own. Residual networks only.
        width: Channels of the first stage, which the others grow with; None is the network's own.
            Residual networks only.
    """

    num_classes: int = 400
    dtype: Literal["float32", "bfloat16"] = "float32"
    dropout: float | None = None
    image: bool = False
    drop_path: float = 0.0
    remat: tuple[int, ...] = ()
    norm_momentum: float = 0.9
    norm_group: int | None = None
    norm_frozen: bool = False
    depths: tuple[int, ...] | None = None
    width: int | None = None

    def __post_init__(self) -> None:
        if self.num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {self.num_classes}")
        for name in ("dropout", "drop_path"):
            rate = getattr(self, name)
            if rate is not None and not 0.0 <= rate < 1.0:
                raise ValueError(f"{name} must be in [0, 1), got {rate}")
        if self.norm_group is not None and self.norm_group < 1:
            raise ValueError(f"norm_group must be at least 1 clip, got {self.norm_group}")
        if self.depths is not None and not all(depth >= 1 for depth in (self.depths or (0,))):
            raise ValueError(f"depths must be at least one block a stage, got {self.depths}")
        if self.width is not None and self.width < 1:
            raise ValueError(f"width must be at least 1 channel, got {self.width}")
        if not 0.0 <= self.norm_momentum <= 1.0:
            raise ValueError(f"norm_momentum must be in [0, 1], got {self.norm_momentum}")

    def norm(self, epsilon: float = 1e-5) -> Norm:
        """Return the options of the network's batch norms."""
        return Norm(epsilon, self.norm_momentum, self.norm_group, self.norm_frozen)

    def temporal(self, size: int) -> int:
        """Return a temporal kernel size, which is 1 in the image twin."""
        return 1 if self.image else size

    def dropout_or(self, default: float) -> float:
        """Return the dropout set, or the network's own."""
        return default if self.dropout is None else self.dropout

    def depths_or(self, default: tuple[int, ...]) -> tuple[int, ...]:
        """Return the depths set, or the network's own.

        Raises:
            ValueError: They are not those of as many stages.
        """
        if self.depths is None:
            return default
        if len(self.depths) != len(default):
            raise ValueError(
                f"depths={self.depths}: the network has {len(default)} stages; give the blocks of "
                f"each, such as depths={'+'.join('1' * len(default))}"
            )
        return self.depths

    def width_or(self, default: int) -> int:
        """Return the width set, or the network's own."""
        return default if self.width is None else self.width


def sts_option(
    conv: ConvKind, ratio: tuple[int, int] | None, static: ops.Static | None
) -> STS | None:
    """Return the STS options that `conv=sts` with `ratio` and `static` means, None for plain.

    Raises:
        ValueError: Options of the STS convolution are given for the plain one.
    """
    if conv == "conv3d":
        if ratio is not None or static is not None:
            raise ValueError("ratio and static are options of conv=sts; add conv=sts or drop them")
        return None
    return STS(ratio or STS.ratio, static or STS.static)
