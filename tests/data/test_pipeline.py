# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The stream of batches is a function of seed and step, whoever makes the batches."""

import dataclasses
import itertools
import multiprocessing
import threading
import time
from collections import Counter

import numpy as np
import pytest

from vidpretrain.data.batch import PADDING, Batch
from vidpretrain.data.digits import moving_digits
from vidpretrain.data.pipeline import BatchStream, eval_batches, train_batches
from vidpretrain.data.sampling import DenseWindow, Segments
from vidpretrain.data.transforms import Augmentation, Flip, ResizedCrop, ShiftedCrop, SpreadCrops

WORKERS = {"none": (0, 0), "thread": (0, 3), "process": (1, 2), "processes": (2, 4)}


@dataclasses.dataclass(frozen=True)
class Numbered:
    """Frames that show their example's and their own number, in two channels."""

    num_examples: int
    broken: int | None = None
    side: int = 2
    num_classes: int = 3
    flip_labels: tuple[int, ...] = (0, 1, 2)

    @property
    def class_names(self):
        return ("a", "b", "c")

    def __len__(self):
        return self.num_examples

    def num_frames(self, example):
        return 5 + example % 3

    def label(self, example):
        return example % 3

    def frames(self, example, indices):
        if example == self.broken:
            raise OSError(f"example {example} is broken")
        clip = np.zeros((len(indices), self.side, self.side, 2), np.uint8)
        clip[..., 0] = example
        clip[..., 1] = np.asarray(indices)[:, None, None]
        return clip


WINDOW = DenseWindow(3)
KEEP = Augmentation(ShiftedCrop(2))


def take(stream, count: int) -> list[Batch]:
    with stream:
        return list(itertools.islice(stream, count))


def assert_equal(one: list[Batch], other: list[Batch]) -> None:
    assert len(one) == len(other)
    for first, second in zip(one, other, strict=True):
        for field, array, expected in zip(Batch._fields, first, second, strict=True):
            np.testing.assert_array_equal(array, expected, err_msg=field)
            assert array.dtype == expected.dtype
            assert type(array) is np.ndarray


def digit_batches(*, seed: int = 3, count: int = 6, **options) -> list[Batch]:
    source = moving_digits("train", num_clips=40)
    augmentation = Augmentation(ResizedCrop(16), Flip(source.flip_labels))
    stream = train_batches(
        source, DenseWindow(4, 2), augmentation, batch_size=12, seed=seed, **options
    )
    return take(stream, count)


def test_shapes_and_types():
    batch = digit_batches()[0]
    assert batch.video.shape == (12, 4, 16, 16, 3)
    assert [array.dtype for array in batch] == [np.uint8, np.int32, np.bool_, np.int32]
    assert batch.mask.all()


@pytest.mark.parametrize("workers", WORKERS)
def test_the_stream_is_the_same_for_all_workers(workers):
    num_workers, read_ahead = WORKERS[workers]
    batches = digit_batches(num_workers=num_workers, read_ahead=read_ahead)
    assert_equal(batches, digit_batches(read_ahead=0))


@pytest.mark.parametrize(("workers", "start"), [("thread", 1), ("thread", 5), ("processes", 3)])
def test_a_resumed_stream_goes_on_where_it_was(workers, start):
    num_workers, read_ahead = WORKERS[workers]
    resumed = digit_batches(
        start_step=start, count=6 - start, num_workers=num_workers, read_ahead=read_ahead
    )
    assert_equal(resumed, digit_batches()[start:])


def test_seeds_differ_in_order_frames_and_crops():
    source = Numbered(30, side=4)
    one, other = (
        take(train_batches(source, WINDOW, Augmentation(ShiftedCrop(2)), batch_size=30, seed=s), 1)
        for s in (0, 1)
    )
    assert (one[0].example != other[0].example).any()
    starts = [batch.video[np.argsort(batch.example), 0, 0, 0, 1] for (batch,) in (one, other)]
    assert (starts[0] != starts[1]).any()


@pytest.mark.parametrize("batch_size", [1, 4, 7, 10, 25])
def test_every_example_comes_once_an_epoch(batch_size):
    num_examples, num_epochs = 10, 5
    stream = train_batches(Numbered(num_examples), WINDOW, KEEP, batch_size=batch_size, seed=0)
    batches = take(stream, -(-num_examples * num_epochs // batch_size))
    examples = np.concatenate([batch.example for batch in batches])[: num_examples * num_epochs]
    epochs = examples.reshape(num_epochs, num_examples)
    for epoch in epochs:
        assert sorted(epoch) == list(range(num_examples))
    assert len({tuple(epoch) for epoch in epochs}) == num_epochs


def test_rows_are_what_they_say_they_are():
    for batch in take(train_batches(Numbered(10), WINDOW, KEEP, batch_size=4, seed=0), 5):
        np.testing.assert_array_equal(batch.label, batch.example % 3)
        for row, example in enumerate(batch.example):
            assert (batch.video[row, ..., 0] == example).all()
            assert (np.diff(batch.video[row, :, 0, 0, 1].astype(int)) == 1).all()


def test_an_example_looks_different_in_every_epoch():
    stream = train_batches(Numbered(1, side=8), WINDOW, KEEP, batch_size=1, seed=0)
    assert len({batch.video.tobytes() for batch in take(stream, 20)}) > 1


@pytest.mark.parametrize(("batch_size", "repeats"), [(6, 3), (6, 2), (7, 3), (2, 3)])
def test_repeats_are_other_clips_of_the_same_examples(batch_size, repeats):
    num_examples = 10
    augmentation = Augmentation(ShiftedCrop(2), repeats=repeats)
    stream = train_batches(
        Numbered(num_examples, side=16), WINDOW, augmentation, batch_size=batch_size, seed=0
    )
    num_batches = -(-num_examples * repeats // batch_size)
    batches = take(stream, num_batches)
    examples = np.concatenate([batch.example for batch in batches])
    # All rows of an epoch, but for those of the last batch that belong to the next.
    last = num_batches * batch_size - num_examples * repeats
    counts = np.bincount(examples, minlength=num_examples)
    assert repeats <= counts.max() <= repeats + last
    assert counts.sum() == num_batches * batch_size
    if not last:
        assert set(counts) == {repeats}
    if not batch_size % repeats:
        for batch in batches:
            distinct = batch_size // repeats
            np.testing.assert_array_equal(batch.example, np.tile(batch.example[:distinct], repeats))


@pytest.mark.parametrize(("batch_size", "repeats"), [(2, 1), (4, 2), (6, 3), (12, 3), (40, 4)])
def test_copies_of_an_example_are_not_next_to_each_other(batch_size, repeats):
    """Clips are mixed with the one before them; of a batch's first that is the last."""
    augmentation = Augmentation(ShiftedCrop(2), repeats=repeats)
    stream = train_batches(
        Numbered(4 * batch_size), WINDOW, augmentation, batch_size=batch_size, seed=0
    )
    for batch in take(stream, 2 * repeats):
        assert (batch.example != np.roll(batch.example, 1)).all()


def test_repeats_differ_in_frames():
    augmentation = Augmentation(ShiftedCrop(2), repeats=8)
    stream = train_batches(Numbered(1, side=2), WINDOW, augmentation, batch_size=8, seed=0)
    (batch,) = take(stream, 1)
    assert len({clip.tobytes() for clip in batch.video}) == 3


@pytest.mark.parametrize("process_count", [2, 3, 6])
def test_processes_share_the_rows_of_every_batch(process_count):
    def rows(**share):
        return take(train_batches(Numbered(10), WINDOW, KEEP, batch_size=6, seed=0, **share), 4)

    shares = [rows(process_index=i, process_count=process_count) for i in range(process_count)]
    joined = [
        Batch(*(np.concatenate(arrays) for arrays in zip(*batches, strict=True)))
        for batches in zip(*shares, strict=True)
    ]
    assert_equal(joined, rows())


@pytest.mark.parametrize(
    ("workers", "batch_size", "process_count"),
    [("none", 1, 1), ("thread", 4, 2), ("none", 10, 1), ("thread", 12, 3), ("processes", 3, 1)],
)
def test_evaluation_counts_every_example_once(workers, batch_size, process_count):
    num_workers, read_ahead = WORKERS[workers]
    seen: Counter[int] = Counter()
    lengths = set()
    for index in range(process_count):
        stream = eval_batches(
            Numbered(10),
            WINDOW,
            SpreadCrops(2),
            batch_size=batch_size,
            num_workers=num_workers,
            read_ahead=read_ahead,
            process_index=index,
            process_count=process_count,
        )
        batches = list(stream)
        lengths.add(len(batches))
        for batch in batches:
            assert len(batch.video) == batch_size // process_count
            seen.update(batch.example[batch.mask].tolist())
            np.testing.assert_array_equal(batch.label[batch.mask], batch.example[batch.mask] % 3)
            assert (batch.example[~batch.mask] == PADDING).all()
            assert not batch.video[~batch.mask].any()
            assert not batch.label[~batch.mask].any()
    assert seen == dict.fromkeys(range(10), 1)
    assert lengths == {-(-10 // batch_size)}


def test_views_of_an_example_are_consecutive_rows():
    source = moving_digits("test", num_clips=5)
    sampling, crops = Segments(4, num_clips=2), SpreadCrops(20, num_crops=3)
    first, last = take(eval_batches(source, sampling, crops, batch_size=3), 9)
    assert first.video.shape == (3 * 6, 4, 20, 20, 3)
    assert first.example.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert last.mask.tolist() == [True] * 12 + [False] * 6
    clips = sampling.centred(24)
    expected = crops(source.frames(4, clips[1]))[2]
    np.testing.assert_array_equal(last.video[6 + 3 + 2], expected)
    assert last.label[6:12].tolist() == [source.label(4)] * 6


@dataclasses.dataclass
class Counting:
    """Batches that know how many were made."""

    made: int = 0

    def __len__(self):
        return 100

    def __getitem__(self, step):
        self.made += 1
        return Batch(*(np.full(1, step) for _ in Batch._fields)), ()


@pytest.mark.parametrize("read_ahead", [0, 1, 5])
def test_reading_ahead_has_a_bound(read_ahead):
    batches = Counting()
    with BatchStream(batches, start_step=0, num_workers=0, read_ahead=read_ahead) as stream:
        for step in range(20):
            assert next(stream).label == step
            assert batches.made <= step + 1 + read_ahead
            assert stream.step == step + 1


@pytest.mark.parametrize("workers", ["none", "thread", "processes"])
def test_an_error_reaches_who_asks_for_the_batch(workers):
    num_workers, read_ahead = WORKERS[workers]
    stream = eval_batches(
        Numbered(10, broken=5),
        WINDOW,
        SpreadCrops(2),
        batch_size=4,
        num_workers=num_workers,
        read_ahead=read_ahead,
    )
    with stream:
        assert next(stream).example.tolist() == [0, 1, 2, 3]
        with pytest.raises(OSError, match="example 5 is broken"):
            next(stream)


@pytest.mark.parametrize("workers", ["thread", "processes"])
def test_a_closed_stream_leaves_nothing_running(workers):
    num_workers, read_ahead = WORKERS[workers]
    before = set(threading.enumerate())
    stream = train_batches(
        Numbered(10),
        WINDOW,
        KEEP,
        batch_size=2,
        seed=0,
        num_workers=num_workers,
        read_ahead=read_ahead,
    )
    next(stream)
    stream.close()
    stream.close()
    assert not multiprocessing.active_children()
    deadline = time.monotonic() + 10
    while mine := [t for t in set(threading.enumerate()) - before if "grain" in t.name]:
        assert time.monotonic() < deadline, mine
        time.sleep(0.01)
    with pytest.raises(StopIteration):
        next(stream)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 6, "process_count": 4}, "multiple of the number of processes, 4"),
        ({"process_index": 2, "process_count": 2}, "process_index is 2 of process_count 2"),
        ({"start_step": -1}, "start_step, num_workers and read_ahead are -1, 0 and 4"),
        ({"num_workers": -1}, "none may be negative"),
        ({"source": Numbered(0)}, "The source has no example"),
    ],
)
def test_impossible_values_are_refused(options, message):
    source = options.pop("source", Numbered(10))
    with pytest.raises(ValueError, match=message):
        train_batches(source, WINDOW, KEEP, **{"batch_size": 4, "seed": 0, **options})
