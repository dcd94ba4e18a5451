# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""How a training step should scale over TPU chips: a model on paper, from a compiled step.

A chip computes no faster than its peak and moves no more bytes than its memory's bandwidth, and
does both at once; then it exchanges what the step's collectives exchange:

    seconds = max(FLOPs / peak, bytes / bandwidth) + collectives
    collectives = sum of (bytes sent / (links * link bandwidth) + rounds * hops * latency)

Products seldom reach the peak, and much of what XLA counts as accessed stays on the chip between
two operations: the first is a lower bound, the second an upper one. What the compiler hides of the
exchange behind computing, and whether hosts deliver the clips, is left out. So it is good for
ratios: what may limit a step, and from how many chips on the exchange counts.

References:
    Williams et al., Roofline, 2009. Austin et al., How to Scale Your Model, 2025, "All the
    transformer math", "How to think about TPUs": rings, one-way links and the latency of a hop.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from vidpretrain.analyze.chips import Slice
from vidpretrain.analyze.collectives import Collective

HOP_SEC = 1e-6
"""What one chip takes to pass something on to the next."""


@dataclasses.dataclass(frozen=True)
class Work:
    """What a step asks of each chip.

    Attributes:
        num_chips: that it was compiled for: collectives among as many are among all.
        clips: of a chip's share of the batch.
        flops: floating-point operations.
        hbm_bytes: read and written.
        collectives: what is exchanged; it does not depend on the number of clips.
    """

    num_chips: int
    clips: float
    flops: float
    hbm_bytes: float
    collectives: Sequence[Collective]

    def with_clips(self, clips: float) -> Work:
        """Return the work for another share: products and bytes grow with the clips."""
        factor = clips / self.clips
        return dataclasses.replace(
            self, clips=clips, flops=self.flops * factor, hbm_bytes=self.hbm_bytes * factor
        )


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a step should take on a slice, seconds.

    Attributes:
        slice_: the slice.
        clips: of a chip's share of the batch.
        compute_sec: at the chip's peak.
        memory_sec: at its memory's bandwidth.
        exchange_sec: of all collectives.
    """

    slice_: Slice
    clips: float
    compute_sec: float
    memory_sec: float
    exchange_sec: float

    @property
    def step_sec(self) -> float:
        """The whole step."""
        return max(self.compute_sec, self.memory_sec) + self.exchange_sec

    @property
    def limit(self) -> str:
        """What takes longest."""
        parts = {
            "compute": self.compute_sec,
            "memory": self.memory_sec,
            "exchange": self.exchange_sec,
        }
        return max(parts, key=lambda part: parts[part])

    @property
    def clips_per_sec(self) -> float:
        """Of all chips."""
        return self.clips * self.slice_.num_chips / self.step_sec

    @property
    def clips_per_sec_and_host(self) -> float:
        """What each host has to decode and deliver."""
        return self.clips_per_sec / self.slice_.num_hosts


def predict(work: Work, slice_: Slice) -> Prediction:
    """Predict a step.

    Args:
        work: compiled for a slice of the same chip, whatever its size.
        slice_: where it is to run.
    """
    chip = slice_.chip
    return Prediction(
        slice_=slice_,
        clips=work.clips,
        compute_sec=work.flops / chip.flops_per_sec,
        memory_sec=work.hbm_bytes / chip.hbm_bytes_per_sec,
        exchange_sec=sum(_exchange_sec(one, work, slice_) for one in work.collectives),
    )


def _exchange_sec(collective: Collective, work: Work, slice_: Slice) -> float:
    links, hops = slice_.links(), slice_.hops()
    if collective.group == work.num_chips:
        collective = dataclasses.replace(collective, group=slice_.num_chips)
    else:
        # Neighbours, as those that share a group of batch norm: they stay so on another slice.
        links, hops = 1, collective.group - 1
    if collective.group == 1:
        return 0.0
    rounds = 2 if collective.kind == "all-reduce" else 1
    sending_sec = collective.sent_bytes / (links * slice_.chip.link_bytes_per_sec)
    return sending_sec + rounds * hops * HOP_SEC * collective.times


def efficiency(prediction: Prediction, base: Prediction) -> float:
    """Return clips per second and chip, as a share of those of `base`."""
    each = prediction.clips_per_sec / prediction.slice_.num_chips
    return each / (base.clips_per_sec / base.slice_.num_chips)
