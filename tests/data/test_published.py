# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for data sets that are elsewhere."""

import numpy as np
import pytest

from vidpretrain import data

MISSING = {"train": "/nowhere/train.csv", "test": "/nowhere/test.csv", "root": "/nowhere"}


def stand_in(split="train", **options):
    options = {"published": "kinetics400", **MISSING, **options}
    return data.make_source("videos", split=split, stand_in=True, **options)


def test_it_is_as_large_as_published():
    source = stand_in()
    assert (len(source), len(stand_in("test")), source.num_classes) == (240_436, 19_796, 400)
    assert {source.label(example) for example in range(800)} == set(range(400))
    frames = source.frames(3, [0, 299])
    assert (frames.shape, frames.dtype) == ((2, 256, 340, 3), np.uint8)
    assert "/nowhere/train.csv" in data.find_stand_in(source).missing


def test_it_is_found_beneath_what_is_made_of_it():
    """Of 94 frames, two are 60 apart."""
    images = stand_in(published="hmdb51", stills_every=60)
    assert len(images) == 3_570 * 2
    assert data.find_stand_in(images).name == "hmdb51"
    flow = stand_in(modality="flow", stack=5)
    assert data.find_stand_in(flow).name == "kinetics400"
    assert data.find_stand_in(data.make_source("stills", split="train", num_clips=10)) is None


def test_nothing_stands_in_unless_both_ask_for_it():
    for options in ({"stand_in": False, "published": "ucf101"}, {"stand_in": True}):
        with pytest.raises(ValueError, match=r"/nowhere/train\.csv"):
            data.make_source("videos", split="train", **MISSING, **options)


def test_wrong_options_are_no_missing_data():
    with pytest.raises(ValueError, match=r"source\.rot"):
        stand_in(rot="x")
    with pytest.raises(ValueError, match="did you mean 'kinetics400'"):
        stand_in(published="kinetics40")
