# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Random numbers as functions of a name and a key, never of what was drawn before."""

from __future__ import annotations

import hashlib

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
    # A hash, for NumPy's own seeding by several numbers takes (1, 2) and (1, 2, 0) for the same.
    name = "/".join([stream, *(str(int(part)) for part in key)])
    digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def derive_seed(stream: str, *key: int) -> int:
    """Return a seed for what draws by streams of its own, and must not draw what others do.

    Args:
        stream: What it is for.
        *key: Non-negative integers, such as the seed that it derives from.
    """
    return int(generator(stream, *key).integers(1 << 63))
