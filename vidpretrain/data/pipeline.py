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

An example that cannot be used (`BadInput`) is replaced in training by another one, always the
same. Tests never replace: its rows are masked, and so missing from what was evaluated. Either way
the stream's log has it.
"""

from __future__ import annotations

import dataclasses
import functools
import sys

import numpy as np

from vidpretrain.data.bad_input import BadInput
from vidpretrain.data.bad_log import BadInputLog, Incident, TooManyBadInputsError, incident
from vidpretrain.data.batch import PADDING, Batch
from vidpretrain.data.read_ahead import WORKER_LIMIT_SEC, BatchStream
from vidpretrain.data.sampling import Sampling
from vidpretrain.data.source import Source
from vidpretrain.data.streams import generator
from vidpretrain.data.transforms import Augmentation, FixedCrops

_MOST_SUBSTITUTES = 20
# A clip uint8 `[T, H, W, C]`, its label, and the example that it shows.
_Row = tuple[np.ndarray, int, int]


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

    def __getitem__(self, step: int) -> tuple[Batch, tuple[Incident, ...]]:
        """Return this process's rows of batch `step`, and the bad inputs that were replaced."""
        rows, incidents = [], []
        for position in self._positions(step):
            row, bad = self._row(step, position)
            rows.append(row)
            incidents += bad
        clips, labels, examples = zip(*rows, strict=True)
        batch = Batch(
            video=np.stack(clips),
            label=np.array(labels, np.int32),
            mask=np.ones(len(rows), bool),
            example=np.array(examples, np.int32),
        )
        return batch, tuple(incidents)

    def _row(self, step: int, position: int) -> tuple[_Row, list[Incident]]:
        """Return the clip at a position of the stream, or that of another example for it.

        Who replaces an example is drawn from the seed and the example alone, so it is the same in
        every epoch, and on any number of workers.
        """
        turn, copy = divmod(position, self.augmentation.repeats)
        epoch, place = divmod(turn, len(self.source))
        example = int(epoch_order(self.seed, epoch, len(self.source))[place])
        rng = generator("augmentation", self.seed, epoch, example, copy)
        try:
            return self._augmented(example, rng), []
        except BadInput as error:
            bad = [(error, example)]
        substitutes = generator("replacement", self.seed, example)
        for attempt in range(_MOST_SUBSTITUTES):
            substitute = int(substitutes.integers(len(self.source)))
            rng = generator("replaced augmentation", self.seed, epoch, example, copy, attempt)
            try:
                row = self._augmented(substitute, rng)
            except BadInput as error:
                bad.append((error, substitute))
                continue
            return row, [
                incident(error, step=step, example=which, replacement=substitute)
                for error, which in bad
            ]
        raise TooManyBadInputsError(
            f"{len(bad)} inputs in a row are bad, such as {bad[0][0]}. Is the root right? "
            "`python -m vidpretrain.data check` looks at all files."
        )

    def _augmented(self, example: int, rng: np.random.Generator) -> _Row:
        indices = self.sampling.draw(self.source.num_frames(example), rng)
        clip, label = self.augmentation(
            _read(self.source, example, indices), self.source.label(example), rng
        )
        return clip, label, example

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

    def __getitem__(self, step: int) -> tuple[Batch, tuple[Incident, ...]]:
        """Return this process's rows of batch `step`, and the bad inputs that were left out."""
        examples = self.share.positions(step)
        num_rows, size = len(examples) * self.num_views, self.crops.size_px
        batch = Batch(
            video=np.zeros((num_rows, self.sampling.frames, size, size, self._channels), np.uint8),
            label=np.zeros(num_rows, np.int32),
            mask=np.zeros(num_rows, bool),
            example=np.full(num_rows, PADDING, np.int32),
        )
        incidents = []
        for place, example in enumerate(examples):
            if example >= len(self.source):
                break
            rows = slice(place * self.num_views, (place + 1) * self.num_views)
            try:
                clips = _read(
                    self.source, example, self.sampling.centred(self.source.num_frames(example))
                )
            except BadInput as bad:
                incidents.append(incident(bad, step=step, example=example, replacement=None))
                continue
            batch.video[rows] = np.concatenate([self.crops(clip) for clip in clips])
            batch.label[rows] = self.source.label(example)
            batch.mask[rows] = True
            batch.example[rows] = example
        return batch, tuple(incidents)

    @functools.cached_property
    def _channels(self) -> int:
        # Of the first example that can be used; where all are bad, of none.
        for example in range(len(self.source)):
            try:
                return self.source.frames(example, [0]).shape[-1]
            except BadInput:
                continue
        return 3


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
    worker_limit_sec: float = WORKER_LIMIT_SEC,
    log: BadInputLog | None = None,
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
        worker_limit_sec: A worker process that makes no batch in this time is replaced.
        log: Takes the bad inputs; None for a log in memory that bears any number. The stream has
            it as `stream.log`.
        process_index: This process among those that train together.
        process_count: How many train together. Each gets `batch_size / process_count` rows of
            every batch.

    Returns:
        A stream of batches with `batch_size / process_count` rows.

    Raises:
        ValueError: A value is impossible, or the source is empty.
        TooManyBadInputsError: While streaming: more inputs are bad than the log bears, or 21 in a
            row.
        WorkerError: While streaming: worker processes die again and again.
    """
    _check_not_empty(source)
    batches = TrainBatches(
        source, sampling, augmentation, _Share(batch_size, process_index, process_count), seed
    )
    return BatchStream(
        batches,
        start_step=start_step,
        num_workers=num_workers,
        read_ahead=read_ahead,
        log=log,
        worker_limit_sec=worker_limit_sec,
    )


def eval_batches(
    source: Source,
    sampling: Sampling,
    crops: FixedCrops,
    *,
    batch_size: int,
    num_workers: int = 0,
    read_ahead: int = 4,
    worker_limit_sec: float = WORKER_LIMIT_SEC,
    log: BadInputLog | None = None,
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
        worker_limit_sec: A worker process that makes no batch in this time is replaced.
        log: Takes the bad inputs; None for a log in memory that bears any number. The stream has
            it as `stream.log`.
        process_index: This process among those that evaluate together.
        process_count: How many evaluate together.

    Returns:
        A stream of batches with `batch_size / process_count * num_clips * num_crops` rows, the
        same number of batches for every process. Rows beyond the last example are masked, as are
        those of examples that cannot be used; `stream.log` has these.

    Raises:
        ValueError: A value is impossible, or the source is empty.
    """
    _check_not_empty(source)
    batches = EvalBatches(source, sampling, crops, _Share(batch_size, process_index, process_count))
    return BatchStream(
        batches,
        start_step=0,
        num_workers=num_workers,
        read_ahead=read_ahead,
        log=log,
        worker_limit_sec=worker_limit_sec,
    )


def _check_not_empty(source: Source) -> None:
    if not len(source):
        raise ValueError("The source has no example, so there is no batch to make.")


def _read(source: Source, example: int, indices: np.ndarray) -> np.ndarray:
    """Return frames in the shape of their indices, each decoded only once."""
    wanted, places = np.unique(indices, return_inverse=True)
    if len(wanted) == indices.size and indices.ndim == 1:
        return source.frames(example, indices)
    return source.frames(example, wanted)[places.reshape(indices.shape)]
