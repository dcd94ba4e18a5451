# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""From a source to a stream of batches, read ahead by threads or processes.

Batch `k` is a pure function of the seed and `k`: `TrainBatches(...)[k]` and `EvalBatches(...)[k]`
make it from nothing else. So the state of the stream is one number, the step, and the stream is
the same for every number of workers, on every machine, after every restart. Grain reads ahead,
in order; its own iterator state, which is tied to the number of workers, is never needed.

Training goes through the examples in a new random order each epoch. Epochs follow each other
without a gap: where one ends in the middle of a batch, the next begins there, so every example
comes exactly once per epoch whatever the batch size.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
import sys
from collections.abc import Iterator
from typing import Protocol

import cv2
import grain
import numpy as np
from absl import flags

from vidpretrain.data.batch import PADDING, Batch
from vidpretrain.data.sampling import Sampling
from vidpretrain.data.source import Source
from vidpretrain.data.streams import generator
from vidpretrain.data.transforms import Augmentation, FixedCrops


class Batches(Protocol):
    """Batches by random access."""

    def __len__(self) -> int: ...

    def __getitem__(self, step: int) -> Batch: ...


@functools.lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """Return the order in which an epoch goes through the examples, int64 `[num_examples]`."""
    return generator("epoch order", seed, epoch).permutation(num_examples)


@dataclasses.dataclass(frozen=True)
class _Share:
    """Which rows of every batch a process makes.

    Attributes:
        batch_size: Examples of a batch, over all processes.
        process_index: This process, from 0.
        process_count: Number of processes.
    """

    batch_size: int
    process_index: int
    process_count: int

    def __post_init__(self) -> None:
        if self.process_count < 1 or not 0 <= self.process_index < self.process_count:
            raise ValueError(
                f"process_index is {self.process_index} of process_count {self.process_count}; "
                "it must be from 0 to one less than the count."
            )
        if self.batch_size < 1 or self.batch_size % self.process_count:
            raise ValueError(
                f"batch_size is {self.batch_size}; it must be a positive multiple of the number "
                f"of processes, {self.process_count}."
            )

    def positions(self, step: int) -> range:
        """Return the positions of the process's rows in the whole stream of examples."""
        rows = self.batch_size // self.process_count
        start = step * self.batch_size + self.process_index * rows
        return range(start, start + rows)


@dataclasses.dataclass(frozen=True)
class TrainBatches:
    """Endless training batches, one random clip an example.

    Attributes:
        source: Where the examples come from.
        sampling: Chooses frames.
        augmentation: Crops, flips and repaints; with `repeats`, `R` clips of each example.
        share: Which rows are made here.
        seed: Seed of order, frames, crops and flips.

    Note:
        With `R` repeats, clip `n` of the stream is copy `n % R` of the example in place `n // R`.
        The rows of a batch are sorted by copy, so that copies of an example are far apart: on
        other devices, and mixed with others. DeiT and timm begin a new order of the examples
        after `N` clips of `N` examples; here an order is gone through to its end, `R N` clips.
    """

    source: Source
    sampling: Sampling
    augmentation: Augmentation
    share: _Share
    seed: int

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, step: int) -> Batch:
        """Return this process's rows of batch `step`."""
        clips, labels, examples = [], [], []
        for position in self._positions(step):
            turn, copy = divmod(position, self.augmentation.repeats)
            epoch, place = divmod(turn, len(self.source))
            example = int(epoch_order(self.seed, epoch, len(self.source))[place])
            rng = generator("augmentation", self.seed, epoch, example, copy)
            indices = self.sampling.draw(self.source.num_frames(example), rng)
            clip, label = self.augmentation(
                _read(self.source, example, indices), self.source.label(example), rng
            )
            clips.append(clip)
            labels.append(label)
            examples.append(example)
        return Batch(
            video=np.stack(clips),
            label=np.array(labels, np.int32),
            mask=np.ones(len(clips), bool),
            example=np.array(examples, np.int32),
        )

    def _positions(self, step: int) -> list[int]:
        """Return the positions of this process's rows in the stream of clips."""
        batch_size = self.share.batch_size
        whole = np.arange(step * batch_size, (step + 1) * batch_size)
        by_copy = whole[np.argsort(whole % self.augmentation.repeats, kind="stable")]
        return [int(by_copy[row - whole[0]]) for row in self.share.positions(step)]


@dataclasses.dataclass(frozen=True)
class EvalBatches:
    """Every example once, in order, with all its views; the last batches filled up with zeros.

    Every process has the same number of batches, of the same shape.

    Attributes:
        source: Where the examples come from.
        sampling: Chooses frames.
        crops: Cuts squares.
        share: Which examples are made here.
    """

    source: Source
    sampling: Sampling
    crops: FixedCrops
    share: _Share

    @property
    def num_views(self) -> int:
        """Return the number of rows of an example."""
        return self.sampling.num_clips * self.crops.num_crops

    def __len__(self) -> int:
        return -(-len(self.source) // self.share.batch_size)

    def __getitem__(self, step: int) -> Batch:
        """Return this process's rows of batch `step`."""
        examples = self.share.positions(step)
        num_rows, size = len(examples) * self.num_views, self.crops.size_px
        channels = self._channels
        batch = Batch(
            video=np.zeros((num_rows, self.sampling.frames, size, size, channels), np.uint8),
            label=np.zeros(num_rows, np.int32),
            mask=np.zeros(num_rows, bool),
            example=np.full(num_rows, PADDING, np.int32),
        )
        for place, example in enumerate(examples):
            if example >= len(self.source):
                break
            rows = slice(place * self.num_views, (place + 1) * self.num_views)
            clips = _read(
                self.source, example, self.sampling.centred(self.source.num_frames(example))
            )
            batch.video[rows] = np.concatenate([self.crops(clip) for clip in clips])
            batch.label[rows] = self.source.label(example)
            batch.mask[rows] = True
            batch.example[rows] = example
        return batch

    @functools.cached_property
    def _channels(self) -> int:
        return self.source.frames(0, [0]).shape[-1]


class BatchStream:
    """Batches in order, made ahead of time.

    Close a stream that is not read to its end, or use it in a `with` statement.

    Attributes:
        step: Number of the next batch.
    """

    def __init__(
        self, batches: Batches, *, start_step: int, num_workers: int, read_ahead: int
    ) -> None:
        """Start to make batches.

        Args:
            batches: What to stream.
            start_step: Number of the first batch.
            num_workers: Processes that make batches; 0 has a thread of this process make them.
            read_ahead: Batches that are ready or in work before they are asked for; 0, only
                without worker processes, makes each when it is asked for. Worker processes keep
                at least one each, and pass it through shared memory.
        """
        if start_step < 0 or num_workers < 0 or read_ahead < 0:
            raise ValueError(
                f"start_step, num_workers and read_ahead are {start_step}, {num_workers} and "
                f"{read_ahead}; none may be negative."
            )
        self.step = start_step
        self._shared = num_workers > 0
        self._iterator: Iterator[Batch] = _read_ahead(batches, start_step, num_workers, read_ahead)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        try:
            batch = next(self._iterator)
        except StopIteration:
            self.close()
            raise
        self.step += 1
        # Worker processes send arrays in shared memory. Who keeps a batch must not keep that.
        return Batch(*map(np.array, batch)) if self._shared else batch

    def __enter__(self) -> BatchStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop threads and processes. Afterwards the stream is at its end."""
        if isinstance(self._iterator, grain.DatasetIterator):
            self._iterator.close()
        self._iterator = iter(())
        if self._shared:
            # Grain's iterators leave their last batches in reference cycles. Python would find
            # the shared memory unreleased when it exits, and complain.
            gc.collect()


def train_batches(
    source: Source,
    sampling: Sampling,
    augmentation: Augmentation,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    num_workers: int = 0,
    read_ahead: int = 4,
    process_index: int = 0,
    process_count: int = 1,
) -> BatchStream:
    """Stream endless training batches.

    Args:
        source: Where the examples come from.
        sampling: Chooses frames.
        augmentation: Crops and flips.
        batch_size: Examples of a batch, over all processes.
        seed: Seed of order, frames, crops and flips.
        start_step: Number of the first batch; a run that is resumed at a step gets the batches
            that the uninterrupted run would have got.
        num_workers: Worker processes; 0 has a thread of this process make the batches.
        read_ahead: Batches made before they are asked for.
        process_index: This process among those that train together.
        process_count: How many train together. Each gets `batch_size / process_count` rows of
            every batch.

    Returns:
        A stream of batches with `batch_size / process_count` rows.

    Raises:
        ValueError: A value is impossible, or the source is empty.
    """
    _check_not_empty(source)
    batches = TrainBatches(
        source, sampling, augmentation, _Share(batch_size, process_index, process_count), seed
    )
    return BatchStream(
        batches, start_step=start_step, num_workers=num_workers, read_ahead=read_ahead
    )


def eval_batches(
    source: Source,
    sampling: Sampling,
    crops: FixedCrops,
    *,
    batch_size: int,
    num_workers: int = 0,
    read_ahead: int = 4,
    process_index: int = 0,
    process_count: int = 1,
) -> BatchStream:
    """Stream every example of a source once, with all its views.

    Args:
        source: Where the examples come from.
        sampling: Chooses frames; gives `num_clips` clips of an example.
        crops: Cuts `num_crops` squares of a clip.
        batch_size: Examples, not rows, of a batch, over all processes.
        num_workers: Worker processes; 0 has a thread of this process make the batches.
        read_ahead: Batches made before they are asked for.
        process_index: This process among those that evaluate together.
        process_count: How many evaluate together.

    Returns:
        A stream of batches with `batch_size / process_count * num_clips * num_crops` rows, the
        same number of batches for every process. Rows beyond the last example are masked.

    Raises:
        ValueError: A value is impossible, or the source is empty.
    """
    _check_not_empty(source)
    batches = EvalBatches(source, sampling, crops, _Share(batch_size, process_index, process_count))
    return BatchStream(batches, start_step=0, num_workers=num_workers, read_ahead=read_ahead)


def _check_not_empty(source: Source) -> None:
    if not len(source):
        raise ValueError("The source has no example, so there is no batch to make.")


def _read(source: Source, example: int, indices: np.ndarray) -> np.ndarray:
    """Return frames in the shape of their indices, each decoded only once."""
    wanted, places = np.unique(indices, return_inverse=True)
    if len(wanted) == indices.size and indices.ndim == 1:
        return source.frames(example, indices)
    return source.frames(example, wanted)[places.reshape(indices.shape)]


def _read_ahead(
    batches: Batches, start_step: int, num_workers: int, read_ahead: int
) -> grain.DatasetIterator[Batch]:
    remaining = grain.MapDataset.source(batches)[start_step:]
    if num_workers == 0:
        threads = min(1, read_ahead)
        stream = remaining.to_iter_dataset(grain.ReadOptions(threads, read_ahead))
    else:
        # Grain reads its debugging flags when it starts processes. Programs parse flags in
        # main(); a notebook or a test never does.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        stream = remaining.to_iter_dataset(grain.ReadOptions(0, 0)).mp_prefetch(
            grain.MultiprocessingOptions(num_workers, max(1, read_ahead // num_workers)),
            worker_init_fn=_start_worker,
        )
    iterator = iter(stream)
    iterator.start_prefetch()
    return iterator


def _start_worker(worker_index: int, worker_count: int) -> None:
    # Workers are as many as there are cores to use; threads within them only get in the way.
    cv2.setNumThreads(0)
