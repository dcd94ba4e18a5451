# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the papers' released PyTorch networks return, for weights and inputs drawn by rule.

`<network>.json` has the names and shapes of the state dict (`arrays`, and `norms` for the five
arrays of each batch norm), the input's shape, and the logits (and shape, mean and standard
deviation after each stage, for finding where two networks part) of its variants `plain` and `sts`.
"""

import functools
import json
import pathlib
import zlib
from typing import NamedTuple

import numpy as np

NORM_ARRAYS = ("weight", "bias", "running_mean", "running_var")


class Golden(NamedTuple):
    """One network's file."""

    state_dict: dict[str, np.ndarray]
    clips: np.ndarray  # [B, T, H, W, C]
    num_classes: int
    parameters: int
    logits: dict[str, np.ndarray]
    stages: dict[str, dict]


@functools.cache
def read(network: str) -> Golden:
    """Read a file and draw its weights and input."""
    path = pathlib.Path(__file__).parent / f"{network}.json"
    record = json.loads(path.read_text())
    seed = record["seed"]
    state_dict = {name: draw(name, shape, seed) for name, shape in record["arrays"].items()}
    for norm, channels in record["norms"].items():
        state_dict |= {f"{norm}.{a}": draw(f"{norm}.{a}", [channels], seed) for a in NORM_ARRAYS}
        state_dict[f"{norm}.num_batches_tracked"] = np.zeros((), np.int64)
    clips = np.random.default_rng([seed, 7]).normal(0, 1, record["input_shape_BCTHW"])
    return Golden(
        state_dict,
        clips.astype(np.float32).transpose(0, 2, 3, 4, 1),
        record["num_classes"],
        record["parameters"],
        {variant: np.array(logits) for variant, logits in record["logits"].items()},
        record["stages"],
    )


def draw(name: str, shape: list[int], seed: int) -> np.ndarray:
    """Draw one array of a state dict by the rule that made the files."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if name.endswith("running_mean"):
        array = rng.normal(0, 0.1, shape)
    elif name.endswith("running_var"):
        array = rng.uniform(0.5, 1.5, shape)
    elif len(shape) == 1:
        is_scale = name.endswith("weight")
        array = rng.uniform(0.5, 1.0, shape) if is_scale else rng.normal(0, 0.1, shape)
    else:
        array = rng.normal(0, 1, shape) * np.sqrt(2 / np.prod(shape[1:]))
    return array.astype(np.float32)
