# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Losses of classification, of logits and soft targets.

A soft target is a float32 row over the classes: 1 for the true one and 0 for the others, or two
such rows mixed (`vidpretrain.train.mixing`).
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import optax

from vidpretrain.suggest import closest


def cross_entropy(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Return the cross-entropy of each example, of a softmax over the classes.

    Args:
        logits: `[B, K]`.
        target: `[B, K]`, rows that sum to 1.

    Returns:
        float32 `[B]`.
    """
    return optax.softmax_cross_entropy(logits.astype(jnp.float32), target.astype(jnp.float32))


def binary(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Return the binary cross-entropy of each example, the mean of a sigmoid's for each class.

    Args:
        logits: `[B, K]`.
        target: `[B, K]`, within 0 to 1; rows need not sum to 1.

    Returns:
        float32 `[B]`.

    References:
        Wightman et al., ResNet strikes back, 2021; the STS paper's images, 300 epochs.

    Note:
        The mean over the classes is what timm's `BinaryCrossEntropy` takes unless it is told to
        sum them; the sum is `K` times as large. Mixed targets stay mixed, as in the commands
        released with the STS paper; Wightman et al. also write of targets that are 1 for both
        classes of a mixture.
    """
    by_class = optax.sigmoid_binary_cross_entropy(
        logits.astype(jnp.float32), target.astype(jnp.float32)
    )
    return by_class.mean(axis=-1)


def smoothed(target: jax.Array, smoothing: float) -> jax.Array:
    """Give every class `smoothing / K`, and what was there `1 - smoothing` of its weight.

    Linear in the target, so it does not matter whether targets are mixed before or after it.

    Args:
        target: `[B, K]`.
        smoothing: in [0, 1).

    References:
        Szegedy et al., Rethinking the Inception Architecture, 2016, section 7.
    """
    return target * (1.0 - smoothing) + smoothing / target.shape[-1]


_KINDS = {"cross_entropy": cross_entropy, "binary": binary}


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss as the configuration has it.

    Attributes:
        kind: "cross_entropy" or "binary".
        label_smoothing: see `smoothed`; in [0, 1).
    """

    kind: str = "cross_entropy"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"loss.kind={self.kind!r}; {closest(self.kind, _KINDS)}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(
                f"loss.label_smoothing={self.label_smoothing}; it must be at least 0 and less "
                "than 1"
            )

    def __call__(self, logits: jax.Array, target: jax.Array) -> jax.Array:
        """Return each example's loss.

        Args:
            logits: `[B, K]`.
            target: `[B, K]`, within 0 to 1.

        Returns:
            float32 `[B]`.
        """
        return _KINDS[self.kind](logits, smoothed(target, self.label_smoothing))
