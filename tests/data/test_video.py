# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The frames that are asked for, and no others, whatever the file is like."""

import functools
import io

import av
import numpy as np
import pytest

from tests.data.corpus import clip
from vidpretrain.data import video
from vidpretrain.data.bad_input import Fault
from vidpretrain.data.encode import encode_video

NUM_FRAMES = 40
FAST_VP9 = {"deadline": "realtime", "cpu-used": "8"}
X264 = "keyint=12:bframes=4:b-pyramid=normal:"
TIMES = np.random.default_rng(0).choice(300, NUM_FRAMES, replace=False)
KINDS = {
    "mp4": {},
    "webm": {"extension": "webm", "options": FAST_VP9},
    "mkv": {"extension": "mkv"},
    "avi": {"extension": "avi"},
    "open groups": {"options": {"x264-params": X264 + "open-gop=1"}},
    "open groups, mkv": {"extension": "mkv", "options": {"x264-params": X264 + "open-gop=1"}},
    "variable rate": {"times": sorted(TIMES.tolist())},
    "variable rate, mkv": {"times": sorted(TIMES.tolist()), "extension": "mkv"},
    "vp8, alternate references": {
        "extension": "webm",
        "codec": "libvpx",
        "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "8", "b": "100k"},
    },
    "avi without times": {"extension": "avi", "codec": "libx264"},
    "avi, B frames": {"extension": "avi", "options": {"bf": "2"}},
    "mpeg4, B frames": {"codec": "mpeg4", "options": {"bf": "2"}},
    "turned": {"rotation_deg": 90},
    "one key frame": {"key_every_frames": 250},
    "key frames only": {"key_every_frames": 1},
    "no key frames": {"options": {"x264-params": "intra-refresh=1:keyint=20"}},
}


@functools.cache
def encoded(kind: str) -> bytes:
    return encode_video(clip(NUM_FRAMES, 32, 48), **KINDS[kind])


def all_frames(data: bytes) -> np.ndarray:
    """Decode a file from beginning to end, in the plainest way."""
    with av.open(io.BytesIO(data)) as container:
        frames = [
            np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
            for frame in container.decode(video=0)
        ]
    return np.stack(frames)


SAMPLES = [
    [0],
    [NUM_FRAMES - 1],
    [11],
    [12],
    [13],
    list(range(NUM_FRAMES)),
    list(range(3, 35, 8)),
    list(range(22, 38, 2)),
    [7, 7, 2, 30],
    [1, 14, 27, 39],
    *np.random.default_rng(1).integers(0, NUM_FRAMES, (6, 5)).tolist(),
]


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_exact(kind):
    data = encoded(kind)
    expected = all_frames(data)
    index = video.scan(io.BytesIO(data))
    assert index.num_frames == len(expected) == NUM_FRAMES
    for wanted in SAMPLES:
        frames = video.decode(io.BytesIO(data), index, wanted)
        np.testing.assert_array_equal(frames, expected[wanted], err_msg=str(wanted))


@pytest.mark.parametrize("kind", ["mp4", "webm", "open groups, mkv", "variable rate"])
def test_only_the_frames_needed_are_decoded(kind, monkeypatch):
    data = encoded(kind)
    index = video.scan(io.BytesIO(data))
    decoded = []
    original = video._decode_packets

    def counting(decoder, packets, wanted):
        decoded.append(len(packets))
        return original(decoder, packets, wanted)

    monkeypatch.setattr(video, "_decode_packets", counting)
    monkeypatch.delattr(video, "_decode_from_start")
    last_key = index.key_frames[-1]
    video.decode(io.BytesIO(data), index, [last_key])
    # The frame itself, and those that B frames before it in the file make it wait for.
    assert decoded[-1] <= 4
    video.decode(io.BytesIO(data), index, [0, last_key])
    assert sum(decoded[-2:]) <= 8


def test_a_scan_says_what_is_there():
    index = video.scan(io.BytesIO(encoded("webm")))
    assert (index.height, index.width) == (32, 48)
    assert index.key_frames == (0, 12, 24, 36)
    assert index.key_times == (0, 480, 960, 1440)
    assert video.scan(io.BytesIO(encoded("avi"))).key_times == ()


@pytest.mark.parametrize(
    ("short_side_px", "size"), [(0, (32, 48)), (16, (16, 24)), (32, (32, 48)), (99, (32, 48))]
)
def test_large_frames_are_shrunk(short_side_px, size):
    data = encoded("key frames only")
    index = video.scan(io.BytesIO(data))
    frames = video.decode(io.BytesIO(data), index, [0, 5], short_side_px=short_side_px)
    assert frames.shape == (2, *size, 3)
    full = video.decode(io.BytesIO(data), index, [0, 5]).astype(float)
    factor = 32 // size[0]
    means = full.reshape(2, size[0], factor, size[1], factor, 3).mean(axis=(2, 4))
    assert np.abs(frames - means).mean() < 3


def test_a_turned_video_stands_upright():
    frames = clip(4, 32, 48)
    turned = video.decode(
        *(lambda data: (io.BytesIO(data), video.scan(io.BytesIO(data))))(
            encode_video(frames, rotation_deg=90)
        ),
        [0],
    )
    assert turned.shape == (1, 48, 32, 3)
    assert np.abs(turned[0].astype(int) - np.rot90(frames[0])).mean() < 12


@pytest.mark.parametrize("wanted", [[-1], [NUM_FRAMES], [0, NUM_FRAMES]])
def test_frames_that_do_not_exist(wanted):
    data = encoded("mp4")
    with pytest.raises(IndexError, match="asked of a video of 40"):
        video.decode(io.BytesIO(data), video.scan(io.BytesIO(data)), wanted)


def test_endless_work_is_refused_before_it_begins():
    index = video.VideoIndex(10_000_000, 1080, 1920, (0,), (0,))
    with pytest.raises(video.VideoError, match="9999991 frames of 1920 x 1080") as caught:
        video.decode(io.BytesIO(encoded("mp4")), index, [9_999_990])
    assert caught.value.fault is Fault.TOO_LARGE


def test_an_index_of_another_file_is_noticed():
    index = video.VideoIndex(400, 32, 48, (0, 300), (0, 999_999))
    with pytest.raises(video.VideoError, match="frame 310 of 400 cannot be decoded"):
        video.decode(io.BytesIO(encoded("mp4")), index, [310])


@pytest.mark.parametrize("kind", ["mp4", "webm", "mkv", "avi"])
def test_durations(kind):
    there, header = video.read_durations(io.BytesIO(encoded(kind)))
    assert there == pytest.approx(NUM_FRAMES / 25, abs=0.1)
    assert header is None or header == pytest.approx(there, abs=0.1)


def test_containers_are_known_by_their_first_bytes():
    names = {"mp4": "mov", "webm": "matroska", "mkv": "matroska", "avi": "avi"}
    for kind, name in names.items():
        assert video.container_of(encoded(kind)[:600]) == name
    for head in (b"", b"#EXTM3U", b"ffconcat version 1.0", b"<html>", b"G" * 100):
        with pytest.raises(video.VideoError, match="like none of mp4"):
            video.container_of(head)
