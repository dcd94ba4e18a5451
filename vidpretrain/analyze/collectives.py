# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a compiled program sends between chips, read off its text."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(")
# `%name = SHAPE KIND(...`; of the asynchronous pair `KIND-start`, `KIND-done`, the start counts.
_COLLECTIVE = re.compile(rf"^\s+(?:ROOT )?%?[\w.\-]+ = (.+?) ({'|'.join(KINDS)})(-start)?\(")
_LOOP_BODY = re.compile(r" while\(.*\bbody=%?([\w.\-]+)")
_CALLED = re.compile(
    r"\b(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)"
)
_ARRAY = re.compile(r"\b([a-z]+\d+\w*|pred)\[([\d,]*)\]")
_BITS = re.compile(r"\d+")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective operation of a program.

    Attributes:
        kind: one of `KINDS`.
        num_bytes: of the whole array: what every chip holds after an all-reduce or all-gather, or
            before a reduce-scatter.
        group: chips that take part together.
        times: how often a step runs it: more than once in a loop.
    """

    kind: str
    num_bytes: float
    group: int
    times: int = 1

    @property
    def sent_bytes(self) -> float:
        """Bytes that each chip has to send in all, at the least.

        In a ring of n chips each passes on (n - 1) / n of an array to gather or to scatter it, and
        twice that to do one after the other, which is an all-reduce.
        """
        rounds = {"all-reduce": 2, "collective-permute": self.group / max(self.group - 1, 1)}
        share = (self.group - 1) / self.group
        return rounds.get(self.kind, 1) * share * self.num_bytes * self.times


def find_collectives(text: str, *, num_chips: int, loop_times: int = 1) -> list[Collective]:
    """Return every collective of a program.

    Args:
        text: the optimised HLO, `compiled.as_text()`.
        num_chips: of the whole mesh: the group of operations that do not name one.
        loop_times: how often loops run; a train step has one, over its micro-batches.
    """
    computations = dict(_computations(text))
    in_loops = _reached(
        computations,
        (body for lines in computations.values() for line in lines for body in _bodies(line)),
    )
    found = []
    for name, lines in computations.items():
        times = loop_times if name in in_loops else 1
        # The TPU's reduce-scatter is a computation of this name, with an all-reduce inside.
        scatters = name.startswith("all-reduce-scatter")
        for line in lines:
            if match := _COLLECTIVE.match(line):
                shape, kind, start = match.groups()
                group = _group(line, num_chips)
                num_bytes = _num_bytes(shape)
                if start and kind in ("all-gather", "reduce-scatter"):
                    # The shape is a tuple of what goes in and what comes out.
                    num_bytes = num_bytes * group // (group + 1)
                elif start and kind == "collective-permute":
                    num_bytes //= 2
                elif kind == "reduce-scatter":
                    num_bytes *= group
                kind = "reduce-scatter" if scatters and kind == "all-reduce" else kind
                found.append(Collective(kind, num_bytes, group, times))
    return found


def summarise(collectives: Iterable[Collective]) -> list[Collective]:
    """Return one collective for all of the same kind and group, of their mean size.

    It takes as long as they do, and `times` and `num_bytes * times` are what they add up to.
    """
    total: dict[tuple[str, int], tuple[int, float]] = {}
    for one in collectives:
        times, num_bytes = total.get((one.kind, one.group), (0, 0))
        total[one.kind, one.group] = times + one.times, num_bytes + one.num_bytes * one.times
    return [
        Collective(kind, num_bytes / times, group, times)
        for (kind, group), (times, num_bytes) in total.items()
    ]


def _computations(text: str) -> Iterator[tuple[str, list[str]]]:
    name, lines = "", list[str]()
    for line in text.splitlines():
        if match := _COMPUTATION.match(line):
            name, lines = match.group(1), []
        elif line.startswith("}") and name:
            yield name, lines
            name = ""
        elif name:
            lines.append(line)


def _bodies(line: str) -> list[str]:
    return _LOOP_BODY.findall(line)


def _reached(computations: dict[str, list[str]], names: Iterable[str]) -> set[str]:
    reached: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += [
                called for line in computations.get(name, []) for called in _CALLED.findall(line)
            ]
    return reached


def _num_bytes(shape: str) -> int:
    """Return the bytes of all arrays of a shape, such as `(f32[64]{0}, bf16[8,4]{1,0})`."""
    total = 0
    for kind, sizes in _ARRAY.findall(shape):
        bits = 8 if kind == "pred" else int(_BITS.findall(kind)[0])
        total += math.prod(int(size) for size in sizes.split(",") if size) * bits // 8
    return total


def _group(line: str, num_chips: int) -> int:
    """Return how many chips take part together; three ways of writing it are in use."""
    if match := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
        return len(match.group(1).split(","))
    if match := re.search(r"replica_groups=\[\d+,(\d+)\]<=", line):
        return int(match.group(1))
    if match := re.search(r"replica_groups=mesh\[([^\]]*)\] ?\{([^}]*)\}", line):
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", match.group(1)))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'([^']+)'", match.group(2)))
    return num_chips
