# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Give a network the weights of a checkpoint of another network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vidpretrain import models
from vidpretrain.convert import folder, tree
from vidpretrain.convert.folder import PathLike
from vidpretrain.convert.inflate import Init, LeafRule, Report, inflate


def initialise(
    network: str,
    *,
    num_classes: int,
    frames: int,
    size: int,
    source: PathLike,
    channels: int = 3,
    which: str | int = "latest",
    init: str = "center",
    tap: int | None = None,
    seed: int = 0,
) -> tuple[tree.Nested, Report]:
    """Make the first weights of a network of a checkpoint.

    Args:
        network: the network to fill, as `make_model` takes it: `NAME[:option=value,...]`.
        num_classes: its number of classes.
        frames: frames of its clips.
        size: height and width of its clips, pixels.
        source: the checkpoint, as `vidpretrain.load` finds it.
        channels: channels of its clips.
        which: of several steps: `latest`, `best`, or a number.
        init: what kernels with several taps get of kernels with one: `center`, `average`, rates
            (`1/9,1/3,1/9`), and other choices by part (`center;stage4=average`).
        tap: 0, 1 or 2 to cut an image network out of a video network; see `inflate`.
        seed: of what is new.

    Returns:
        The variables (`params`, `batch_stats`; NumPy arrays), and where each leaf came from.

    Raises:
        vidpretrain.convert.folder.CheckpointError: there is no sound checkpoint.
        vidpretrain.convert.tree.MismatchError: it does not fit the network; shows a diff.
        ValueError: an argument out of its range.
    """
    checkpoint = folder.find_checkpoint(source, which)
    variables = folder.read_variables(checkpoint)
    target = Target(network, num_classes, (frames, size, size, channels))
    return target.fill(variables, init=init, tap=tap, seed=seed)


class Target:
    """A network to fill with weights.

    Attributes:
        network: the network as `make_model` takes it.
        model: the module.
        wanted: each leaf of its variables by name, with `shape` and `dtype`.
    """

    def __init__(self, network: str, num_classes: int, clip_shape: Sequence[int]) -> None:
        """Build the network, without any weights.

        Args:
            network: `NAME[:option=value,...]`.
            num_classes: its number of classes.
            clip_shape: `(T, H, W, C)` of its clips.
        """
        self.network = network
        self.model = models.make_model(network, num_classes=num_classes)
        self._clip_shape = tuple(clip_shape)
        self.wanted = tree.flatten(jax.eval_shape(self._init, jax.random.key(0)))

    def fill(
        self, variables: Any, *, init: str = "center", tap: int | None = None, seed: int = 0
    ) -> tuple[tree.Nested, Report]:
        """Make the network's variables of another network's; see `initialise`."""
        if tap not in (None, 0, 1, 2):
            raise ValueError(f"tap is {tap}; it may be 0, 1 (the centre) or 2.")

        def draw(names: list[str]) -> dict[str, np.ndarray]:
            chosen = jax.jit(lambda key: _select(tree.flatten(self._init(key)), names))
            return jax.tree.map(np.asarray, chosen(jax.random.key(seed)))

        values, report = inflate(
            tree.flatten(variables),
            self.wanted,
            draw,
            init=Init.parse(init),
            tap=tap,
            rules=self._rules(),
        )
        return tree.nest(values), report

    def _init(self, key: jax.Array) -> Any:
        return self.model.init(key, jnp.zeros((1, *self._clip_shape), jnp.float32))

    def _rules(self) -> Sequence[LeafRule]:
        return ()


def _select(leaves: dict[str, Any], names: list[str]) -> dict[str, Any]:
    return {name: leaves[name] for name in names}
