# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The embedded digits: what they are, and that neither a frame nor a motion gives them away."""

import dataclasses
import itertools
import pickle

import numpy as np
import pytest
from scipy import stats
from sklearn.neighbors import KNeighborsClassifier

from vidpretrain.data.digits import (
    SPLIT_SHARES,
    Motion,
    Scene,
    moving_digits,
    split_digits,
    stills,
)

PLAIN = {"noise": 0.0, "texture": 0.0, "num_distractors": 0}


def ink(video: np.ndarray) -> np.ndarray:
    """How far each pixel is from the canvas's colour, on a plain scene, [T, H, W]."""
    canvas = np.median(video, axis=(0, 1, 2))
    return np.abs(video - canvas).sum(-1)


def centres(video: np.ndarray) -> np.ndarray:
    """The middle of the ink of each frame, (down, right), [T, 2]."""
    weight = ink(video)
    rows, columns = np.indices(weight.shape[1:])
    total = weight.sum((1, 2))
    return np.stack([(weight * axis).sum((1, 2)) / total for axis in (rows, columns)], -1)


def seen_motion(video: np.ndarray) -> Motion:
    """The motion as a person sees it: where what changes goes, most of the time."""
    still = np.median(video, axis=0)
    moved = np.maximum(np.abs(video - still).sum(-1) - 60, 0)
    rows, columns = np.indices(moved.shape[1:])
    total = moved.sum((1, 2)) + 1e-9
    places = np.stack([(moved * axis).sum((1, 2)) / total for axis in (rows, columns)], -1)
    down, right = np.median(np.diff(places, axis=0), axis=0)
    if abs(down) > abs(right):
        return Motion.DOWN if down > 0 else Motion.UP
    return Motion.RIGHT if right > 0 else Motion.LEFT


def test_all_1797_digits_are_there_and_splits_share_none():
    splits = [{image.tobytes() for image in split_digits(split)[0]} for split in SPLIT_SHARES]
    assert sum(map(len, splits)) == 1797
    for one, other in itertools.combinations(splits, 2):
        assert not one & other


@pytest.mark.parametrize("split", SPLIT_SHARES)
def test_splits_have_all_digits_in_proportion(split):
    images, digits = split_digits(split)
    of_class = sum(np.bincount(split_digits(other)[1]) for other in SPLIT_SHARES)
    assert images.shape == (len(digits), 8, 8)
    assert images.max() == 16
    sixths = np.bincount(digits) / of_class * 6
    np.testing.assert_allclose(sixths, SPLIT_SHARES[split], atol=0.1)


def test_shapes_and_names():
    still, moving = stills("test", canvas_px=24), moving_digits("test", canvas_px=24)
    assert still.frames(0, [0]).shape == (1, 24, 24, 3)
    assert moving.frames(0, [3, 5]).shape == (2, 24, 24, 3)
    assert moving.frames(0, [3, 5]).dtype == np.uint8
    assert (still.num_classes, moving.num_classes) == (10, 40)
    assert still.class_names[3] == "3"
    assert moving.class_names[13] == "3 right"
    assert (still.num_frames(0), moving.num_frames(0)) == (1, 24)
    assert len(moving) == 4 * len(still) == 4 * 296


def test_every_digit_comes_with_every_motion():
    source = moving_digits("validation")
    num_images = len(source.images)
    seen = {(i % num_images, source.label(i) % 4) for i in range(len(source))}
    assert len(seen) == len(source)


@pytest.mark.parametrize("num_clips", [200, 1204, 3000])
def test_the_first_clips_are_balanced_too(num_clips):
    source = moving_digits("train", num_clips=num_clips)
    labels = np.array([source.label(i) for i in range(num_clips)])
    np.testing.assert_allclose(np.bincount(labels % 4) / num_clips, 0.25, atol=0.01)
    np.testing.assert_allclose(np.bincount(labels // 4) / num_clips, 0.1, atol=0.05)
    # Digit and motion are independent: neither betrays the other.
    table = np.bincount(labels, minlength=40).reshape(10, 4)
    assert stats.chi2_contingency(table).pvalue > 0.01


def test_a_clip_is_a_function_of_seed_split_and_index():
    one, same = moving_digits("train", 1), pickle.loads(pickle.dumps(moving_digits("train", 1)))
    np.testing.assert_array_equal(one.frames(7, range(24)), same.frames(7, range(24)))
    assert (one.frames(7, [0]) != moving_digits("train", 2).frames(7, [0])).any()
    assert (one.frames(7, [0]) != one.frames(8, [0])).any()


def test_frames_do_not_depend_on_which_others_are_asked_for():
    source = moving_digits("train")
    whole = source.frames(5, range(24))
    np.testing.assert_array_equal(source.frames(5, [20, 3, 3]), whole[[20, 3, 3]])


def test_stills_and_moving_digits_look_alike():
    still, moving = stills("train", num_clips=300), moving_digits("train")
    images = np.concatenate([still.frames(i, [0]) for i in range(300)])
    frames = np.concatenate([moving.frames(i, [11]) for i in range(300)])
    assert stats.ks_2samp(images.mean((1, 2, 3)), frames.mean((1, 2, 3))).pvalue > 0.01
    assert stats.ks_2samp(images.std((1, 2, 3)), frames.std((1, 2, 3))).pvalue > 0.01


def test_the_digit_is_whole_in_every_frame_and_moves_as_its_class_says():
    source = moving_digits("train", **PLAIN)
    for example in range(40):
        video = source.frames(example, range(24))
        amount = ink(video).sum((1, 2))
        np.testing.assert_allclose(amount, amount[0], rtol=1e-6)
        steps = np.median(np.diff(centres(video), axis=0), axis=0)
        heading = source.motions[source.label(example) % 4].heading
        assert steps @ heading > 0.5
        assert abs(steps @ heading[::-1]) < 0.5


def test_the_first_frame_is_the_same_whatever_the_motion():
    source = moving_digits("train")
    one, *others = (
        dataclasses.replace(source, motions=(motion,)).frames(3, [0]) for motion in Motion
    )
    for other in others:
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("time", [1, 12, 23])
def test_places_are_distributed_alike_whatever_the_motion(time):
    source = moving_digits("train", **PLAIN)
    places = {
        motion: np.concatenate(
            [
                centres(dataclasses.replace(source, motions=(motion,)).frames(i, [time]))
                for i in range(400)
            ]
        )
        for motion in Motion
    }
    for one, other in itertools.combinations(Motion, 2):
        for axis in (0, 1):
            test = stats.ks_2samp(places[one][:, axis], places[other][:, axis])
            assert test.pvalue > 0.001


def test_one_frame_does_not_tell_the_motion():
    source = moving_digits("train", num_distractors=0, noise=0.0)
    clips = range(2400)
    motions = np.array([source.label(i) % 4 for i in clips])
    frames = np.stack([source.frames(i, [13])[0, ::2, ::2].mean(-1).ravel() for i in clips])
    frames = (frames - frames.mean(1, keepdims=True)) / frames.std(1, keepdims=True)
    probe = KNeighborsClassifier(9).fit(frames[:1600], motions[:1600])
    accuracy = probe.score(frames[1600:], motions[1600:])
    # Four standard deviations of a coin with four sides, thrown 800 times.
    assert abs(accuracy - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 800)


def test_a_clip_tells_the_motion():
    source = moving_digits("test")
    seen = [seen_motion(source.frames(i, range(0, 24, 2))) for i in range(200)]
    hits = [source.label(i) % 4 == motion for i, motion in enumerate(seen)]
    assert np.mean(hits) > 0.9


def test_mirror_images_have_the_label_of_what_they_show():
    source = moving_digits("test")
    names = source.class_names
    for label, mirrored in enumerate(source.flip_labels):
        swap = {"left": "right", "right": "left"}
        digit, motion = names[label].split()
        assert names[mirrored] == f"{digit} {swap.get(motion, motion)}"
    video = source.frames(0, range(0, 24, 2))
    assert seen_motion(video[:, :, ::-1]) == seen_motion(video).mirrored
    assert stills("test").flip_labels == tuple(range(10))
    assert moving_digits("test", tell_digits=False).flip_labels == (1, 0, 2, 3)


def test_digits_need_not_be_told_apart():
    both, motion = moving_digits("test"), moving_digits("test", tell_digits=False)
    assert motion.class_names == ("left", "right", "up", "down")
    assert motion.num_classes == 4
    assert [motion.label(i) for i in range(len(motion))] == [
        both.label(i) % 4 for i in range(len(both))
    ]
    np.testing.assert_array_equal(motion.frames(7, range(24)), both.frames(7, range(24)))
    with pytest.raises(ValueError, match="stills have no motion"):
        dataclasses.replace(stills("test"), tell_digits=False)


@pytest.mark.parametrize("example", [-1, 296 * 4])
def test_examples_that_do_not_exist_are_refused(example):
    with pytest.raises(IndexError, match=f"Example {example} of 1184"):
        moving_digits("test").frames(example, [0])


def test_frames_that_do_not_exist_are_refused():
    with pytest.raises(IndexError, match=r"Frames \[0, 24\] asked of a clip of 24"):
        moving_digits("test").frames(0, [0, 24])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"canvas_px": 4}, "canvas_px is 4"),
        ({"digit_scale": (0.5, 1.5)}, "digit_scale is"),
        ({"digit_scale": (0.6, 0.5)}, "digit_scale is"),
        ({"speed": (-0.1, 0.1)}, "speed is"),
        ({"noise": -1.0}, "noise is -1"),
        ({"num_clips": 0}, "num_clips is 0"),
        ({"clip_frames": 0}, "clip_frames is 0"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        moving_digits("test", **options)


def test_unknown_splits_are_refused():
    with pytest.raises(ValueError, match=r"Split 'dev' .* allowed: train, validation, test"):
        stills("dev")


def test_the_whole_canvas_may_be_digit():
    scene = Scene(canvas_px=16, digit_scale=(1.0, 1.0))
    assert dataclasses.replace(moving_digits("test"), scene=scene).frames(0, [5]).std() > 0
