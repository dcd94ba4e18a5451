# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Linear probes: how much of an image network lies in each temporal tap of a 3D network."""

from __future__ import annotations

import copy
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidpretrain import models
from vidpretrain.analyze.report import markdown, save_figure
from vidpretrain.convert.folder import Card
from vidpretrain.train.stages import Result

TAPS = ("t1", "t2", "t3")
"""The stages of a probe: the tap before the centre, the centre, the tap after it."""

# All paths but the classifier's, `head/...`; no other part of a network begins with an h.
_BACKBONE = "[!h]*"

_LETTERS_BELOW_BARS = 26


def probe_stages(
    image_stage: Mapping[str, Any], checkpoint: str, card: Card
) -> dict[str, dict[str, Any]]:
    """Make the three stages of a probe of a stage that trains on images.

    Each cuts one temporal tap out of every 3D kernel, keeps all weights and norms of the network
    that results, and trains its classifier as the stage says.

    Args:
        image_stage: fields of `config.base`: images, schedule and tests; network, weights and
            normalisation are replaced.
        checkpoint: of the 3D network.
        card: of that checkpoint.

    Returns:
        The stages' configurations by name, `TAPS`.

    References:
        Li et al., In Defense of Image Pre-Training for Spatiotemporal Recognition, ECCV 2022,
        Table 1 and Figure 1.

    Note:
        The norms run on the statistics of the 3D network, in which all taps took part; the paper
        does not say whether it adapts them. A classifier of as many classes as the images have
        starts where the 3D network's ended, any other at random.
    """
    stages = {}
    for tap, name in enumerate(TAPS):
        stage = copy.deepcopy(dict(image_stage))
        stage["model"] |= {"name": models.image_twin(card.name), "dropout": 0.0}
        stage["init"] |= {"source": checkpoint, "tap": tap}
        stage["pixels"] |= {"mean": card.mean, "std": card.std}
        stage["views"] |= {"frames": 1}
        stage["optim"] |= {"frozen": (_BACKBONE,)}
        stage["norm"] |= {"precise_batches": 0}
        stages[name] = stage
    return stages


def to_text(probes: Mapping[str, Sequence[Result]]) -> str:
    """Return the probes' test accuracy as a table.

    Args:
        probes: by the name of the network or run, the results of its three stages.
    """
    rows = [(name, *(f"{result.top1:.2f}" for result in found)) for name, found in probes.items()]
    return markdown(("top-1 % of a linear classifier", *TAPS), rows)


def draw(probes: Mapping[str, Sequence[Result]], path: Path) -> None:
    """Draw the probes' test accuracy: a group of three bars for each.

    Args:
        probes: as in `to_text`.
        path: the PNG to write.
    """
    # Imported here: matplotlib takes longer than everything else that reports need.
    from matplotlib.figure import Figure

    width = 0.26
    figure = Figure(figsize=(2.6 + 1.7 * len(probes), 3.8), layout="constrained")
    axes = figure.subplots()
    for tap, name in enumerate(TAPS):
        heights = [found[tap].top1 for found in probes.values()]
        places = [group + (tap - 1) * width for group in range(len(probes))]
        bars = axes.bar(places, heights, width * 0.94, label=name, color=f"C{tap}")
        axes.bar_label(bars, fmt="%.1f", fontsize=9)
    axes.set_xticks(range(len(probes)), [_fold(name) for name in probes], fontsize=9)
    axes.set_xlim(-0.6, len(probes) - 0.4)
    axes.set_ylabel("top-1 of a linear classifier, %")
    axes.margins(y=0.12)
    axes.set_title("2D networks cut out of 3D ones", fontsize=11)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(title="tap", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    save_figure(figure, path)


def _fold(name: str) -> str:
    """Break a network's name between its options."""
    lines = textwrap.wrap(name.replace(":", ": ").replace(",", ", "), _LETTERS_BELOW_BARS)
    return "\n".join(lines).replace(" ", "")
