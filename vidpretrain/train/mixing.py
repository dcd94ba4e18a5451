# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Random erasing, mixup and cutmix, on the device, of whole normalised batches.

Every mixture is of a clip and of its partner, the clip before it in the batch (the last one's, for
the first). So a device needs one clip of its neighbour, whatever the size of its share, and what
comes out is the same on any number of devices. With 8 of them and 32 clips, reversing the batch
instead, as timm does, sends each device's whole share, and a random permutation gathers the whole
batch on each.

Whatever is drawn for a clip is drawn once, for all of its frames.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vidpretrain.suggest import closest

_ATTEMPTS = 10


class Box(NamedTuple):
    """Rectangles of pixels, rows `top` to `bottom - 1`, columns `left` to `right - 1`.

    Attributes:
        top: integers `[N]`.
        bottom: integers `[N]`.
        left: integers `[N]`.
        right: integers `[N]`.
    """

    top: jax.Array
    bottom: jax.Array
    left: jax.Array
    right: jax.Array

    @property
    def area(self) -> jax.Array:
        """Pixels, integers `[N]`."""
        return (self.bottom - self.top) * (self.right - self.left)

    def mask(self, height: int, width: int) -> jax.Array:
        """Return which pixels of a frame are inside, bool `[N, 1, H, W, 1]`."""
        row = jnp.arange(height).reshape(1, 1, height, 1, 1)
        column = jnp.arange(width).reshape(1, 1, 1, width, 1)
        top, bottom, left, right = (edge.reshape(-1, 1, 1, 1, 1) for edge in self)
        return (top <= row) & (row < bottom) & (left <= column) & (column < right)


class Mixture(NamedTuple):
    """How clips are mixed with their partners, before boxes are cut: N is B, or 1 for all alike.

    Attributes:
        own: float32 `[N]`, the share of a clip that is to be its own; 1 leaves it as it is.
        cut: bool `[N]`, whether the rest is pasted as a box instead of blended.
        row: integers `[N]`, of the box's centre.
        column: integers `[N]`, of the box's centre.
    """

    own: jax.Array
    cut: jax.Array
    row: jax.Array
    column: jax.Array


def pasted_box(mixture: Mixture, height: int, width: int) -> Box:
    """Return the boxes in which mixtures take their partner's pixels.

    The sides are `sqrt(1 - own)` of the frame's, and what is beyond the frame is left out.

    Args:
        mixture: of which `own`, `row` and `column` are used.
        height: of the frame, pixels.
        width: of the frame, pixels.

    References:
        Yun et al., CutMix, ICCV 2019, section 3.1.

    Note:
        Half sides are rounded down, as in the authors' code, so sides are even.
    """
    scale = jnp.sqrt(1.0 - mixture.own)
    half_height = (scale * height).astype(jnp.int32) // 2
    half_width = (scale * width).astype(jnp.int32) // 2
    return Box(
        top=jnp.maximum(mixture.row - half_height, 0),
        bottom=jnp.minimum(mixture.row + half_height, height),
        left=jnp.maximum(mixture.column - half_width, 0),
        right=jnp.minimum(mixture.column + half_width, width),
    )


def mix(clips: jax.Array, target: jax.Array, mixture: Mixture) -> tuple[jax.Array, jax.Array]:
    """Mix each clip, and its target, with the one before it in the batch.

    Where a box is pasted, the targets are mixed by the share of the frame that it covers.

    Args:
        clips: floats `[B, T, H, W, C]`.
        target: float32 `[B, K]`.
        mixture: of each clip, or one for all.

    Returns:
        Clips and target, of the same shapes and types.

    References:
        Zhang et al., mixup, ICLR 2018, equation 2; Yun et al., CutMix, ICCV 2019, equation 1.
    """
    height, width = clips.shape[2:4]
    box = pasted_box(mixture, height, width)
    each = (-1, 1, 1, 1, 1)
    kept = jnp.where(
        mixture.cut.reshape(each), ~box.mask(height, width), mixture.own.reshape(each)
    ).astype(jnp.float32)
    share = jnp.where(mixture.cut, 1.0 - box.area / (height * width), mixture.own)
    return _blend(clips, kept), _blend(target, share.astype(jnp.float32).reshape(-1, 1))


def _blend(x: jax.Array, own: jax.Array) -> jax.Array:
    return (own * x + (1.0 - own) * jnp.roll(x, 1, axis=0)).astype(x.dtype)


def _check_prob(field: str, prob: float) -> None:
    if not 0 <= prob <= 1:
        raise ValueError(f"{field}={prob}; it must be from 0 to 1")


@dataclasses.dataclass(frozen=True)
class Mix:
    """Mixup and cutmix of a batch, as the configuration has them.

    Attributes:
        mixup: the alpha of mixup, whose share is drawn from Beta(alpha, alpha); 0: no mixup.
        cutmix: the same of cutmix.
        prob: probability with which anything is mixed.
        switch_prob: probability of cutmix where both are on.
        per: "batch" draws once for all clips of a step, "clip" for each its own.

    Note:
        Draws and probabilities are timm's; partners are not (see this module's head), and its
        modes `pair` and `half` are left out.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    prob: float = 1.0
    switch_prob: float = 0.5
    per: str = "batch"

    def __post_init__(self) -> None:
        for name in ("mixup", "cutmix"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"mix.{name}={getattr(self, name)}; it must be at least 0")
        for name in ("prob", "switch_prob"):
            _check_prob(f"mix.{name}", getattr(self, name))
        if self.per not in ("batch", "clip"):
            raise ValueError(f"mix.per={self.per!r}; {closest(self.per, ('batch', 'clip'))}")

    @property
    def is_on(self) -> bool:
        """Whether clips are mixed at all."""
        return (self.mixup > 0 or self.cutmix > 0) and self.prob > 0

    def draw(self, key: jax.Array, batch_size: int, height: int, width: int) -> Mixture:
        """Draw mixtures for a batch of clips of `height x width` pixels."""
        shape = (batch_size if self.per == "clip" else 1,)
        on, switch, share, row, column = jax.random.split(key, 5)
        both = self.mixup > 0 and self.cutmix > 0
        cut = jax.random.bernoulli(
            switch, self.switch_prob if both else float(self.cutmix > 0), shape
        )
        # One draw for both kinds: beta's rejection sampling is slow to compile.
        alpha = jnp.where(cut, self.cutmix, self.mixup).astype(jnp.float32)
        own = jax.random.beta(share, alpha, alpha, shape, jnp.float32)
        return Mixture(
            own=jnp.where(jax.random.bernoulli(on, self.prob, shape), own, 1.0),
            cut=cut,
            row=jax.random.randint(row, shape, 0, height),
            column=jax.random.randint(column, shape, 0, width),
        )


@dataclasses.dataclass(frozen=True)
class Erase:
    """Random erasing, as the configuration has it: one box a clip, through all of its frames.

    Attributes:
        prob: probability with which a clip is erased; 0: off.
        area: least and greatest share of the frame.
        aspect: least and greatest height over width.
        fill: "mean" puts 0, the mean of normalised pixels; "noise" a normal draw for each pixel and
            channel, the same in every frame.

    References:
        Zhong et al., Random Erasing Data Augmentation, AAAI 2020, algorithm 1.

    Note:
        As in timm, the aspect's logarithm is uniform, where the paper's aspect is, and after ten
        boxes that do not fit a clip is left whole, where the paper draws on.
    """

    prob: float = 0.0
    area: tuple[float, float] = (0.02, 0.33)
    aspect: tuple[float, float] = (0.3, 3.3)
    fill: str = "mean"

    def __post_init__(self) -> None:
        _check_prob("erase.prob", self.prob)
        for name, most in (("area", 1.0), ("aspect", math.inf)):
            ends = getattr(self, name)
            if len(ends) != 2 or not 0 < ends[0] <= ends[1] <= most:
                raise ValueError(
                    f"erase.{name}={ends}; give the least and the greatest, above 0"
                    + (f" and at most {most:g}" if most < math.inf else "")
                )
        if self.fill not in ("mean", "noise"):
            raise ValueError(f"erase.fill={self.fill!r}; {closest(self.fill, ('mean', 'noise'))}")

    def draw(self, key: jax.Array, batch_size: int, height: int, width: int) -> Box:
        """Draw boxes for clips of `height x width` pixels; of clips left whole they are empty."""
        on, area_key, aspect_key, top_key, left_key = jax.random.split(key, 5)
        shape = (batch_size, _ATTEMPTS)
        low, high = self.area
        area = height * width * jax.random.uniform(area_key, shape, jnp.float32, low, high)
        low, high = map(math.log, self.aspect)
        aspect = jnp.exp(jax.random.uniform(aspect_key, shape, jnp.float32, low, high))
        heights = jnp.round(jnp.sqrt(area * aspect)).astype(jnp.int32)
        widths = jnp.round(jnp.sqrt(area / aspect)).astype(jnp.int32)
        fits = (heights < height) & (widths < width)
        first = fits.argmax(axis=1, keepdims=True)
        erased = jax.random.bernoulli(on, self.prob, (batch_size,)) & fits.any(axis=1)
        box_height, box_width = (
            jnp.where(erased, jnp.take_along_axis(sides, first, axis=1)[:, 0], 0)
            for sides in (heights, widths)
        )
        top = jax.random.randint(top_key, (batch_size,), 0, height - box_height + 1)
        left = jax.random.randint(left_key, (batch_size,), 0, width - box_width + 1)
        return Box(top, top + box_height, left, left + box_width)

    def __call__(self, key: jax.Array, clips: jax.Array) -> jax.Array:
        """Return clips `[B, T, H, W, C]`, floats, with a box of some erased."""
        batch_size, _, height, width, channels = clips.shape
        box_key, fill_key = jax.random.split(key)
        fill = jnp.zeros((), clips.dtype)
        if self.fill == "noise":
            shape = (batch_size, 1, height, width, channels)
            fill = jax.random.normal(fill_key, shape, jnp.float32).astype(clips.dtype)
        box = self.draw(box_key, batch_size, height, width)
        return jnp.where(box.mask(height, width), fill, clips)


@dataclasses.dataclass(frozen=True)
class Augment:
    """What happens to a batch on the device, between normalisation and the network.

    Clips are erased, then mixed.

    Attributes:
        num_classes: length of the targets.
        mix: mixup and cutmix.
        erase: random erasing.
    """

    num_classes: int
    mix: Mix = Mix()
    erase: Erase = Erase()

    def __call__(
        self, key: jax.Array, clips: jax.Array, label: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Augment a batch.

        Args:
            key: of this step; the result is a function of it and the batch.
            clips: normalised, floats `[B, T, H, W, C]`; the whole batch, before it is cut into
                micro-batches, for partners are neighbours in it.
            label: integers `[B]`.

        Returns:
            Clips, shape and type as given, and their targets, float32 `[B, K]`.
        """
        erase_key, mix_key = jax.random.split(key)
        target = jax.nn.one_hot(label, self.num_classes, dtype=jnp.float32)
        if self.erase.prob > 0:
            clips = self.erase(erase_key, clips)
        if self.mix.is_on:
            batch_size, _, height, width, _ = clips.shape
            clips, target = mix(clips, target, self.mix.draw(mix_key, batch_size, height, width))
        return clips, target
