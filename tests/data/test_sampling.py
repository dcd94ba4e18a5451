# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Frame choice: tables of answers worked out by hand, then properties."""

import itertools

import numpy as np
import pytest

from vidpretrain.data.sampling import DenseWindow, Segments, ShortVideo

LENGTHS = (1, 2, 3, 7, 8, 9, 24, 57)


@pytest.mark.parametrize(
    ("sampling", "video_frames", "expected"),
    [
        # Exactly the window, and room on both sides.
        (DenseWindow(8), 8, [[0, 1, 2, 3, 4, 5, 6, 7]]),
        (DenseWindow(8, 8), 100, [[22, 30, 38, 46, 54, 62, 70, 78]]),
        (DenseWindow(4, 2), 24, [[9, 11, 13, 15]]),
        # Three clips: 24 - 7 + 1 = 18 starts in three parts of 6, the middle of each.
        (DenseWindow(4, 2, num_clips=3), 24, [[3, 5, 7, 9], [9, 11, 13, 15], [15, 17, 19, 21]]),
        # More clips than starts: they repeat.
        (DenseWindow(3, 1, num_clips=4), 4, [[0, 1, 2], [0, 1, 2], [1, 2, 3], [1, 2, 3]]),
        # The window is longer than the video.
        (DenseWindow(8, 2), 5, [[0, 2, 4, 1, 3, 0, 2, 4]]),
        (DenseWindow(8, 2, short=ShortVideo.HOLD), 5, [[0, 2, 4, 4, 4, 4, 4, 4]]),
        (DenseWindow(3, 1), 1, [[0, 0, 0]]),
        # The stride is longer than the video, and than the window has frames.
        (DenseWindow(2, 10), 25, [[7, 17]]),
        (DenseWindow(2, 10), 4, [[0, 2]]),
        # One frame.
        (DenseWindow(1, 5), 9, [[4]]),
        (DenseWindow(1), 1, [[0]]),
    ],
)
def test_dense_windows_in_tests(sampling, video_frames, expected):
    assert sampling.centred(video_frames).tolist() == expected


@pytest.mark.parametrize(
    ("sampling", "video_frames", "expected"),
    [
        (Segments(8), 24, [[1, 4, 7, 10, 13, 16, 19, 22]]),
        (Segments(8), 16, [[1, 3, 5, 7, 9, 11, 13, 15]]),
        (Segments(4), 10, [[1, 3, 6, 8]]),
        (Segments(4, num_clips=2), 16, [[1, 5, 9, 13], [3, 7, 11, 15]]),
        # Fewer frames than segments.
        (Segments(4), 2, [[0, 0, 1, 1]]),
        (Segments(4), 3, [[0, 1, 1, 2]]),
        (Segments(3), 1, [[0, 0, 0]]),
        # One segment.
        (Segments(1), 9, [[4]]),
    ],
)
def test_segments_in_tests(sampling, video_frames, expected):
    assert sampling.centred(video_frames).tolist() == expected


ALL = [
    *(
        DenseWindow(frames, stride, num_clips, short)
        for frames, stride, num_clips, short in itertools.product(
            (1, 3, 8), (1, 2, 9), (1, 4), (ShortVideo.LOOP, ShortVideo.HOLD)
        )
    ),
    *(Segments(frames, num_clips) for frames, num_clips in itertools.product((1, 3, 8), (1, 2))),
]


@pytest.mark.parametrize("sampling", ALL, ids=str)
def test_frames_exist_and_are_as_many_as_asked(sampling):
    rng = np.random.default_rng(0)
    for video_frames in LENGTHS:
        drawn = sampling.draw(video_frames, rng)
        centred = sampling.centred(video_frames)
        assert drawn.shape == (sampling.frames,)
        assert centred.shape == (sampling.num_clips, sampling.frames)
        for indices in (drawn, centred):
            assert indices.dtype == np.int64
            assert indices.min() >= 0
            assert indices.max() < video_frames


@pytest.mark.parametrize("sampling", ALL, ids=str)
def test_frames_are_in_order_unless_the_video_starts_again(sampling):
    rng = np.random.default_rng(0)
    loops = getattr(sampling, "short", None) is ShortVideo.LOOP
    for video_frames in LENGTHS:
        if loops and video_frames < sampling.span:
            continue
        assert (np.diff(sampling.draw(video_frames, rng)) >= 0).all()
        assert (np.diff(sampling.centred(video_frames)) >= 0).all()


@pytest.mark.parametrize("video_frames", [7, 8, 12])
def test_every_window_that_fits_is_drawn_and_no_other(video_frames):
    sampling, rng = DenseWindow(4, 2), np.random.default_rng(0)
    drawn = {tuple(sampling.draw(video_frames, rng)) for _ in range(300)}
    starts = range(video_frames - 7 + 1)
    assert drawn == {tuple(range(start, start + 7, 2)) for start in starts}


@pytest.mark.parametrize(("video_frames", "frames"), [(24, 8), (10, 4), (3, 8)])
def test_every_frame_is_in_a_segment(video_frames, frames):
    sampling, rng = Segments(frames), np.random.default_rng(0)
    drawn = np.stack([sampling.draw(video_frames, rng) for _ in range(500)])
    assert set(drawn.ravel()) == set(range(video_frames))
    for segment, column in enumerate(drawn.T):
        first = segment * video_frames // frames
        last = -(-(segment + 1) * video_frames // frames) - 1
        assert set(column) == set(range(first, last + 1))


def test_the_test_clip_of_segments_lies_in_the_middle():
    for video_frames, frames in itertools.product(LENGTHS, (1, 4, 8)):
        (indices,) = Segments(frames).centred(video_frames)
        middles = (np.arange(frames) + 0.5) * video_frames / frames
        np.testing.assert_array_equal(indices, np.floor(middles))


def test_a_short_video_can_be_refused():
    sampling = DenseWindow(8, 4, short=ShortVideo.REFUSE)
    assert sampling.centred(29).tolist() == [list(range(0, 29, 4))]
    with pytest.raises(ValueError, match=r"8 frames with stride 4 span 29 frames, but .* has 28"):
        sampling.centred(28)
    with pytest.raises(ValueError, match="Take fewer frames or a smaller stride"):
        sampling.draw(28, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: DenseWindow(0), "frames"),
        (lambda: DenseWindow(8, 0), "stride"),
        (lambda: DenseWindow(8, 1, num_clips=0), "num_clips"),
        (lambda: Segments(0), "frames"),
        (lambda: Segments(8, num_clips=-1), "num_clips"),
        (lambda: Segments(8).centred(0), "video_frames"),
        (lambda: DenseWindow(8).centred(0), "video_frames"),
    ],
)
def test_impossible_numbers_are_refused(make, name):
    with pytest.raises(ValueError, match=f"{name} is -?[0-9]+; it must be at least 1"):
        make()
