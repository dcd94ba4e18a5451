# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Trees of arrays on disk: names of leaves, strict comparison, and orbax.

On disk every tree is nested dictionaries of plain arrays, whatever classes held it in memory
(`TrainState`, optax's named tuples): the file then depends on names and shapes alone, and any
orbax reads it. Leaves are named by their path, joined with `/`: `params/stem/conv/kernel`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

Nested = dict[str, Any]
"""Nested dictionaries whose leaves are arrays."""

_MAX_DIFF_LINES = 40


class MismatchError(ValueError):
    """Leaves of a checkpoint and of the tree that it should fill differ."""


def leaf_names(tree: Any) -> list[str]:
    """Name every leaf of a tree by its path, in JAX's order of leaves.

    Args:
        tree: any pytree.

    Returns:
        Names such as `opt_state/0/trace/head/bias`.
    """
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path in paths]


def flatten(tree: Any) -> dict[str, Any]:
    """Map the name of every leaf to the leaf.

    Raises:
        ValueError: two leaves have the same name.
    """
    names = leaf_names(tree)
    flat = dict(zip(names, jax.tree.leaves(tree), strict=True))
    if len(flat) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"Two leaves of the tree share a name: {', '.join(twice)}.")
    return flat


def nest(flat: Mapping[str, Any]) -> Nested:
    """Turn `{'a/b': leaf}` into `{'a': {'b': leaf}}`; the inverse of `flatten` for dictionaries."""
    nested: Nested = {}
    for name, leaf in flat.items():
        *parents, last = name.split("/")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return nested


def describe(leaf: Any) -> str:
    """Write a leaf's type the short way: `float32[3, 3, 64, 64]`."""
    return f"{leaf.dtype}{list(leaf.shape)}"


def diff(given: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """Compare two lists of leaves.

    Args:
        given: description of each leaf of the file, by name.
        wanted: description of each leaf of the tree to fill, by name.

    Returns:
        One line a difference: `-` for what the file has and the tree has not, `+` for what the
        tree wants and the file has not, both for another shape. Empty if they agree.
    """
    lines = []
    for name in sorted({*given, *wanted}):
        if given.get(name) == wanted.get(name):
            continue
        if name in given:
            lines.append(f"- {name}: {given[name]}")
        if name in wanted:
            lines.append(f"+ {name}: {wanted[name]}")
    return shorten(lines)


def shorten(lines: Sequence[str]) -> str:
    """Join the lines of a diff; of a long one, only the beginning."""
    if len(lines) > _MAX_DIFF_LINES:
        lines = [*lines[:_MAX_DIFF_LINES], f"... and {len(lines) - _MAX_DIFF_LINES} more"]
    return "\n".join(lines)


def require_equal(given: Mapping[str, str], wanted: Mapping[str, str], what: str) -> None:
    """Raise with a diff unless two lists of leaves agree.

    Args:
        given: description of each leaf of the file, by name.
        wanted: description of each leaf of the tree to fill, by name.
        what: the beginning of the message: what does not fit what.

    Raises:
        MismatchError: they differ.
    """
    difference = diff(given, wanted)
    if difference:
        raise MismatchError(
            f"{what}. Leaves that differ (- in the checkpoint, + wanted):\n{difference}"
        )


# --- orbax -----------------------------------------------------------------------------------


def make_checkpointer() -> ocp.AsyncCheckpointer:
    """Make the orbax checkpointer that writes trees.

    Float weights compress by 8 % and cost twice the CPU time to write, so they are stored raw.
    """
    return ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler(use_compression=False))


def to_saveable(tree: Any) -> Nested:
    """Make the nested dictionaries that orbax gets.

    Keys of `jax.random` become their bits. Host arrays are copied, for orbax reads them while the
    caller goes on. Arrays without elements are left out: orbax refuses them, and the tree to fill
    knows their shape.
    """
    return nest(
        {name: _saveable(leaf) for name, leaf in flatten(tree).items() if np.size(_bits(leaf))}
    )


def start_write(checkpointer: ocp.AsyncCheckpointer, folder: epath.Path, tree: Any) -> None:
    """Begin to write a tree; returns when the arrays are copied off the devices.

    Args:
        checkpointer: from `make_checkpointer`; `wait_until_finished` raises what went wrong.
        folder: where the tree goes; must not exist.
        tree: any pytree of arrays and numbers.
    """
    checkpointer.save(folder, args=ocp.args.PyTreeSave(to_saveable(tree)))


def write_tree(folder: epath.Path, tree: Any) -> None:
    """Write a tree and wait until it is on disk."""
    checkpointer = make_checkpointer()
    start_write(checkpointer, folder, tree)
    checkpointer.wait_until_finished()


def stored_leaves(folder: epath.Path) -> dict[str, str]:
    """Describe every leaf that a written tree has, by name."""
    return {name: describe(leaf) for name, leaf in _metadata(folder).items()}


def read_tree(folder: epath.Path, keep: Callable[[str], bool] = lambda name: True) -> Nested:
    """Read a tree as NumPy arrays, without knowing its structure.

    Args:
        folder: what `write_tree` wrote.
        keep: which leaves to read, by name; the others' bytes are not touched.
    """
    wanted = {name: leaf for name, leaf in _metadata(folder).items() if keep(name)}
    if not wanted:
        return {}
    as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
    return _restore(folder, wanted, dict.fromkeys(wanted, as_numpy))


def restore_tree(folder: epath.Path, target: Any) -> Any:
    """Read a tree into the structure, types and shardings of another.

    Args:
        folder: what `write_tree` wrote.
        target: a tree of arrays, `jax.ShapeDtypeStruct` (with `sharding` for a device mesh, which
            need not be the one that wrote the file), NumPy arrays or plain numbers.

    Returns:
        A tree like `target` with the values of the file, bit by bit.

    Raises:
        MismatchError: a leaf is missing, left over, or has another shape or type; shows a diff.
    """
    leaves = flatten(target)
    wanted = {name: _bits(leaf) for name, leaf in leaves.items() if np.size(_bits(leaf))}
    require_equal(
        stored_leaves(folder),
        {name: describe(leaf) for name, leaf in wanted.items()},
        f"The checkpoint {folder} does not fit",
    )
    restored = flatten(
        _restore(folder, wanted, {name: _restore_args(leaves[name]) for name in wanted})
    )
    values = [_like(leaf, restored.get(name)) for name, leaf in leaves.items()]
    return jax.tree.unflatten(jax.tree.structure(target), values)


def _metadata(folder: epath.Path) -> dict[str, Any]:
    checkpointer = ocp.Checkpointer(ocp.PyTreeCheckpointHandler())
    return flatten(checkpointer.metadata(folder).item_metadata.tree)


def _restore(folder: epath.Path, leaves: Mapping[str, Any], args: Mapping[str, Any]) -> Nested:
    checkpointer = ocp.Checkpointer(ocp.PyTreeCheckpointHandler())
    return checkpointer.restore(
        folder,
        args=ocp.args.PyTreeRestore(
            item=nest(leaves), restore_args=nest(args), partial_restore=True
        ),
    )


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _bits(leaf: Any) -> Any:
    """Return what of a leaf has a shape and a NumPy type: a key's bits, a number's array."""
    if _is_key(leaf):
        return jax.eval_shape(jax.random.key_data, leaf)
    return leaf if hasattr(leaf, "shape") else np.asarray(leaf)


def _saveable(leaf: Any) -> Any:
    if _is_key(leaf):
        return jax.random.key_data(leaf)
    return leaf if isinstance(leaf, jax.Array) else np.array(leaf)


def _restore_args(leaf: Any) -> ocp.RestoreArgs:
    if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct) and not _is_key(leaf):
        return ocp.ArrayRestoreArgs(sharding=_sharding(leaf), global_shape=leaf.shape)
    return ocp.RestoreArgs(restore_type=np.ndarray)


def _sharding(leaf: Any) -> jax.sharding.Sharding:
    return leaf.sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])


def _like(leaf: Any, value: Any) -> Any:
    """Give a restored value the type of the leaf that it fills; without elements it has none."""
    if value is None:
        make = np.zeros if isinstance(leaf, np.ndarray) else jnp.zeros
        value = make(leaf.shape, leaf.dtype)
    if _is_key(leaf):
        impl = jax.random.key_impl(jnp.empty((), leaf.dtype))
        key = jax.random.wrap_key_data(jnp.asarray(value), impl=impl)
        return jax.device_put(key, _sharding(leaf))
    return value if hasattr(leaf, "shape") else type(leaf)(value[()])
