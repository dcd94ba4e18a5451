# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What makes a run the run it is: its configuration, our code, and the libraries it computes with.

Processes that differ in any of it would not compute the same step, and might hang.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy", "grain", "av", "opencv-python-headless")
_PACKAGE = Path(__file__).parents[1]
_DIGITS = 12


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what all processes of a run must have in common, by name.

    Args:
        config: the whole resolved configuration, as nested dicts.

    Returns:
        The fields of the configuration, such as `config.finetune.seed`; a hash of each of our
        source files, so that another version shows which file differs, committed or not; and the
        versions of libraries.
    """
    return {
        **{f"config.{field}": value for field, value in flatten(config)},
        **{
            f"source {path.relative_to(_PACKAGE.parent).as_posix()}": _digest(path)
            for path in _PACKAGE.rglob("*.py")
        },
        **{f"version of {name}": _version(name) for name in _LIBRARIES},
    }


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every field of nested dicts, `section.field`, and its value as JSON has it."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            # JSON knows no tuples.
            yield prefix + key, list(value) if isinstance(value, tuple) else value


def digest_of(tree: Any) -> str:
    """Return a hash of all leaves of a pytree of arrays, with their names, types and shapes."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(tree)):
        array = np.asarray(leaf)
        header = f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n"
        digest.update(header.encode() + array.tobytes())
    return digest.hexdigest()[:_DIGITS]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:_DIGITS]


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "none"
