# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The weights of one network made from those of another, by one rule for each leaf.

A video network and its image twin have the same leaves; they differ in the temporal size of their
kernels. So a leaf of the destination is

- *copied* from the leaf of the same name, if the shapes agree;
- *inflated* if its kernel has KT > 1 taps and the source's one: tap t is `rates[t]` times the 2D
  kernel, with rates (0, 1, 0) for centre initialisation and (1/3, 1/3, 1/3) for average;
- *cut* if its kernel has one tap and the source's several, and a tap was asked for;
- *colour-averaged* if it is a stem's kernel and sees other channels than three colours, such as
  optical flow's: every channel gets the mean of the colours' kernels;
- *new*, drawn from the destination's own initialisation: the classifier if the numbers of classes
  differ, and what a `LeafRule` says so of.

Whatever fits no rule is an error that lists every such leaf: nothing is ever left out in silence.

References:
    Li et al., In Defense of Image Pre-Training for Spatiotemporal Recognition, ECCV 2022: section
    3.2 and Table 9 (initialisations), Table 1 (cut networks).
    Wang et al., Temporal Segment Networks, ECCV 2016, section 3.2: cross-modality pre-training.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from vidpretrain.convert import tree
from vidpretrain.suggest import closest

NAMED_RATES = ("center", "average")
_KERNEL_RANK = 5
_COLOURS = 3


@dataclasses.dataclass(frozen=True)
class LeafRule:
    """An exception from the general rule, for convolutions whose leaves an image net has not.

    Attributes:
        leaf: regular expression for whole names of destination leaves, such as
            `params/(.*)/conv2/conv/spatial/kernel`.
        source: name of the source leaf, with groups as in `re.Match.expand`; None for a new leaf.
        derive: makes the destination leaf of the source leaf and the destination's shape; without
            it the general rule applies.
        unused: expression for whole names of source leaves that have no destination.
        action: what the report calls a derived leaf.
    """

    leaf: str = ""
    source: str | None = None
    derive: Callable[[np.ndarray, tuple[int, ...]], np.ndarray] | None = None
    unused: str = ""
    action: str = "derived"


@dataclasses.dataclass(frozen=True)
class Init:
    """How kernels get their taps.

    Attributes:
        rates: `center`, `average`, or the factor of each tap.
        parts: other rates for parts of the network, by path: `stage4`, `slow/stage3/block0`.
    """

    rates: str | tuple[Fraction, ...] = "center"
    parts: tuple[tuple[str, str | tuple[Fraction, ...]], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Init:
        """Read an initialisation.

        Args:
            text: `center`, `average` or rates such as `1/9,1/3,1/9`; then, after semicolons, what
                parts of the network get instead: `center;stage4=average`.

        Raises:
            ValueError: it is none of these.
        """
        first, *others = (item.strip() for item in text.split(";"))
        parts = []
        for item in others:
            part, equals, rates = item.partition("=")
            if not equals:
                raise ValueError(
                    f"{item!r} in the initialisation {text!r} names no part: write stage4=average."
                )
            parts.append((part.strip().strip("/"), _parse_rates(rates.strip())))
        return cls(_parse_rates(first), tuple(parts))

    def describe(self, leaf: str) -> str:
        """Name what a leaf gets, for the report: `centre`, `average` or `rates`."""
        rates = self._rates_of(leaf)
        return {"center": "centre", "average": "average"}.get(str(rates), "rates")

    def taps(self, leaf: str, count: int) -> np.ndarray:
        """Return the factor of each tap of a kernel.

        Args:
            leaf: the kernel's name.
            count: its temporal size.

        Returns:
            Float64 `[count]`.

        Raises:
            ValueError: rates were given for another number of taps.
        """
        rates = self._rates_of(leaf)
        if rates == "center":
            return np.eye(count)[count // 2]
        if rates == "average":
            return np.full(count, 1 / count)
        if len(rates) != count:
            raise ValueError(
                f"{len(rates)} rates were given, and the kernel has {count} taps: give its part of "
                f"the network {count} rates, or center or average (center;stage4=1/9,1/3,1/9)"
            )
        return np.array([float(rate) for rate in rates])

    def unknown_parts(self, leaves: Iterable[str]) -> list[str]:
        """List parts that no leaf belongs to: misspelt, for certain."""
        names = list(leaves)
        return [part for part, _ in self.parts if not any(_is_within(n, part) for n in names)]

    def _rates_of(self, leaf: str) -> str | tuple[Fraction, ...]:
        matching = [(part, rates) for part, rates in self.parts if _is_within(leaf, part)]
        # The longest path is the most special one.
        return max(matching, key=lambda item: len(item[0]))[1] if matching else self.rates


def _is_within(leaf: str, part: str) -> bool:
    return f"/{part}/" in f"/{leaf}/"


def _parse_rates(text: str) -> str | tuple[Fraction, ...]:
    if text in NAMED_RATES:
        return text
    try:
        return tuple(Fraction(rate) for rate in text.split(","))
    except (ValueError, ZeroDivisionError):
        raise ValueError(
            f"the initialisation {text!r} is no rates such as 1/9,1/3,1/9 and no name; "
            f"{closest(text, NAMED_RATES)}"
        ) from None


@dataclasses.dataclass(frozen=True)
class LeafReport:
    """Where one leaf came from, or that nobody wanted it.

    Attributes:
        name: of the destination's leaf; of the source's if it is unused.
        action: copied, centre-initialised, average-initialised, rates-initialised, cut,
            colour-averaged, derived, new or unused.
        shape: of that leaf.
        source: name of the source's leaf; empty if the leaf is new.
        source_shape: its shape.
    """

    name: str
    action: str
    shape: tuple[int, ...]
    source: str = ""
    source_shape: tuple[int, ...] = ()

    def __str__(self) -> str:
        """Write one line; the source is named only where it differs."""
        line = f"{self.action:<19} {self.name} {list(self.shape)}"
        if self.source and (self.source, self.source_shape) != (self.name, self.shape):
            line += f"  <- {self.source} {list(self.source_shape)}"
        return line


@dataclasses.dataclass(frozen=True)
class Report:
    """Where every leaf came from."""

    leaves: tuple[LeafReport, ...]

    def counts(self) -> dict[str, int]:
        """Count the leaves by action, the most frequent first."""
        return dict(collections.Counter(leaf.action for leaf in self.leaves).most_common())

    def to_text(self) -> str:
        """Write one line a leaf and a summary, for a person."""
        counts = ", ".join(f"{count} {action}" for action, count in self.counts().items())
        return "\n".join([*map(str, self.leaves), f"{len(self.leaves)} leaves: {counts}"])

    def to_json(self, **about: Any) -> str:
        """Write the report as JSON, with what else is to be said about the conversion."""
        leaves = [dataclasses.asdict(leaf) for leaf in self.leaves]
        return json.dumps({**about, "counts": self.counts(), "leaves": leaves}, indent=1) + "\n"


class _UnexplainedError(ValueError):
    """A leaf fits no rule."""


def inflate(
    source: Mapping[str, np.ndarray],
    wanted: Mapping[str, Any],
    draw: Callable[[list[str]], Mapping[str, np.ndarray]],
    *,
    init: Init = Init(),
    tap: int | None = None,
    rules: Sequence[LeafRule] = (),
) -> tuple[dict[str, np.ndarray], Report]:
    """Make every leaf of one network of the leaves of another.

    Args:
        source: leaves by name (`params/stem/conv/kernel`); kernels `[KT, KH, KW, I, O]`.
        wanted: for each destination leaf something with `shape` and `dtype`.
        draw: draws the leaves named anew.
        init: what the taps of inflated kernels get.
        tap: 0, 1 or 2: cut the tap before the centre, the centre, or the one after it out of
            kernels that have several where the destination has one; None for an error.
        rules: exceptions for leaves that the source lacks; the first that matches holds.

    Returns:
        The destination's leaves by name, and where each came from.

    Raises:
        vidpretrain.convert.tree.MismatchError: leaves that no rule explains, or that are not
            finite; names each.
    """
    values: dict[str, np.ndarray] = {}
    reports: list[LeafReport] = []
    problems = [f"{part!r} is no part of the network" for part in init.unknown_parts(wanted)]
    unfit: set[str] = set()
    for name, leaf in wanted.items():
        try:
            value, report = _make(name, leaf, source, init, tap, rules)
        except _UnexplainedError as error:
            problems.append(str(error))
            unfit.add(name)
            continue
        reports.append(report)
        if value is not None:
            values[name] = value
    new = [report.name for report in reports if report.action == "new"]
    for name in sorted(set(source) - unfit - {report.source for report in reports}):
        if name in new or any(rule.unused and _matches(rule.unused, name) for rule in rules):
            reports.append(LeafReport(name, "unused", source[name].shape))
        else:
            problems.append(f"- {name}: {tree.describe(source[name])} has no place in the network")
    if problems:
        raise tree.MismatchError(
            "The checkpoint does not fit the network "
            f"(- in the checkpoint, + wanted by the network):\n{tree.shorten(problems)}"
        )
    values |= draw(new) if new else {}
    return {name: values[name] for name in wanted}, Report(tuple(reports))


def _make(
    name: str,
    leaf: Any,
    source: Mapping[str, np.ndarray],
    init: Init,
    tap: int | None,
    rules: Sequence[LeafRule],
) -> tuple[np.ndarray | None, LeafReport]:
    """Make one leaf; its value is None if it is to be drawn."""
    shape = tuple(leaf.shape)
    missing = name not in source
    rule = next((r for r in rules if missing and r.leaf and _matches(r.leaf, name)), None)
    if rule is not None and rule.source is None:
        return None, LeafReport(name, "new", shape)
    origin = name if rule is None else _expand(rule, name)
    if origin not in source:
        raise _UnexplainedError(f"+ {name}: {tree.describe(leaf)} is missing")
    given = source[origin]
    if not np.isfinite(given.astype(np.float32)).all():
        raise _UnexplainedError(f"- {origin}: {tree.describe(given)} is not finite (NaN or Inf)")
    if rule is not None and rule.derive is not None:
        value, action = rule.derive(given, shape), rule.action
    elif _is_classifier(name) and given.shape != shape and given.shape[:-1] == shape[:-1]:
        return None, LeafReport(name, "new", shape)
    else:
        value, action = _fit(name, given, leaf, init, tap)
    value = np.asarray(value, leaf.dtype)
    return value, LeafReport(name, action, shape, origin, given.shape)


def _fit(
    name: str, given: np.ndarray, leaf: Any, init: Init, tap: int | None
) -> tuple[np.ndarray, str]:
    """Copy, inflate or cut a leaf into the shape wanted; also say which."""
    shape = tuple(leaf.shape)
    if given.shape == shape:
        return given, "copied"
    if _sees_other_channels(name, given.shape, shape):
        mean = given.astype(np.float32).mean(axis=3, keepdims=True)
        value, _ = _fit(name, np.repeat(mean, shape[3], axis=3), leaf, init, tap)
        return value, "colour-averaged"
    mismatch = f"- {name}: {tree.describe(given)}\n+ {name}: {tree.describe(leaf)}"
    if given.ndim != _KERNEL_RANK or given.shape[1:] != shape[1:]:
        raise _UnexplainedError(mismatch)
    if given.shape[0] == 1:
        try:
            taps = init.taps(name, shape[0])
        except ValueError as error:
            raise _UnexplainedError(f"{mismatch}\n  {error}") from error
        return inflate_kernel(given, taps), f"{init.describe(name)}-initialised"
    if shape[0] != 1:
        raise _UnexplainedError(f"{mismatch}\n  {given.shape[0]} taps do not become {shape[0]}")
    if tap is None:
        raise _UnexplainedError(f"{mismatch}\n  to cut a tap out, say which: --tap 0, 1 or 2")
    return cut_kernel(given, tap), "cut"


def _sees_other_channels(name: str, given: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Say whether a stem's kernel is of images, and other channels are wanted."""
    return "/stem/" in name and len(given) == _KERNEL_RANK and given[3] == _COLOURS != wanted[3]


def inflate_kernel(kernel: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Make a 3D kernel of a 2D one.

    Args:
        kernel: `[1, KH, KW, I, O]`.
        taps: factor of each tap, `[KT]`.

    Returns:
        `[KT, KH, KW, I, O]`, float32; taps with factor 0 are zero, with factor 1 exact copies.
    """
    inflated = np.zeros((len(taps), *kernel.shape[1:]), np.float32)
    for tap, factor in enumerate(taps):
        if factor:
            inflated[tap] = factor * kernel[0]
    return inflated


def cut_kernel(kernel: np.ndarray, tap: int) -> np.ndarray:
    """Cut a 2D kernel out of a 3D one.

    Args:
        kernel: `[KT, KH, KW, I, O]`, KT odd.
        tap: 0, 1 or 2.

    Returns:
        `[1, KH, KW, I, O]`.

    Note:
        The paper cuts kernels of 3 taps. Of longer ones (stems and laterals of 5 or 7) the tap
        next to the centre is taken, as it sees the frame next to the middle one.
    """
    index = kernel.shape[0] // 2 + tap - 1
    return kernel[index : index + 1]


def _is_classifier(name: str) -> bool:
    return name.startswith("params/head/")


def _matches(pattern: str, name: str) -> bool:
    return re.fullmatch(pattern, name) is not None


def _expand(rule: LeafRule, name: str) -> str:
    match = re.fullmatch(rule.leaf, name)
    assert match is not None
    assert rule.source is not None
    return match.expand(rule.source)
