# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Adaptive optimizers, parameter by parameter in float64."""

from __future__ import annotations

import numpy as np


class Adam:
    """AdamW, and LAMB with `trust=True`.

    Loshchilov and Hutter, Decoupled Weight Decay Regularization, ICLR 2019, Algorithm 2 (its
    schedule multiplier being the rate); You et al., LAMB, ICLR 2020, Algorithm 2 with phi(z) = z.
    """

    def __init__(self, beta1: float, beta2: float, eps: float, *, trust: bool) -> None:
        self.beta1, self.beta2, self.eps, self.trust = beta1, beta2, eps, trust
        self.count = 0
        self.m: dict[str, np.ndarray] = {}
        self.v: dict[str, np.ndarray] = {}

    def step(
        self,
        weights: dict[str, np.ndarray],
        gradients: dict[str, np.ndarray],
        rate: float,
        decay: dict[str, float],
        trusted: set[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """Return the weights after a step; `trusted` names the layers scaled, None means all."""
        self.count += 1
        after = {}
        for name, w in weights.items():
            g = gradients[name]
            self.m[name] = self.beta1 * self.m.get(name, 0.0) + (1 - self.beta1) * g
            self.v[name] = self.beta2 * self.v.get(name, 0.0) + (1 - self.beta2) * g * g
            m_hat = self.m[name] / (1 - self.beta1**self.count)
            v_hat = self.v[name] / (1 - self.beta2**self.count)
            update = m_hat / (np.sqrt(v_hat) + self.eps) + decay[name] * w
            if self.trust and (trusted is None or name in trusted):
                norm_w, norm_u = np.sqrt((w * w).sum()), np.sqrt((update * update).sum())
                update = update * (norm_w / norm_u if norm_w and norm_u else 1.0)
            after[name] = w - rate * update
        return after
