# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What all processes of a run must have in common: what they run, and that they can.

A process that ends for a reason of its own leaves the others waiting for it. So whatever may fail
on one alone before training is done together: it fails on all, each with a message.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

_MOST_LINES = 20
_ABSENT = "absent"
# How what a process tells of its failure begins.
_BAD_INPUT, _FAILED = "?", "!"

T = TypeVar("T")


class PeerError(RuntimeError):
    """Another process has failed; the message says which, and why.

    Attributes:
        bad_input: whether what it was given is at fault, so that trying again is in vain.
    """

    def __init__(self, message: str, *, bad_input: bool = False) -> None:
        super().__init__(message)
        self.bad_input = bad_input


class DisagreementError(ValueError):
    """The processes are not of one run; the message says in what they differ."""


def together(act: Callable[[], T]) -> T:
    """Do something on every process; if it fails on one, fail on all.

    Args:
        act: what to do; communicates with no other process.

    Raises:
        PeerError: it has failed on another process; a `ValueError` there means bad input.
        Exception: what `act` has raised here.
    """
    try:
        value = act()
    except Exception as error:
        kind = _BAD_INPUT if isinstance(error, ValueError) else _FAILED
        gather_texts(kind + (str(error) or type(error).__name__))
        raise
    for process, problem in enumerate(gather_texts("")):
        if problem:
            raise PeerError(
                f"process {process} cannot go on: {problem[1:]}",
                bad_input=problem.startswith(_BAD_INPUT),
            )
    return value


def require_same(facts: Mapping[str, Any]) -> None:
    """Make sure that all processes state the same.

    Args:
        facts: values that JSON knows, by name.

    Raises:
        DisagreementError: they do not; raised on all processes, with what differs and where.
    """
    text = json.dumps(dict(facts), sort_keys=True)
    # The whole statement travels only if it must.
    if len(set(gather_texts(hashlib.sha256(text.encode()).hexdigest()))) == 1:
        return
    statements = [json.loads(statement) for statement in gather_texts(text)]
    names = sorted({name for statement in statements for name in statement})
    lines = [
        line
        for name in names
        if (line := _differences(name, [s.get(name, _ABSENT) for s in statements]))
    ]
    more = [f"  ... and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else []
    raise DisagreementError(
        "\n".join(
            [
                "the processes differ, so they cannot train as one:",
                *lines[:_MOST_LINES],
                *more,
                "give all the same command, code and files; runs of their own want "
                "--distributed=off, and no --coordinator",
            ]
        )
    )


def _differences(name: str, values: list[Any]) -> str | None:
    """Return who has which value, in one line; None if all have the same."""
    holders: dict[str, list[int]] = {}
    for process, value in enumerate(values):
        holders.setdefault(repr(value), []).append(process)
    if len(holders) == 1:
        return None
    parts = [
        f"{value} on process {', '.join(map(str, processes))}"
        for value, processes in holders.items()
    ]
    return f"  {name}: {'; '.join(parts)}"


def gather_texts(text: str) -> list[str]:
    """Return the text that each process gives, in their order; all must call it."""
    if jax.process_count() == 1:
        return [text]
    data = np.frombuffer(text.encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(len(data)))
    padded = np.zeros(max(1, int(sizes.max())), np.uint8)
    padded[: len(data)] = data
    rows = multihost_utils.process_allgather(padded)
    return [row[:size].tobytes().decode() for row, size in zip(rows, sizes, strict=True)]
