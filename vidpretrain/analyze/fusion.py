# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Several networks' scores of one test set as one: ensembles and two streams."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vidpretrain.suggest import closest
from vidpretrain.train.scores import AVERAGES, Scores, ScoresError

_MOST_NAMED = 3


def fuse(
    parts: Sequence[Scores],
    *,
    weights: Sequence[float] = (),
    average: str = "",
    common: bool = False,
) -> Scores:
    """Return the weighted mean of several networks' scores, example by example.

    `s = sum_k w_k s_k / sum_k w_k`, where `s_k` is the softmax or the logits of network k.
    Examples are matched by name.

    Args:
        parts: what each network says, at least two.
        weights: of each; equal ones if empty.
        average: "softmax" or "logits"; empty: what all parts have, and "softmax" if they differ.
            The softmax of mean logits stands in for a mean softmax that was not kept.
        common: leave out the examples that some network has not seen, instead of an error.

    Returns:
        The fused scores, in the first part's order; their loss is not known (NaN).

    Raises:
        ScoresError: the parts are not of one test set, or the weights do not fit; says how.

    References:
        Simonyan and Zisserman, Two-Stream Convolutional Networks, 2014, section 5 (fusion by
        averaging); Li et al., CT-Net, 2021, Tables 4 to 6 (ensembles).
    """
    if len(parts) < 2:
        raise ScoresError(f"{len(parts)} file(s) of scores; fusing takes at least two")
    shares = _shares(weights, len(parts))
    average = average or (parts[0].average if len({p.average for p in parts}) == 1 else "softmax")
    if average not in AVERAGES:
        raise ScoresError(f"average={average!r}; {closest(average, AVERAGES)}")
    first = parts[0]
    for other in parts[1:]:
        _check_classes(first, other)
    kept = _kept(parts, common)
    values = np.zeros((len(kept), first.num_classes), np.float64)
    for part, share in zip(parts, shares, strict=True):
        rows = _rows(part, kept)
        _check_labels(first, part, kept)
        values += share * _as_average(part, average)[rows].astype(np.float64)
    rows = _rows(first, kept)
    return Scores(
        values=values.astype(np.float32),
        label=first.label[rows],
        loss=np.full(len(kept), np.nan, np.float32),
        example=first.example[rows],
        expected=first.expected,
        names=tuple(kept),
        class_names=first.class_names,
        network=" + ".join(part.network for part in parts),
        average=average,
        views=sum(part.views for part in parts),
    )


def _shares(weights: Sequence[float], count: int) -> np.ndarray:
    given = np.asarray(weights or [1.0] * count, np.float64)
    if len(given) != count:
        raise ScoresError(f"{len(given)} weight(s) for {count} files; give one for each")
    if not np.isfinite(given).all() or (given < 0).any() or given.sum() <= 0:
        raise ScoresError(
            f"weights={','.join(f'{w:g}' for w in given)}; they must not be negative, nor all 0"
        )
    return given / given.sum()


def _kept(parts: Sequence[Scores], common: bool) -> list[str]:
    """Return the names of the examples to fuse, in the first part's order."""
    sets = [set(part.names) for part in parts]
    everywhere, anywhere = set.intersection(*sets), set.union(*sets)
    if not everywhere:
        raise ScoresError(
            f"the files have no example in common: {parts[0].names[0]!r} in one, "
            f"{parts[1].names[0]!r} in another; are they of the same list?"
        )
    if not common and everywhere != anywhere:
        lines = [
            f"  {part.network}: {len(anywhere - names)} missing, such as "
            f"{', '.join(sorted(anywhere - names)[:_MOST_NAMED])}"
            for part, names in zip(parts, sets, strict=True)
            if anywhere - names
        ]
        raise ScoresError(
            "\n".join(
                [
                    f"of {len(anywhere)} examples, some lack scores:",
                    *lines,
                    "test these networks on the same list, or give --common to leave out what "
                    "some lack",
                ]
            )
        )
    return [name for name in parts[0].names if name in everywhere]


def _rows(part: Scores, names: Sequence[str]) -> np.ndarray:
    row_of = {name: row for row, name in enumerate(part.names)}
    return np.array([row_of[name] for name in names], np.int64)


def _check_classes(first: Scores, other: Scores) -> None:
    if first.num_classes != other.num_classes:
        raise ScoresError(
            f"{first.network} tells {first.num_classes} classes apart, {other.network} "
            f"{other.num_classes}; they cannot be fused"
        )
    if not first.class_names or not other.class_names:
        return
    for label in range(first.num_classes):
        one, two = first.class_name(label), other.class_name(label)
        if one != two:
            raise ScoresError(
                f"class {label} is {one!r} for {first.network}, but {two!r} for {other.network}"
            )


def _check_labels(first: Scores, other: Scores, names: Sequence[str]) -> None:
    one, two = first.label[_rows(first, names)], other.label[_rows(other, names)]
    (differ,) = np.nonzero(one != two)
    if len(differ):
        at = differ[0]
        raise ScoresError(
            f"{len(differ)} of {len(names)} examples have different labels: {names[at]} is "
            f"{first.class_name(one[at])} for {first.network}, but {other.class_name(two[at])} for "
            f"{other.network}; are the lists the same?"
        )


def _as_average(part: Scores, average: str) -> np.ndarray:
    if part.average == average:
        return part.values
    if average == "logits":
        raise ScoresError(
            f"the scores of {part.network} are means of the softmax, of which no logits can be "
            "made; test again with test.average=logits, or fuse with --average softmax"
        )
    shifted = np.exp(part.values - part.values.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
