# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The one thing that leaves this room: a batch of clips, of any number of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

PADDING = -1
"""The `example` of a row that stands for no example."""


class Batch(NamedTuple):
    """Clips with their labels, as hosts hand them to devices.

    An image is a clip with one frame. In evaluation with `V` views of every example (temporal
    clips times spatial crops), the views of one example are `V` consecutive rows with the same
    `label`, `mask` and `example`, so that `scores.reshape(-1, V, num_classes).mean(axis=1)`
    averages them.

    Attributes:
        video: uint8 `[B, T, H, W, C]`, raw grey levels 0 to 255.
        label: int32 `[B]`, from 0.
        mask: bool `[B]`, False for rows that only fill the batch up. Those are zeros, and they
            must not count.
        example: int32 `[B]`, position of the row's example in its source, `PADDING` where
            `mask` is False.
    """

    video: np.ndarray
    label: np.ndarray
    mask: np.ndarray
    example: np.ndarray


def regroup(batches: Iterable[Batch], num_rows: int) -> Iterator[Batch]:
    """Cut a stream of batches anew, so that each has so many rows.

    The rows keep their order, across the ends of the batches that come in. Only the last batch is
    filled up, with masked zeros. Views of an example may part.

    Args:
        batches: Of any numbers of rows, all with clips of one shape.
        num_rows: Of every batch that goes out, at least 1.
    """
    rest: Batch | None = None
    for batch in batches:
        if rest is not None and len(rest.label):
            batch = Batch(*map(np.concatenate, zip(rest, batch, strict=True)))
        whole = len(batch.label) // num_rows * num_rows
        for start in range(0, whole, num_rows):
            yield Batch(*(array[start : start + num_rows] for array in batch))
        rest = Batch(*(array[whole:] for array in batch))
    if rest is not None and len(rest.label):
        yield _fill_up(rest, num_rows)


def _fill_up(batch: Batch, num_rows: int) -> Batch:
    missing = num_rows - len(batch.label)
    blank = Batch(*(np.zeros((missing, *array.shape[1:]), array.dtype) for array in batch))
    blank.example[:] = PADDING
    return Batch(*map(np.concatenate, zip(batch, blank, strict=True)))
