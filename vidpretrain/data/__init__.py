# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""From files to batches: sources, frame sampling, crops, and the stream of batches.

A *source* gives labelled clips by random access, a *sampling* chooses frames, an *augmentation*
or *crops* cut them, and a stream reads ahead:

    source = make_source("moving_digits", split="train", seed=0)
    views = make_views(source, frames=8, stride=2, crop="shifted", size_px=32)
    with train_batches(
        source, views.sampling, views.augmentation, batch_size=64, seed=0
    ) as batches:
        batch = next(batches)
"""

from vidpretrain.data.bad_input import BadInput, Fault
from vidpretrain.data.bad_log import BadInputLog, TooManyBadInputsError, open_log
from vidpretrain.data.batch import PADDING, Batch, regroup
from vidpretrain.data.catalog import make_source, source_names
from vidpretrain.data.manifest import run_manifest
from vidpretrain.data.pipeline import BatchStream, eval_batches, train_batches
from vidpretrain.data.published import find_stand_in
from vidpretrain.data.read_ahead import WorkerError
from vidpretrain.data.source import Source, modality_of, name_of
from vidpretrain.data.streams import derive_seed
from vidpretrain.data.views import Views, make_views

__all__ = [
    "PADDING",
    "BadInput",
    "BadInputLog",
    "Batch",
    "BatchStream",
    "Fault",
    "Source",
    "TooManyBadInputsError",
    "Views",
    "WorkerError",
    "derive_seed",
    "eval_batches",
    "find_stand_in",
    "make_source",
    "make_views",
    "modality_of",
    "name_of",
    "open_log",
    "regroup",
    "run_manifest",
    "source_names",
    "train_batches",
]
