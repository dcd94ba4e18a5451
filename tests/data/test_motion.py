# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Motion as input: known movements, the order of frames, mirrors."""

import dataclasses
import itertools

import cv2
import numpy as np
import pytest

from vidpretrain.data import eval_batches, make_source, make_views, train_batches
from vidpretrain.data.digits import moving_digits, stills
from vidpretrain.data.motion import REST, Difference, Flow, FlowMethod, Motion, Stacked, show_motion
from vidpretrain.data.source import Modality, modality_of
from vidpretrain.data.transforms import Mirror, ShortSide

TEXTURE = cv2.GaussianBlur(
    np.random.default_rng(0).integers(256, size=(120, 160, 3), dtype=np.uint8), (0, 0), 2
)


@dataclasses.dataclass(frozen=True)
class Panning:
    """A window that moves over a texture, so that the picture moves by (-right, -down)."""

    right: int
    down: int
    length: int = 6
    num_classes: int = 1
    class_names: tuple[str, ...] = ("pan",)
    flip_labels: tuple[int, ...] = (0,)

    def __len__(self):
        return 1

    def num_frames(self, example):
        return self.length

    def label(self, example):
        return 0

    def frames(self, example, indices):
        rows, columns = 20 + self.down * np.asarray(indices), 20 + self.right * np.asarray(indices)
        return np.stack(
            [TEXTURE[r : r + 80, c : c + 100] for r, c in zip(rows, columns, strict=True)]
        )


@pytest.mark.parametrize("method", FlowMethod)
@pytest.mark.parametrize(("right", "down"), [(2, 0), (0, -3), (-1, 2), (0, 0)])
def test_flow_is_the_movement(method, right, down):
    flow = Motion(Panning(right, down), Flow(method, bound_px=20.0))
    fields = flow.frames(0, [0, 3]).astype(float)
    assert fields.shape == (2, 80, 100, 2)
    movement = (np.median(fields, axis=(1, 2)) - REST) * 20 / 127
    np.testing.assert_allclose(movement, [[-right, -down]] * 2, atol=0.3)


def test_movements_are_clipped_symmetrically():
    right, left = (
        Motion(Panning(step, 0), Flow(bound_px=0.5)).frames(0, [1])[..., 0] for step in (3, -3)
    )
    assert np.median(right) == 1
    assert np.median(left) == 255
    assert right.min() >= 1


def test_differences_are_halved():
    source = Panning(1, 0)
    one, other = source.frames(0, [2, 3]).astype(int)
    (difference,) = Motion(source, Difference()).frames(0, [2])
    np.testing.assert_array_equal(difference, 128 + (other - one) // 2)
    extremes = np.stack([np.zeros((1, 1, 3)), np.full((1, 1, 3), 255)]).astype(np.uint8)
    assert Difference()(extremes, [(0, 1)]).max() == 255
    assert Difference()(extremes, [(1, 0)]).max() == 0


def test_frames_come_as_asked_and_do_not_depend_on_each_other():
    motion = Motion(moving_digits("test", num_clips=2), Flow())
    assert motion.num_frames(0) == 23
    whole = motion.frames(1, range(23))
    np.testing.assert_array_equal(motion.frames(1, [20, 3, 3]), whole[[20, 3, 3]])


def test_stacked_changes_follow_each_other_in_the_channels():
    source = moving_digits("test", num_clips=1)
    single = Motion(source, Flow()).frames(0, range(23))
    stacked = Stacked(Motion(source, Flow()), 5)
    assert stacked.num_frames(0) == 19
    (frame,) = stacked.frames(0, [7])
    np.testing.assert_array_equal(frame, np.concatenate(list(single[7:12]), axis=-1))


def test_a_still_is_at_rest():
    flow = Motion(stills("test", num_clips=1), Flow())
    assert flow.num_frames(0) == Stacked(flow, 3).num_frames(0) == 1
    assert (flow.frames(0, [0]) == REST).all()
    assert Stacked(flow, 3).frames(0, [0]).shape == (1, 32, 32, 6)


def test_movements_are_in_pixels_of_the_resized_frames():
    flow = Motion(Panning(4, 0), Flow(), rescale=ShortSide(40))
    fields = flow.frames(0, [1]).astype(float)
    assert fields.shape == (1, 40, 50, 2)
    assert (np.median(fields[..., 0]) - REST) * 20 / 127 == pytest.approx(-2, abs=0.3)


def test_a_mirror_turns_movements_to_the_right_round():
    mirror = Mirror(negates_even=True)
    clip = np.random.default_rng(0).integers(1, 256, size=(2, 3, 4, 4), dtype=np.uint8)
    mirrored = mirror(clip)
    np.testing.assert_array_equal(mirrored[..., 1::2], clip[:, :, ::-1, 1::2])
    np.testing.assert_array_equal(
        mirrored[..., ::2].astype(int) - 128, 128 - clip[:, :, ::-1, ::2].astype(int)
    )
    np.testing.assert_array_equal(mirror(mirrored), clip)
    assert mirror(np.zeros((1, 1, 1, 2), np.uint8))[0, 0, 0].tolist() == [255, 0]


def test_the_flow_of_a_mirrored_video_is_the_mirrored_flow():
    class Mirrored(Panning):
        def frames(self, example, indices):
            return super().frames(example, indices)[:, :, ::-1]

    flow, of_mirrored = (Motion(s(2, 1), Flow()).frames(0, [1]) for s in (Panning, Mirrored))
    difference = np.abs(Mirror(negates_even=True)(flow).astype(int) - of_mirrored)
    assert np.median(difference) <= 1


def test_motion_goes_the_way_of_colours():
    source = make_source("moving_digits", split="test", num_clips=8, modality="flow")
    assert modality_of(source) is Modality.FLOW
    views = make_views(
        source,
        frames=4,
        crop="shifted",
        size_px=28,
        flip=True,
        test_short_side_px=0,
    )
    assert views.augmentation.flip.mirror == Mirror(negates_even=True)
    with train_batches(source, views.sampling, views.augmentation, batch_size=4, seed=0) as batches:
        (batch,) = itertools.islice(batches, 1)
    assert batch.video.shape == (4, 4, 28, 28, 2)
    (batch,) = eval_batches(source, views.sampling, views.test_crops, batch_size=8)
    assert batch.video.shape == (8, 4, 28, 28, 2)
    colours = make_source("moving_digits", split="test", num_clips=8)
    assert modality_of(colours) is Modality.RGB


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modality": "flo"}, "source.modality='flo'; did you mean 'flow'"),
        ({"modality": "flow", "flow_method": "diss"}, "flow_method='diss'; did you mean 'dis'"),
        ({"modality": "flow", "flow_bound_px": 0.0}, "bound_px is 0.0"),
        ({"modality": "flow", "stack": 0}, "stack's count is 0"),
    ],
)
def test_impossible_motion_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_source("moving_digits", split="test", **options)


def test_motion_of_motion_is_refused():
    flow = show_motion(moving_digits("test"), modality="flow")
    assert modality_of(show_motion(flow, stack=2)) is Modality.FLOW
    with pytest.raises(ValueError, match="the data set shows flow already"):
        show_motion(flow, modality="difference")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"randaugment": "rand-m7"}, "change colours, but the source shows flow"),
        ({"color_jitter": (0.4, 0.4, 0.4, 0.1)}, "change colours, but the source shows flow"),
        ({"crop": "shifted", "pad_px": 2}, "black is no motion's absence"),
    ],
)
def test_views_refuse_to_paint_motion(options, message):
    flow = show_motion(moving_digits("test", num_clips=2), modality="flow")
    with pytest.raises(ValueError, match=message):
        make_views(flow, size_px=28, test_short_side_px=0, **options)
