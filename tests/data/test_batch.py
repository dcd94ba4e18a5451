# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Batches cut anew: every row once, in order, and only the last batch filled up."""

import numpy as np
import pytest

from vidpretrain.data.batch import PADDING, Batch, regroup


def batch(rows):
    n = len(rows)
    return Batch(
        video=np.repeat(np.uint8(rows), 2).reshape(n, 1, 1, 1, 2),
        label=np.int32(rows) + 1,
        mask=np.ones(n, bool),
        example=np.int32(rows),
    )


@pytest.mark.parametrize(
    ("sizes", "num_rows", "expected"),
    [
        ((6,), 2, [[0, 1], [2, 3], [4, 5]]),
        ((6,), 4, [[0, 1, 2, 3], [4, 5, -1, -1]]),
        ((2, 2, 1), 4, [[0, 1, 2, 3], [4, -1, -1, -1]]),
        ((1, 5), 3, [[0, 1, 2], [3, 4, 5]]),
        ((3,), 8, [[0, 1, 2, -1, -1, -1, -1, -1]]),
        ((), 3, []),
    ],
)
def test_rows_are_cut_anew(sizes, num_rows, expected):
    ends = np.cumsum(sizes, dtype=int)
    given = [batch(list(range(end - size, end))) for size, end in zip(sizes, ends, strict=True)]
    got = list(regroup(given, num_rows))
    assert [b.example.tolist() for b in got] == expected
    for cut in got:
        real = cut.example != PADDING
        np.testing.assert_array_equal(cut.mask, real)
        np.testing.assert_array_equal(cut.label[real], cut.example[real] + 1)
        assert not cut.video[~real].any()
        assert cut.video.shape == (num_rows, 1, 1, 1, 2)
        np.testing.assert_array_equal(cut.video[real, 0, 0, 0, 1], cut.example[real])
        assert [a.dtype for a in cut] == [np.uint8, np.int32, np.bool_, np.int32]
