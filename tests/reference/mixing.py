# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Mixup, cutmix, random erasing and the losses of mixed targets, pixel by pixel."""

from __future__ import annotations

import math

import numpy as np


def mixed(
    clips: np.ndarray,
    target: np.ndarray,
    partners: list[int],
    own: list[float],
    cut: list[bool],
    centres: list[tuple[int, int]],
) -> tuple[np.ndarray, np.ndarray]:
    """Mix clip i with clip partners[i]; `clips` is [B, T, H, W, C], `target` [B, K].

    mixup: own * clip + (1 - own) * partner. cutmix: the partner's pixels in a box whose sides are
    sqrt(1 - own) of the frame's, around `centres[i]` (row, column); the target by the pixels that
    are left.
    """
    clips, target = clips.astype(np.float64), target.astype(np.float64)
    out, mixed_target = clips.copy(), target.copy()
    num_clips, num_frames, height, width, _ = clips.shape
    for i in range(num_clips):
        partner, share = partners[i], own[i]
        if cut[i]:
            half_height = int(height * math.sqrt(1 - share)) // 2
            half_width = int(width * math.sqrt(1 - share)) // 2
            row, column = centres[i]
            pasted = 0
            for y in range(max(row - half_height, 0), min(row + half_height, height)):
                for x in range(max(column - half_width, 0), min(column + half_width, width)):
                    pasted += 1
                    for t in range(num_frames):
                        out[i, t, y, x] = clips[partner, t, y, x]
            share = 1 - pasted / (height * width)
        else:
            out[i] = share * clips[i] + (1 - share) * clips[partner]
        mixed_target[i] = share * target[i] + (1 - share) * target[partner]
    return out, mixed_target


def erased(
    clips: np.ndarray, boxes: list[tuple[int, int, int, int]], fill: np.ndarray
) -> np.ndarray:
    """Put `fill` [B, H, W, C] in each clip's box (top, bottom, left, right) in every frame."""
    out = clips.copy()
    for i, (top, bottom, left, right) in enumerate(boxes):
        for t in range(clips.shape[1]):
            for y in range(top, bottom):
                for x in range(left, right):
                    out[i, t, y, x] = fill[i, y, x]
    return out


def smoothed(target: np.ndarray, smoothing: float) -> np.ndarray:
    """Take `smoothing` of every row's weight and spread it over the classes."""
    num_classes = target.shape[-1]
    out = np.zeros(target.shape)
    for index in np.ndindex(target.shape):
        out[index] = (1 - smoothing) * target[index] + smoothing / num_classes
    return out


def cross_entropy(logits: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return -sum_k target_k log softmax(logits)_k of each row, and its gradient."""
    exp = np.exp(logits.astype(np.float64))
    probs = exp / exp.sum(axis=-1, keepdims=True)
    return -(target * np.log(probs)).sum(axis=-1), probs - target


def binary(logits: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over classes of -t log p - (1 - t) log(1 - p), and its gradient."""
    probs = 1 / (1 + np.exp(-logits.astype(np.float64)))
    loss = -(target * np.log(probs) + (1 - target) * np.log(1 - probs))
    return loss.mean(axis=-1), (probs - target) / logits.shape[-1]
