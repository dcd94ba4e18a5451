# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Batches on their way to the devices: order, errors, and that the way overlaps the step."""

import itertools
import threading
import time

import numpy as np
import pytest

from vidpretrain import parallel
from vidpretrain.data.batch import Batch
from vidpretrain.train.feed import Feed


def batches(limit=None):
    for number in itertools.count() if limit is None else range(limit):
        yield Batch(
            video=np.full((2, 1, 1, 1, 3), number, np.uint8),
            label=np.full(2, number, np.int32),
            mask=np.ones(2, bool),
            example=np.arange(2),
        )


MESH_OF_ONE = parallel.make_mesh(data=1)


def test_batches_come_in_order_and_the_thread_ends():
    with Feed(batches(), MESH_OF_ONE) as feed:
        labels = [int(feed.next(lambda: False)["label"][0]) for _ in range(5)]
    assert labels == [0, 1, 2, 3, 4]
    assert not any(thread.name == "feed" for thread in threading.enumerate())


def test_an_error_of_the_reader_is_raised_where_the_batch_is_asked_for():
    def broken():
        yield from batches(1)
        raise OSError("the disk is gone")

    with Feed(broken(), MESH_OF_ONE) as feed:
        feed.next(lambda: False)
        with pytest.raises(OSError, match="the disk is gone"):
            feed.next(lambda: False)


def test_waiting_for_data_can_be_given_up():
    hold = threading.Event()

    def slow():
        hold.wait()
        yield from batches(1)

    with Feed(slow(), MESH_OF_ONE) as feed:
        assert feed.next(lambda: True) is None
        hold.set()
        assert feed.next(lambda: False) is not None


def test_a_filler_has_the_shape_of_a_batch_and_takes_none():
    with Feed(batches(), MESH_OF_ONE) as feed:
        first = feed.next(lambda: False)
        filler = feed.filler()
        assert int(feed.next(lambda: False)["label"][0]) == 1
    assert {k: (v.shape, v.dtype) for k, v in filler.items()} == {
        k: (v.shape, v.dtype) for k, v in first.items()
    }
    assert not np.any(filler["video"])


@pytest.mark.parametrize("ahead", [1, 2])
def test_batches_are_moved_while_a_step_runs_and_no_more_than_there_is_room(monkeypatch, ahead):
    """While a step has batch n, n + 1 to n + ahead go to the devices unasked, and no other."""
    moved = []

    def put(arrays, mesh, put_batch=parallel.put_batch):
        moved.append(int(arrays["label"][0]))
        return put_batch(arrays, mesh)

    monkeypatch.setattr(parallel, "put_batch", put)
    with Feed(batches(), MESH_OF_ONE, ahead=ahead) as feed:
        for number in range(3):
            assert int(feed.next(lambda: False)["label"][0]) == number
            # Here the step would run: the thread goes on without being called.
            deadline = time.monotonic() + 10
            while len(moved) < number + 1 + ahead and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(0.1)
            assert moved == list(range(number + 1 + ahead))
