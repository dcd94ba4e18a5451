# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Mixup, cutmix and erasing against a pixel-by-pixel version, and how they are drawn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.reference import mixing as reference
from vidpretrain.train import mixing
from vidpretrain.train.mixing import Augment, Box, Erase, Mix, Mixture

RNG = np.random.default_rng(0)
CLIPS = RNG.normal(size=(5, 3, 9, 12, 2)).astype(np.float32)
LABEL = np.array([0, 3, 3, 1, 2], np.int32)
TARGET = np.eye(4, dtype=np.float32)[LABEL]
BEFORE = [4, 0, 1, 2, 3]
mix = jax.jit(mixing.mix)
# Shares, kinds and centres of five mixtures: a corner, nothing, everything, a blend, the middle.
OWN = [0.6, 1.0, 0.0, 0.3, 0.75]
CUT = [True, True, True, False, True]
CENTRES = [(0, 11), (4, 4), (3, 7), (8, 0), (4, 6)]


def mixture(own, cut, centres):
    rows, columns = zip(*centres, strict=True)
    return Mixture(jnp.asarray(own), jnp.asarray(cut), jnp.asarray(rows), jnp.asarray(columns))


def test_mixtures_of_each_clip_against_the_reference():
    clips, target = mix(CLIPS, TARGET, mixture(OWN, CUT, CENTRES))
    expected, expected_target = reference.mixed(CLIPS, TARGET, BEFORE, OWN, CUT, CENTRES)
    np.testing.assert_allclose(clips, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(target, expected_target, rtol=1e-6)
    np.testing.assert_allclose(target.sum(axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("place", range(5))
def test_one_mixture_for_the_whole_batch_against_the_reference(place):
    one = [[values[place]] for values in (OWN, CUT, CENTRES)]
    clips, target = mix(CLIPS, TARGET, mixture(*one))
    expected = reference.mixed(CLIPS, TARGET, BEFORE, *(values * 5 for values in one))
    np.testing.assert_allclose(clips, expected[0], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(target, expected[1], rtol=1e-6)


def test_a_clip_that_is_all_its_own_is_not_touched():
    clips, target = mix(CLIPS, TARGET, mixture([1.0], [False], [(0, 0)]))
    np.testing.assert_array_equal(clips, CLIPS)
    np.testing.assert_array_equal(target, TARGET)


def test_half_precision_clips_are_mixed_in_float32_and_their_targets_exactly():
    halves = jnp.asarray(CLIPS, jnp.bfloat16)
    clips, target = mix(halves, TARGET, mixture(OWN, CUT, CENTRES))
    assert (clips.dtype, target.dtype) == (jnp.bfloat16, jnp.float32)
    whole, same = mix(halves.astype(jnp.float32), TARGET, mixture(OWN, CUT, CENTRES))
    np.testing.assert_array_equal(clips, whole.astype(jnp.bfloat16))
    np.testing.assert_array_equal(target, same)


def drawn(options, batch_size=4000, height=20, width=30):
    found = Mix(**options).draw(jax.random.key(0), batch_size, height, width)
    return Mixture(*map(np.asarray, found))


@pytest.mark.parametrize(("kind", "alpha"), [("mixup", 0.1), ("cutmix", 1.0)])
def test_shares_are_beta_distributed(kind, alpha):
    """Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1))."""
    found = drawn({kind: alpha, "per": "clip"})
    assert (found.cut == (kind == "cutmix")).all()
    assert np.isfinite(found.own).all()
    assert found.own.min() >= 0
    assert found.own.max() <= 1
    assert abs(found.own.mean() - 0.5) < 0.03
    assert abs(found.own.var() - 1 / (4 * (2 * alpha + 1))) < 0.01
    assert len(set(found.row)) == 20
    assert len(set(found.column)) == 30


def test_probabilities_of_mixing_and_of_cutmix():
    found = drawn({"mixup": 1.0, "cutmix": 1.0, "prob": 0.6, "switch_prob": 0.25, "per": "clip"})
    assert abs((found.own < 1).mean() - 0.6) < 0.03
    assert abs(found.cut.mean() - 0.25) < 0.03
    # Each share is of its own kind's distribution: Beta(5, 5) has variance 1 / 44, not 1 / 12.
    found = drawn({"mixup": 5.0, "cutmix": 1.0, "per": "clip"})
    assert abs(found.own[found.cut].var() - 1 / 12) < 0.01
    assert abs(found.own[~found.cut].var() - 1 / 44) < 0.01


def test_switching_needs_both_kinds():
    assert not drawn({"mixup": 0.2, "switch_prob": 1.0, "per": "clip"}).cut.any()
    assert drawn({"cutmix": 0.2, "switch_prob": 0.0, "per": "clip"}).cut.all()


def test_a_batch_is_drawn_for_at_once():
    assert [part.shape for part in drawn({"cutmix": 1.0})] == [(1,)] * 4


def test_targets_follow_the_pixels():
    """The target's share is the mean of the pixels that are a clip's own, whatever is drawn."""
    clips = np.zeros((32, 1, 21, 18, 1), np.float32)
    clips[::2] = 1.0
    augment = Augment(2, Mix(mixup=1.0, cutmix=1.0, per="clip"))
    mixed, target = jax.jit(augment)(jax.random.key(0), clips, np.arange(32) % 2)
    np.testing.assert_allclose(mixed.mean(axis=(1, 2, 3, 4)), target[:, 0], atol=1e-5)
    assert len(np.unique(target[:, 0])) > 20


@pytest.mark.parametrize("fill", ["mean", "noise"])
def test_erasing_against_the_reference(fill):
    erase = Erase(prob=0.7, fill=fill)
    key = jax.random.key(3)
    found = np.asarray(erase(key, jnp.asarray(CLIPS)))
    box_key, fill_key = jax.random.split(key)
    boxes = [tuple(map(int, box)) for box in zip(*erase.draw(box_key, 5, 9, 12), strict=True)]
    assert 0 < sum(bottom > top for top, bottom, _, _ in boxes) < 5
    filling = np.zeros((5, 9, 12, 2), np.float32)
    if fill == "noise":
        filling = np.asarray(jax.random.normal(fill_key, (5, 1, 9, 12, 2)))[:, 0]
    np.testing.assert_array_equal(found, reference.erased(CLIPS, boxes, filling))


def boxes_of(erase, height, width, batch_size=4000):
    return Box(*map(np.asarray, erase.draw(jax.random.key(1), batch_size, height, width)))


def test_erased_boxes_are_drawn_as_told():
    """A share of U(0.02, 0.2) has mean 0.11; log aspect of U(-log 3, log 3) has mean 0."""
    box = boxes_of(Erase(prob=0.4, area=(0.02, 0.2), aspect=(1 / 3, 3.0)), 200, 300)
    erased = box.area > 0
    assert abs(erased.mean() - 0.4) < 0.03
    share = box.area[erased] / (200 * 300)
    assert 0.019 < share.min() < 0.022
    assert 0.195 < share.max() < 0.201
    assert abs(share.mean() - 0.11) < 0.005
    aspect = (box.bottom - box.top)[erased] / (box.right - box.left)[erased]
    assert abs(np.log(aspect).mean()) < 0.05
    assert abs(np.log(aspect).std() - np.log(3) / np.sqrt(3)) < 0.03
    for start, end, size in ((box.top, box.bottom, 200), (box.left, box.right, 300)):
        assert start.min() >= 0
        assert end.max() <= size
        # Every place that a box fits is as likely as any other.
        place = (start / (size - (end - start)))[erased]
        assert abs(place.mean() - 0.5) < 0.02
        assert abs(place.std() - 1 / np.sqrt(12)) < 0.02


def test_boxes_that_never_fit_leave_clips_whole():
    assert boxes_of(Erase(prob=1.0, area=(0.9, 1.0), aspect=(4.0, 5.0)), 20, 20).area.max() == 0
    # Where one of a few attempts fits, nearly every clip is erased.
    assert (
        boxes_of(Erase(prob=1.0, area=(0.5, 0.5), aspect=(1.0, 4.0)), 90, 90).area > 0
    ).mean() > 0.9


EVERYTHING = Augment(4, Mix(mixup=0.8, cutmix=1.0, per="clip"), Erase(prob=0.5, fill="noise"))


augment_everything = jax.jit(EVERYTHING)


def test_every_frame_of_a_clip_is_treated_alike():
    still = np.repeat(CLIPS[:, :1], 3, axis=1)
    for seed in range(5):
        clips, _ = augment_everything(jax.random.key(seed), still, LABEL)
        assert not np.array_equal(clips, still)
        np.testing.assert_array_equal(clips, np.repeat(clips[:, :1], 3, axis=1))


def test_augmentation_is_a_function_of_key_and_batch():
    clips, target = augment_everything(jax.random.key(5), CLIPS, LABEL)
    again, same = augment_everything(jax.random.key(5), CLIPS, LABEL)
    np.testing.assert_array_equal(clips, again)
    np.testing.assert_array_equal(target, same)
    other, _ = augment_everything(jax.random.key(6), CLIPS, LABEL)
    assert not np.array_equal(clips, other)


def test_what_is_off_changes_nothing():
    for augment in (Augment(4), Augment(4, Mix(mixup=1.0, prob=0.0))):
        clips, target = augment(jax.random.key(0), CLIPS, LABEL)
        assert clips is CLIPS
        np.testing.assert_array_equal(target, TARGET)


def test_gradients_flow_to_both_clips_by_their_share():
    """Mixing is linear: the gradient's product with a direction is the mixed direction's sum."""
    given = mixture(OWN, CUT, CENTRES)
    weight = RNG.normal(size=CLIPS.shape)
    gradient = jax.grad(lambda x: (mix(x, TARGET, given)[0] * weight.astype(np.float32)).sum())
    gradient = np.asarray(gradient(jnp.asarray(CLIPS)), np.float64)
    for i in range(5):
        direction = RNG.normal(size=CLIPS.shape) * (np.arange(5) == i).reshape(5, 1, 1, 1, 1)
        moved, _ = reference.mixed(direction, TARGET, BEFORE, OWN, CUT, CENTRES)
        np.testing.assert_allclose((gradient * direction).sum(), (moved * weight).sum(), rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (functools.partial(Mix, mixup=-0.1), "mix.mixup=-0.1; it must be at least 0"),
        (functools.partial(Mix, cutmix=float("inf")), "mix.cutmix=inf"),
        (functools.partial(Mix, prob=1.5), "mix.prob=1.5; it must be from 0 to 1"),
        (functools.partial(Mix, switch_prob=-1.0), "mix.switch_prob=-1.0"),
        (functools.partial(Mix, per="clips"), "mix.per='clips'; did you mean 'clip'"),
        (functools.partial(Erase, prob=2.0), "erase.prob=2.0"),
        (functools.partial(Erase, area=(0.0, 0.3)), r"erase.area=\(0.0, 0.3\); .* at most 1"),
        (functools.partial(Erase, area=(0.3, 0.1)), "erase.area"),
        (functools.partial(Erase, area=(0.3, 1.1)), "erase.area"),
        (functools.partial(Erase, aspect=(0.3,)), "erase.aspect=.*the least and the greatest"),
        (functools.partial(Erase, fill="noisy"), "erase.fill='noisy'; did you mean 'noise'"),
    ],
)
def test_impossible_values_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
