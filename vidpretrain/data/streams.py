# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Random numbers as functions of a name and a key, never of what was drawn before."""

from __future__ import annotations

import zlib

import numpy as np


def generator(stream: str, *key: int) -> np.random.Generator:
    """Return the random generator of one named stream at one key.

    Two uses of randomness that happen to share a key, such as the rendering of clip 7 and the
    crop of clip 7, stay independent because their streams differ in name.

    Args:
        stream: What the numbers are for.
        *key: Non-negative integers, such as a seed, an epoch and an example.

    Returns:
        A fresh generator: equal arguments give equal numbers, in every process.

    Raises:
        ValueError: A part of the key is negative.
    """
    if any(part < 0 for part in key):
        raise ValueError(f"The key of random stream {stream!r} is {key}; every part must be >= 0.")
    return np.random.default_rng((zlib.crc32(stream.encode()), *key))
