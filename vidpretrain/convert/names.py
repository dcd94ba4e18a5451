# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Weights under other codebases' names and layouts, there and back.

The names themselves are data, in `vidpretrain.convert.name_tables`. Mapping is strict: an array
that no rule explains is an error, and so is one that the network misses.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import numpy as np

from vidpretrain.convert import tree
from vidpretrain.convert.name_tables import TABLES, Leaf, NamesTable, Rule

_PLACEHOLDER = re.compile(r"\{(\w+)(?::([^{}]+))?\}")


class NamesError(ValueError):
    """Arrays that a table of names does not explain."""


def to_ours(
    table: NamesTable, state_dict: Mapping[str, np.ndarray], *, like: Any = None
) -> tree.Nested:
    """Turn a PyTorch state dict into variables of ours.

    Args:
        table: Whose names they are; see `name_tables.TABLES`.
        state_dict: Arrays by name.
        like: Variables (or their shapes) of the network to fill, for checking.

    Returns:
        `{"params": ..., "batch_stats": ...}`, NumPy arrays.

    Raises:
        NamesError: No rule explains a name, or two names mean the same array.
        tree.MismatchError: Names or shapes differ from those of `like`; shows a diff.
    """
    rules = _compile_theirs(table)
    flat: dict[str, np.ndarray] = {}
    unknown = []
    for name, array in state_dict.items():
        module, _, last = name.rpartition(".")
        found = _find(rules, module, last)
        if found is None:
            unknown.append(name)
            continue
        _, path, leaf = found
        if leaf.ours is None:
            continue
        collection, ours = leaf.ours
        target = f"{collection}/{path}/{ours}"
        if target in flat:
            raise NamesError(f"Two arrays of the file mean {target}; {name} is the second.")
        flat[target] = _relayout(leaf.layout, 0, np.asarray(array), name)
    if unknown:
        raise NamesError(_explain(unknown, f"not named as {table.source} name this network's"))
    if like is not None:
        tree.require_equal(
            {name: str(list(array.shape)) for name, array in flat.items()},
            {name: str(list(array.shape)) for name, array in tree.flatten(like).items()},
            f"The weights, named by {table.source}, do not fill the network",
        )
    return tree.nest(flat)


def to_theirs(table: NamesTable, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Turn our variables into a PyTorch state dict: the inverse of `to_ours`.

    Batch norms get the count of batches that PyTorch keeps with them, as 0.

    Args:
        table: Whose names to give; see `name_tables.TABLES`.
        variables: `{"params": ..., "batch_stats": ...}`.

    Raises:
        NamesError: The codebase has no name for an array, or no layout that holds it.
    """
    rules = _compile_ours(table)
    state_dict: dict[str, np.ndarray] = {}
    unknown = []
    for name, array in tree.flatten(dict(variables)).items():
        collection, _, path = name.partition("/")
        module, _, last = path.rpartition("/")
        found = _find(rules, module, (collection, last))
        if found is None:
            unknown.append(name)
            continue
        _, theirs, leaf = found
        state_dict[f"{theirs}.{leaf.theirs}"] = _relayout(leaf.layout, 1, np.asarray(array), name)
        if leaf.theirs == "running_var":
            state_dict[f"{theirs}.num_batches_tracked"] = np.zeros((), np.int64)
    if unknown:
        raise NamesError(_explain(unknown, f"unknown to {table.source}"))
    return state_dict


def recognise(names: Iterable[str]) -> tuple[str, ...]:
    """Return the keys of the tables whose rules explain every name of a file and are all needed."""
    names = list(names)
    return tuple(key for key, table in TABLES.items() if _fits(table, names))


def _fits(table: NamesTable, names: list[str]) -> bool:
    rules = _compile_theirs(table)
    used = set()
    for name in names:
        module, _, last = name.rpartition(".")
        found = _find(rules, module, last)
        if found is None:
            return False
        used.add(found[0])
    return len(used) == len(rules)


@dataclasses.dataclass(frozen=True)
class _CompiledRule:
    """A rule, read in one direction.

    Attributes:
        pattern: Fits the path of a module on this side.
        template: Its path on the other side.
        leaves: The module's arrays by their name on this side.
    """

    pattern: re.Pattern[str]
    template: str
    leaves: Mapping[Hashable, Leaf]


def _compile_theirs(table: NamesTable) -> list[_CompiledRule]:
    return [
        _CompiledRule(
            _compile(rule.theirs, _constraints(rule)),
            _template(rule.ours),
            {leaf.theirs: leaf for leaf in rule.leaves},
        )
        for rule in table.rules
    ]


def _compile_ours(table: NamesTable) -> list[_CompiledRule]:
    return [
        _CompiledRule(
            _compile(rule.ours, _constraints(rule)),
            _template(rule.theirs),
            {leaf.ours: leaf for leaf in rule.leaves if leaf.ours},
        )
        for rule in table.rules
    ]


def _find(rules: list[_CompiledRule], module: str, leaf: Hashable) -> tuple[int, str, Leaf] | None:
    """Return the number of the first rule that fits, the module's other path, and its leaf."""
    for number, rule in enumerate(rules):
        match = rule.pattern.fullmatch(module)
        if match and leaf in rule.leaves:
            return number, rule.template.format(**match.groupdict()), rule.leaves[leaf]
    return None


def _constraints(rule: Rule) -> dict[str, str]:
    """Return what placeholders must match; stated on one side, it holds in both directions."""
    return {
        name: regex
        for path in (rule.theirs, rule.ours)
        for name, regex in _PLACEHOLDER.findall(path)
        if regex
    }


def _compile(path: str, constraints: Mapping[str, str]) -> re.Pattern[str]:
    parts = []
    end = 0
    for match in _PLACEHOLDER.finditer(path):
        name = match[1]
        parts += [
            re.escape(path[end : match.start()]),
            f"(?P<{name}>{constraints.get(name, '[0-9]+')})",
        ]
        end = match.end()
    return re.compile("".join([*parts, re.escape(path[end:])]))


def _template(path: str) -> str:
    return _PLACEHOLDER.sub(r"{\1}", path)


def _explain(names: list[str], problem: str) -> str:
    shown = "\n".join(f"  {name}" for name in names[:20])
    more = f"\n  ... and {len(names) - 20} more" if len(names) > 20 else ""
    return f"{len(names)} arrays are {problem}:\n{shown}{more}"


# --- layouts: (to ours, to theirs) -----------------------------------------------------------


def _drop_time(kernel: np.ndarray) -> np.ndarray:
    if kernel.shape[0] != 1:
        raise NamesError(
            f"a kernel with {kernel.shape[0]} temporal taps has no 2D form; convert the network "
            "to its image twin first"
        )
    return kernel[0].transpose(3, 2, 0, 1)


def _fast_first(weight: np.ndarray) -> np.ndarray:
    """Reorder input channels from [slow | fast] to [fast | slow]; the fast ones are 1/9."""
    num_fast = weight.shape[1] // 9
    return np.concatenate([weight[:, -num_fast:], weight[:, :-num_fast]], axis=1)


def _slow_first(weight: np.ndarray) -> np.ndarray:
    num_fast = weight.shape[1] // 9
    return np.concatenate([weight[:, num_fast:], weight[:, :num_fast]], axis=1)


Convert = Callable[[np.ndarray], np.ndarray]

LAYOUTS: dict[str, tuple[Convert, Convert]] = {
    "same": (lambda array: array, lambda array: array),
    # OITHW to THWIO.
    "conv": (lambda w: w.transpose(2, 3, 4, 1, 0), lambda k: k.transpose(4, 3, 0, 1, 2)),
    # OIHW to THWIO with one frame.
    "conv_2d": (lambda w: w.transpose(2, 3, 1, 0)[None], _drop_time),
    "linear": (np.transpose, np.transpose),
    "linear_slow_fast": (
        lambda w: _fast_first(w).transpose(),
        lambda k: _slow_first(k.transpose()),
    ),
}


def _relayout(layout: str, direction: int, array: np.ndarray, name: str) -> np.ndarray:
    try:
        return LAYOUTS[layout][direction](array)
    except ValueError as error:
        raise NamesError(f"{name} {list(array.shape)}: {error}") from error
