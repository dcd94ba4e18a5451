# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the attention of STH networks prefers, layer by layer: their temporal or spatial part."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vidpretrain import data, models, parallel
from vidpretrain.analyze.report import save_figure
from vidpretrain.train.plan import Plan
from vidpretrain.train.step import normalise
from vidpretrain.train.testing import read_test_set

# The name under which attentive integration sows its temporal coefficients.
_SOWN = "coefficients"


class AttentionError(ValueError):
    """A network has no attention to look at; the message says what would do."""


@dataclasses.dataclass(frozen=True)
class LayerAttention:
    """The temporal coefficients of one layer over a test set.

    The coefficients of the temporal and of the spatial part of a channel sum to 1.

    Attributes:
        layer: its path.
        mean: over views, frames and channels, in [0, 1].
        deviation: standard deviation of the views' means.
    """

    layer: str
    mean: float
    deviation: float


@dataclasses.dataclass(frozen=True)
class Attention:
    """What one network prefers on one test set.

    Attributes:
        checkpoint: where it lies.
        network: its spec.
        p: proportion of temporal kernels.
        data_set: name of the source.
        modality: what its frames show.
        views: clips that were looked at.
        layers: in the network's order.
    """

    checkpoint: str
    network: str
    p: float
    data_set: str
    modality: str
    views: int
    layers: tuple[LayerAttention, ...]


def measure(plan: Plan, variables: Any, checkpoint: str) -> Attention:
    """Run a network over its test set and average its attention.

    Args:
        plan: of the stage that says network, test set and views.
        variables: the network's.
        checkpoint: what to call it.

    Raises:
        AttentionError: the network has no attention, or no example could be read.

    References:
        Li et al., STH, 2020, equation 3; supplement: mean attention coefficients by layer.
    """
    network = plan.config["model"]["name"]
    mesh = plan.mesh
    replicated, sharded = parallel.replicated(mesh), parallel.batch_sharding(mesh)

    def coefficients(variables: Any, video: jax.Array) -> dict[str, jax.Array]:
        return layer_coefficients(plan.model, variables, normalise(video, **plan.pixels))

    clip = jax.ShapeDtypeStruct((1, *plan.clip_shape), jnp.uint8)
    if not jax.eval_shape(coefficients, variables, clip):
        raise AttentionError(
            f"{network} has no attention to look at; it takes an sth network with attention=true, "
            "such as sth50:attention=true"
        )
    compiled = jax.jit(coefficients, in_shardings=(replicated, sharded), out_shardings=replicated)
    rows = parallel.process_slice(plan.config["test"]["batch_size"], mesh, what="test.batch_size")
    by_layer: dict[str, list[np.ndarray]] = {}
    with read_test_set(plan) as batches:
        for batch in data.regroup(batches, rows):
            found = compiled(variables, parallel.put_batch(batch.video, mesh))
            for layer, means in found.items():
                by_layer.setdefault(layer, []).append(np.asarray(means)[batch.mask])
    views = {layer: np.concatenate(parts) for layer, parts in by_layer.items()}
    if not all(map(len, views.values())):
        raise AttentionError("no example of the test set could be read")
    return Attention(
        checkpoint=checkpoint,
        network=network,
        p=_proportion(network),
        data_set=plan.config["source"]["name"],
        modality=str(data.modality_of(plan.test_source)),
        views=len(next(iter(views.values()))),
        layers=tuple(
            LayerAttention(layer, float(views[layer].mean()), float(views[layer].std()))
            for layer in sorted(views, key=_natural)
        ),
    )


def layer_coefficients(model: nn.Module, variables: Any, clips: jax.Array) -> dict[str, jax.Array]:
    """Return each attentive layer's temporal coefficient of each clip.

    Args:
        model: the network.
        variables: its variables; none is changed.
        clips: normalised, `[B, T, H, W, C]`.

    Returns:
        By the layer's path, the mean over frames and channels, float32 `[B]`; empty for networks
        without attention.
    """
    _, sown = model.apply(variables, clips, train=False, mutable=["intermediates"])
    means = {}
    for keys, leaf in jax.tree_util.tree_leaves_with_path(sown.get("intermediates", {})):
        layer, _, name = jax.tree_util.keystr(keys[:-1], simple=True, separator="/").rpartition("/")
        if name == _SOWN:
            # [B, T, 1, 1, C]
            means[layer] = jnp.mean(leaf, axis=(1, 2, 3, 4))
    return means


def to_rows(found: Sequence[Attention]) -> list[tuple[object, ...]]:
    """Return a row for each layer of each checkpoint, by the columns of `HEADER`."""
    return [
        (
            one.checkpoint,
            one.network,
            one.p,
            one.data_set,
            one.modality,
            one.views,
            number,
            layer.layer,
            layer.mean,
            1.0 - layer.mean,
            layer.deviation,
        )
        for one in found
        for number, layer in enumerate(one.layers, start=1)
    ]


HEADER = (
    "checkpoint",
    "network",
    "p",
    "data set",
    "modality",
    "views",
    "layer number",
    "layer",
    "temporal",
    "spatial",
    "deviation between views",
)


def draw(found: Sequence[Attention], names: Sequence[str], path: Path) -> None:
    """Draw the temporal coefficient over the layers, a line for each checkpoint.

    Args:
        found: of each checkpoint.
        names: of each, for the legend.
        path: the PNG to write.
    """
    # Imported here: matplotlib takes longer than everything else that reports need.
    from matplotlib.figure import Figure

    longest = max(found, key=lambda one: len(one.layers)).layers
    figure = Figure(figsize=(max(6.5, 2.5 + 0.42 * len(longest)), 4.6), layout="constrained")
    axes = figure.subplots()
    for one, name in zip(found, names, strict=True):
        means = np.array([layer.mean for layer in one.layers])
        spread = np.array([layer.deviation for layer in one.layers])
        places = np.arange(len(means))
        (line,) = axes.plot(places, means, marker="o", ms=4, label=name)
        axes.fill_between(
            places, means - spread, means + spread, color=line.get_color(), alpha=0.15
        )
    axes.axhline(0.5, color="0.4", lw=0.8, ls="--")
    axes.annotate(
        "no preference",
        (1, 0.5),
        (-4, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color="0.4",
    )
    paths = _without_common_end([layer.layer for layer in longest])
    axes.set_xticks(range(len(longest)), paths, rotation=60, ha="right", fontsize=8)
    axes.set_ylabel("mean temporal coefficient")
    axes.set_title("Attention between temporal and spatial kernels, by layer", fontsize=11)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def labels(found: Sequence[Attention]) -> list[str]:
    """Name each checkpoint by what sets it apart: its p, data set, modality, or else its path."""
    columns: Mapping[str, list[str]] = {
        "p": [f"p={one.p:g}" for one in found],
        "data set": [one.data_set for one in found],
        "modality": [one.modality for one in found],
    }
    apart = [column for column in columns.values() if len(set(column)) > 1]
    names = [", ".join(parts) for parts in zip(*apart, strict=True)] if apart else []
    if len(set(names)) < len(found):
        return [one.checkpoint for one in found]
    return names


def _proportion(network: str) -> float:
    name, options = models.parse_spec(network)
    return float(options.get("p", models.model_options(name).get("p", 0.0)))


def _without_common_end(paths: Sequence[str]) -> list[str]:
    """Drop the last parts that all paths share, such as `/conv2/conv`."""
    parts = [path.split("/") for path in paths]
    while len(parts[0]) > 1 and len({tuple(path[-1:]) for path in parts}) == 1:
        parts = [path[:-1] for path in parts]
    return ["/".join(path) for path in parts]


def _natural(path: str) -> list[tuple[int, str]]:
    """Sort key that puts block10 behind block9."""
    return [
        (int(part or 0), "") if part.isdigit() else (0, part)
        for part in re.split(r"([0-9]+)", path)
    ]
