# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Give a network the weights of another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vidpretrain import models
from vidpretrain.convert import rules, tree
from vidpretrain.convert.folder import Card, CheckpointError, PathLike
from vidpretrain.convert.inflate import Init, Report, inflate
from vidpretrain.convert.source import Source, open_source
from vidpretrain.convert.tree import MismatchError

# Small enough to be quick, and 2 x 2 pixels before the last pool of a network that strides by 32.
_PARITY_SIZE_PX = 64


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
        source: the checkpoint or file, see `vidpretrain.convert.source.open_source`.
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
    target = Target(network, num_classes, (frames, size, size, channels))
    return target.fill(open_source(source, which=which), init=init, tap=tap, seed=seed)


def open_model(
    path: PathLike,
    which: str | int = "latest",
    *,
    ema: bool | None = None,
    network: str | None = None,
) -> tuple[Any, tree.Nested]:
    """Open weights and build their network; see `vidpretrain.load`.

    Raises:
        vidpretrain.convert.folder.CheckpointError: nothing sound is there, or it does not say what
            network it is.
        vidpretrain.convert.tree.MismatchError: it holds another network.
    """
    source = open_source(path, which=which, ema=ema)
    if network is None and source.card is None:
        raise CheckpointError(f"{path} does not say what network it is: give network='NAME'.")
    card = source.card or Card.imagenet(str(network), source.num_classes())
    target = Target(network or card.name, card.num_classes, card.clip_shape, card.dtype)
    return target.model, target.fill(source)[0]


class Target:
    """A network to fill with weights.

    Attributes:
        network: the network as `make_model` takes it.
        model: the module.
        wanted: each leaf of its variables by name, with `shape` and `dtype`.
    """

    def __init__(
        self,
        network: str,
        num_classes: int,
        clip_shape: Sequence[int],
        dtype: str = "float32",
    ) -> None:
        """Build the network, without any weights.

        Args:
            network: `NAME[:option=value,...]`.
            num_classes: its number of classes.
            clip_shape: `(T, H, W, C)` of its clips.
            dtype: type that it computes in.
        """
        self.network = network
        self.model = models.make_model(network, num_classes=num_classes, dtype=dtype)
        self._clip_shape = tuple(clip_shape)
        self.wanted = tree.flatten(jax.eval_shape(self._init, jax.random.key(0)))

    def fill(
        self, source: Source, *, init: str = "center", tap: int | None = None, seed: int = 0
    ) -> tuple[tree.Nested, Report]:
        """Make the network's variables of a source's.

        Args:
            source: of its readings the first that fits is taken.
            init: as in `initialise`.
            tap: as in `initialise`.
            seed: as in `initialise`.

        Returns:
            The variables and where each leaf came from.

        Raises:
            vidpretrain.convert.tree.MismatchError: the source does not fit; shows a diff.
            ValueError: an argument out of its range.
        """
        if tap not in (None, 0, 1, 2):
            raise ValueError(f"tap is {tap}; it may be 0, 1 (the centre) or 2.")
        scheme = Init.parse(init)

        def draw(names: list[str]) -> dict[str, np.ndarray]:
            def chosen(key: jax.Array) -> dict[str, jax.Array]:
                leaves = tree.flatten(self._init(key))
                return {name: leaves[name] for name in names}

            return jax.tree.map(np.asarray, jax.jit(chosen)(jax.random.key(seed)))

        errors = []
        for key, variables in source.readings.items():
            leaves = tree.flatten(variables)
            try:
                values, report = inflate(
                    leaves,
                    self.wanted,
                    draw,
                    init=scheme,
                    tap=tap,
                    rules=rules.leaf_rules(self.network),
                )
            except MismatchError as error:
                errors.append(f"{source.path}, read as {key}, into {self.network}: {error}")
            else:
                return tree.nest(values), report
        # The reading that comes closest explains most.
        raise MismatchError(min(errors, key=lambda text: text.count("\n")))

    def _init(self, key: jax.Array) -> Any:
        return self.model.init(key, jnp.zeros((1, *self._clip_shape), jnp.float32))


def measure_parity(
    network: str, variables: tree.Nested, other: str, others: tree.Nested, channels: int
) -> float:
    """Run two networks on the same clip of one frame, and compare what they say.

    With centre initialisation both agree but for rounding: of a single frame the middle tap alone
    sees anything. With other initialisations, and other convolutions, they need not.

    Args:
        network: one network, as `make_model` takes it.
        variables: its variables; its classifier is given to both.
        other: the other one.
        others: the variables of the other one.
        channels: of the clip.

    Returns:
        The largest absolute difference of logits over the largest absolute logit.
    """
    shape = (1, 1, _PARITY_SIZE_PX, _PARITY_SIZE_PX, channels)
    clip = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    head = variables["params"]["head"]
    others = {**others, "params": {**others["params"], "head": head}}
    num_classes = head["kernel"].shape[-1]
    logits, other_logits = (
        jax.jit(models.make_model(name, num_classes=num_classes).apply)(weights, clip)
        for name, weights in ((network, variables), (other, others))
    )
    return float(jnp.abs(logits - other_logits).max() / jnp.abs(logits).max())
