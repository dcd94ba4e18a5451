# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Groups of parameters, named by patterns of their paths; frozen groups.

A path is what `docs/networks.md` shows, `stage3/block0/conv1/norm/scale`. A pattern is a path in
which `*` stands for any text, slashes included: `stem/*` is the stem, `*bias` every bias, and
`stage*/norm/*` the norms of all stages but not the stem's, so that freezing it is what the TSN
papers call partial batch norm.
"""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax

from vidpretrain.models.layers import BatchNorm
from vidpretrain.suggest import closest

Patterns = Sequence[str]
LrFactors = Sequence[tuple[str, float]]


def matched_by(path: str, patterns: Patterns) -> int | None:
    """Return the number of the first pattern that a path matches, or None."""
    return next((i for i, p in enumerate(patterns) if fnmatch.fnmatchcase(path, p)), None)


def matches(path: str, patterns: Patterns) -> bool:
    """Say whether a path matches any of the patterns."""
    return matched_by(path, patterns) is not None


def map_by_path(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """Map `function(path, leaf, ...)` over the leaves of trees of one structure."""

    def call(keys: Any, *leaves: Any) -> Any:
        return function(jax.tree_util.keystr(keys, simple=True, separator="/"), *leaves)

    return jax.tree_util.tree_map_with_path(call, tree, *rest)


def check_patterns(patterns: Patterns, params: Any, *, field: str) -> None:
    """Make sure that every pattern is the first that some parameter matches.

    Args:
        patterns: in the order in which they are tried.
        params: tree of parameters, or of their shapes.
        field: the config field to name in the error.

    Raises:
        ValueError: a pattern has no parameter to itself; the closest path is named.
    """
    paths: list[str] = jax.tree.leaves(map_by_path(lambda path, _: path, params))
    used = {matched_by(path, patterns) for path in paths}
    for number, pattern in enumerate(patterns):
        if number in used:
            continue
        if any(fnmatch.fnmatchcase(path, pattern) for path in paths):
            raise ValueError(
                f"{field}: earlier patterns have taken all that {pattern!r} matches; "
                "put it before them, or drop it"
            )
        parts = dict.fromkeys(f"{path.split('/')[0]}/*" for path in paths)
        raise ValueError(
            f"{field}: {pattern!r} matches no parameter; {closest(pattern, [*parts, *paths])}"
        )


def stop_gradients(params: Any, frozen: Patterns) -> Any:
    """Return the parameters, the frozen ones as constants.

    Their gradients are zero and cost nothing; below the first trainable layer nothing has to be
    kept for the backward pass.
    """
    if not frozen:
        return params
    return map_by_path(
        lambda path, leaf: jax.lax.stop_gradient(leaf) if matches(path, frozen) else leaf, params
    )


def keep(old: Any, new: Any, frozen: Patterns) -> Any:
    """Return the new parameters, the frozen ones with their old bits."""
    if not frozen:
        return new
    return map_by_path(lambda path, a, b: a if matches(path, frozen) else b, old, new)


@contextlib.contextmanager
def frozen_norms(frozen: Patterns) -> Iterator[None]:
    """Have batch norms whose parameters are all frozen use their running statistics in training.

    They leave them as they are, too. It holds for networks that are called within the block.
    """
    if not frozen:
        yield
        return

    def call(
        method: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        module = context.module
        if isinstance(module, BatchNorm) and context.method_name == "__call__":
            path = "/".join(module.path)
            if all(matches(f"{path}/{name}", frozen) for name in ("scale", "bias")):
                return method(args[0], train=False)
        return method(*args, **kwargs)

    with nn.intercept_methods(call):
        yield
