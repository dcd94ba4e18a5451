# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Learning-rate schedules and optimizers, built of optax."""

from __future__ import annotations

from typing import Any

import jax
import optax

from vidpretrain.suggest import closest

_DECAYED = ("kernels", "all")


def make_schedule(
    *,
    kind: str,
    peak_lr: float,
    total_steps: int,
    warmup_steps: int,
    warmup_lr: float = 0.0,
    final_lr: float = 0.0,
) -> optax.Schedule:
    """Return the learning rate as a function of the step.

    A linear warm-up from `warmup_lr` at step 0 to `peak_lr` at step `warmup_steps`, then
    `peak_lr` held ("constant"), or brought to `final_lr` at `total_steps` along half a cosine
    ("cosine") or a line ("linear").

    Args:
        kind: "cosine", "linear" or "constant".
        peak_lr: the highest rate.
        total_steps: length of the whole training.
        warmup_steps: length of the warm-up, part of `total_steps`; 0 for none.
        warmup_lr: rate at step 0 of the warm-up.
        final_lr: rate at the end; unused by "constant".

    Raises:
        ValueError: an unknown kind, or a warm-up that is not shorter than the training.

    References:
        Loshchilov and Hutter, SGDR, 2017, equation 5.
    """
    if not 0 <= warmup_steps < max(total_steps, 1):
        raise ValueError(
            f"schedule.warmup is {warmup_steps} steps, but training is {total_steps}; "
            "the warm-up must be shorter"
        )
    decay_steps = total_steps - warmup_steps
    if kind == "cosine":
        # alpha is relative to the peak; a peak of 0 stays 0 whatever alpha is.
        alpha = final_lr / peak_lr if peak_lr else 0.0
        decay = optax.cosine_decay_schedule(peak_lr, max(decay_steps, 1), alpha=alpha)
    elif kind == "linear":
        decay = optax.linear_schedule(peak_lr, final_lr, decay_steps)
    elif kind == "constant":
        decay = optax.constant_schedule(peak_lr)
    else:
        kinds = ("cosine", "linear", "constant")
        raise ValueError(f"schedule.kind={kind!r}; {closest(kind, kinds)}")
    warmup = optax.linear_schedule(warmup_lr, peak_lr, warmup_steps)
    return optax.join_schedules([warmup, decay], [warmup_steps])


def make_optimizer(
    *,
    name: str,
    schedule: optax.Schedule,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    decayed: str = "kernels",
    clip_norm: float = 0.0,
) -> optax.GradientTransformation:
    """Return the optimizer, in the order that PyTorch's recipes imply.

    The gradient is clipped by its global norm, the decay `weight_decay * w` is added to it, and
    the sum enters the momentum: `m <- momentum * m + g`, `w <- w - lr * m`.

    Args:
        name: "sgd".
        schedule: learning rate as a function of the step.
        momentum: in [0, 1).
        nesterov: look ahead along the momentum.
        weight_decay: coefficient of the L2 penalty's gradient.
        decayed: "kernels" leaves norms and biases out, "all" decays every parameter.
        clip_norm: largest global norm of the gradient; 0 for no clipping.

    Raises:
        ValueError: an unknown name or group, or a number out of range.
    """
    if name != "sgd":
        raise ValueError(f"optim.name={name!r}; {closest(name, ('sgd',))}")
    if decayed not in _DECAYED:
        raise ValueError(f"optim.decayed={decayed!r}; {closest(decayed, _DECAYED)}")
    if not 0 <= momentum < 1:
        raise ValueError(f"optim.momentum={momentum}; it must be at least 0 and less than 1")
    for field, value in (("weight_decay", weight_decay), ("clip_norm", clip_norm)):
        if value < 0:
            raise ValueError(f"optim.{field}={value}; it must not be negative")
    parts = []
    if clip_norm:
        parts.append(optax.clip_by_global_norm(clip_norm))
    if weight_decay:
        mask = None if decayed == "all" else decay_mask
        parts.append(optax.add_decayed_weights(weight_decay, mask=mask))
    parts.append(optax.sgd(schedule, momentum=momentum or None, nesterov=nesterov))
    return optax.chain(*parts)


def decay_mask(params: Any) -> Any:
    """Mark what weight decay reaches: leaves of more than one axis, so no norms and no biases."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
