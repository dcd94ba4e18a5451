# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Learning-rate schedules and optimizers, built of optax."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vidpretrain.suggest import closest
from vidpretrain.train.paths import LrFactors, Patterns, map_by_path, matched_by, matches

_DECAYED = ("kernels", "all")
_KINDS = ("cosine", "linear", "step", "constant")
_OPTIMIZERS = ("sgd", "lamb", "adamw")


def make_schedule(
    *,
    kind: str,
    peak_lr: float,
    total_steps: int,
    warmup_steps: int,
    warmup_lr: float = 0.0,
    final_lr: float = 0.0,
    milestone_steps: Sequence[int] = (),
    decay_factor: float = 0.1,
) -> optax.Schedule:
    """Return the learning rate as a function of the step.

    A linear warm-up from `warmup_lr` at step 0 to `peak_lr` at step `warmup_steps`, then
    `peak_lr` held ("constant"), brought to `final_lr` at `total_steps` along half a cosine
    ("cosine") or a line ("linear"), or multiplied by `decay_factor` at each milestone ("step").

    Args:
        kind: "cosine", "linear", "step" or "constant".
        peak_lr: the highest rate.
        total_steps: length of the whole training.
        warmup_steps: length of the warm-up, part of `total_steps`; 0 for none.
        warmup_lr: rate at step 0 of the warm-up.
        final_lr: rate at the end; used by "cosine" and "linear".
        milestone_steps: first steps with a lower rate, rising; "step" only.
        decay_factor: in (0, 1]; "step" only.

    Raises:
        ValueError: an unknown kind, a warm-up that is not shorter than the training, or milestones
            that are missing, out of order, or of no use to the kind.

    References:
        Loshchilov and Hutter, SGDR, 2017, equation 5.

    Note:
        The cosine begins where the warm-up ends. timm and mmcv begin it at step 0 and let the
        warm-up cover its first part, so that theirs is at most 0.6 % lower at the end of a warm-up
        of 5 % and equal at the end of training.
    """
    if kind not in _KINDS:
        raise ValueError(f"schedule.kind={kind!r}; {closest(kind, _KINDS)}")
    if not 0 <= warmup_steps < max(total_steps, 1):
        raise ValueError(
            f"schedule.warmup is {warmup_steps} steps, but training is {total_steps}; "
            "the warm-up must be shorter"
        )
    _check_milestones(kind, milestone_steps, decay_factor, warmup_steps, total_steps)
    decay_steps = total_steps - warmup_steps
    if kind == "cosine":
        # alpha is relative to the peak; a peak of 0 stays 0 whatever alpha is.
        alpha = final_lr / peak_lr if peak_lr else 0.0
        decay = optax.cosine_decay_schedule(peak_lr, max(decay_steps, 1), alpha=alpha)
    elif kind == "linear":
        decay = optax.linear_schedule(peak_lr, final_lr, decay_steps)
    elif kind == "step":
        scales = {step - warmup_steps: decay_factor for step in milestone_steps}
        decay = optax.piecewise_constant_schedule(peak_lr, scales)
    else:
        decay = optax.constant_schedule(peak_lr)
    warmup = optax.linear_schedule(warmup_lr, peak_lr, warmup_steps)
    return optax.join_schedules([warmup, decay], [warmup_steps])


def _check_milestones(
    kind: str, milestones: Sequence[int], factor: float, warmup_steps: int, total_steps: int
) -> None:
    if (kind == "step") != bool(milestones):
        raise ValueError(
            f"schedule.milestones is {'empty' if not milestones else 'given'} with "
            f"schedule.kind={kind!r}; kind 'step' needs milestones, and no other kind takes them"
        )
    corners = (warmup_steps, *milestones, total_steps)
    if milestones and any(early >= late for early, late in itertools.pairwise(corners)):
        raise ValueError(
            f"schedule.milestones are at steps {', '.join(map(str, milestones))}; they must rise, "
            f"from after the warm-up ({warmup_steps}) to before the end ({total_steps})"
        )
    if not 0 < factor <= 1:
        raise ValueError(f"schedule.decay_factor={factor}; it must be above 0 and at most 1")


def hold_over_epochs(
    schedule: optax.Schedule, *, total_steps: int, batch_size: int, num_examples: int
) -> optax.Schedule:
    """Return the schedule that keeps, all through an epoch, the rate of the epoch's first step.

    Epochs follow each other without a gap, so one may begin within a batch: its first step is the
    first whose batch holds no example of the epoch before.

    Args:
        schedule: the rate step by step.
        total_steps: length of the whole training.
        batch_size: examples of a step.
        num_examples: examples of an epoch.
    """
    epochs = range(math.ceil(total_steps * batch_size / num_examples) + 1)
    starts = np.array([-(-epoch * num_examples // batch_size) for epoch in epochs], np.int32)

    def held(step: jax.typing.ArrayLike) -> jax.typing.ArrayLike:
        epoch = jnp.searchsorted(starts, jnp.asarray(step), side="right") - 1
        return schedule(jnp.asarray(starts)[epoch])

    return held


def make_optimizer(
    *,
    name: str,
    schedule: optax.Schedule,
    momentum: float = 0.9,
    nesterov: bool = False,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    decayed: str = "kernels",
    clip_norm: float = 0.0,
    lr_factors: LrFactors = (),
    frozen: Patterns = (),
) -> optax.GradientTransformation:
    """Return the optimizer, in the order that PyTorch's recipes imply.

    The gradient g is clipped by its global norm; then, with d the `weight_decay` and f a leaf's
    factor:

    - "sgd": the decay is added to the gradient, `m <- momentum * m + g + d * w`, and
      `w <- w - lr * f * m`;
    - "adamw": `u = mean(g) / (sqrt(mean(g^2)) + eps) + d * w`, with moving averages that are
      corrected for their start at zero, and `w <- w - lr * f * u`;
    - "lamb": as adamw, with `u` scaled leaf by leaf to the norm of `w`.

    Args:
        name: "sgd", "adamw" or "lamb".
        schedule: learning rate as a function of the step.
        momentum: in [0, 1); "sgd" only.
        nesterov: look ahead along the momentum; "sgd" only.
        beta1: decay of the gradient's moving average, in [0, 1); not for "sgd".
        beta2: decay of its square's, in [0, 1); not for "sgd".
        eps: added to the square's root; not for "sgd".
        weight_decay: coefficient of the decay.
        decayed: "kernels" leaves norms and biases out, "all" decays every parameter.
        clip_norm: largest global norm of the gradient; 0 for no clipping.
        lr_factors: patterns of parameter paths, such as `"head/kernel"` or `"*bias"`, and what the
            learning rate is multiplied by there; the first that matches counts.
        frozen: patterns of parameters that the optimizer neither changes nor keeps memory for;
            their gradients must be zero (`paths.stop_gradients`), so that clipping ignores them.

    Raises:
        ValueError: an unknown name or group, or a number out of range.

    References:
        You et al., Large Batch Optimization for Deep Learning: Training BERT in 76 minutes, ICLR
        2020, Algorithm 2. Loshchilov and Hutter, Decoupled Weight Decay Regularization, ICLR 2019,
        Algorithm 2.

    Note:
        Algorithm 2 of LAMB, as `optax.lamb`, scales every leaf to the norm of its weights. The
        authors' code and timm's, which the image recipes use, leave alone what is not decayed,
        and so does this; `decayed="all"` gives Algorithm 2. timm also clips the gradient at a
        global norm of 1 by default (`clip_norm=1.0`), and scales nothing if the decay is 0.
    """
    if name not in _OPTIMIZERS:
        raise ValueError(f"optim.name={name!r}; {closest(name, _OPTIMIZERS)}")
    if decayed not in _DECAYED:
        raise ValueError(f"optim.decayed={decayed!r}; {closest(decayed, _DECAYED)}")
    for field, share in (("momentum", momentum), ("beta1", beta1), ("beta2", beta2)):
        if not 0 <= share < 1:
            raise ValueError(f"optim.{field}={share}; it must be at least 0 and less than 1")
    for field, value in (("weight_decay", weight_decay), ("clip_norm", clip_norm), ("eps", eps)):
        if value < 0:
            raise ValueError(f"optim.{field}={value}; it must not be negative")
    mask = decay_mask if decayed == "kernels" else every_leaf
    parts = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    decay = [optax.add_decayed_weights(weight_decay, mask=mask)] if weight_decay else []
    if name == "sgd":
        parts += [*decay, optax.trace(momentum, nesterov)] if momentum else decay
    else:
        parts += [optax.scale_by_adam(beta1, beta2, eps), *decay]
    if name == "lamb":
        parts.append(optax.masked(optax.scale_by_trust_ratio(), mask))
    parts.append(optax.scale_by_learning_rate(schedule))
    if lr_factors:
        parts.append(_scale_by_factors(lr_factors))
    optimizer = optax.chain(*parts)
    if not frozen:
        return optimizer
    return optax.masked(
        optimizer, lambda tree: map_by_path(lambda path, _: not matches(path, frozen), tree)
    )


def decay_mask(params: Any) -> Any:
    """Mark what weight decay reaches: leaves of more than one axis, so no norms and no biases."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def every_leaf(params: Any) -> Any:
    """Mark every leaf."""
    return jax.tree.map(lambda leaf: True, params)


def _scale_by_factors(factors: LrFactors) -> optax.GradientTransformation:
    """Multiply each leaf's update by the factor of the first pattern that its path matches."""
    patterns = [pattern for pattern, _ in factors]

    def scale(path: str, update: jax.Array) -> jax.Array:
        first = matched_by(path, patterns)
        return update if first is None else update * factors[first][1]

    return optax.stateless(lambda updates, params: map_by_path(scale, updates))
