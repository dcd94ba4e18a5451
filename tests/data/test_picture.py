# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures of all sorts become RGB; large ones are decoded smaller."""

import cv2
import numpy as np
import pytest

from tests.data.corpus import clip, cmyk_jpeg, png_of_size
from vidpretrain.data import picture
from vidpretrain.data.encode import encode_jpeg

FRAME = clip(1, 64, 96)[0]


def written(ext: str, image: np.ndarray) -> bytes:
    return cv2.imencode(ext, image)[1].tobytes()


BGR = FRAME[..., ::-1]


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("PNG", written(".png", BGR), FRAME),
        ("BMP", written(".bmp", BGR), FRAME),
        ("PNG", written(".png", BGR.astype(np.uint16) * 257), FRAME),
        ("PNG", written(".png", np.dstack([BGR, FRAME[..., :1]])), FRAME),
        ("PNG", written(".png", FRAME[..., 0]), np.repeat(FRAME[..., :1], 3, axis=2)),
    ],
    ids=["png", "bmp", "16 bit", "transparent", "grey"],
)
def test_lossless_pictures_are_exact(kind, data, expected):
    assert picture.picture_size(data) == (kind, 96, 64)
    np.testing.assert_array_equal(picture.decode_picture(data), expected)


@pytest.mark.parametrize("ext", [".jpg", ".webp"])
def test_lossy_pictures_are_close(ext):
    data = written(ext, BGR)
    assert picture.picture_size(data)[1:] == (96, 64)
    assert np.abs(picture.decode_picture(data).astype(int) - FRAME).mean() < 6


def test_inks_become_colours():
    decoded = picture.decode_picture(cmyk_jpeg())
    assert decoded.shape == (32, 48, 3)
    assert decoded[..., 1].mean() < decoded[..., 0].mean()


@pytest.mark.parametrize(
    ("short_side_px", "size"),
    [(0, (64, 96)), (64, (64, 96)), (99, (64, 96)), (32, (32, 48)), (24, (24, 36)), (7, (7, 11))],
)
@pytest.mark.parametrize("ext", [".jpg", ".png"])
def test_large_pictures_are_decoded_smaller(ext, short_side_px, size):
    decoded = picture.decode_picture(written(ext, BGR), short_side_px=short_side_px)
    assert decoded.shape == (*size, 3)
    expected = cv2.resize(FRAME, size[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(decoded.astype(int) - expected).mean() < 6


@pytest.mark.parametrize(
    ("wanted", "flag"), [(0, 1), (64, 1), (33, 1), (32, 2), (17, 2), (16, 4), (8, 8), (2, 8)]
)
def test_jpeg_is_decoded_at_a_part_of_its_size(wanted, flag, monkeypatch):
    scales = {cv2.IMREAD_COLOR: 1, **{code: scale for scale, code in picture._REDUCED.items()}}
    seen = []
    original = cv2.imdecode

    def spy(data, flags):
        seen.append(scales[flags])
        return original(data, flags)

    monkeypatch.setattr(cv2, "imdecode", spy)
    picture.decode_picture(encode_jpeg(FRAME), short_side_px=wanted)
    assert seen == [flag]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "neither JPEG, PNG, WebP nor BMP"),
        (b"GIF89a", "neither JPEG, PNG, WebP nor BMP"),
        (b"\xff\xd8\xff", "ends within its header"),
        (encode_jpeg(FRAME)[:-200], "end marker is missing"),
        (png_of_size(20_000), "20000 x 20000 pixels; at most 67108864"),
        (written(".png", BGR)[:60], "cannot be decoded"),
    ],
    ids=["empty", "gif", "header", "cut", "bomb", "cut png"],
)
def test_what_is_no_picture_is_refused(data, message):
    with pytest.raises(picture.PictureError, match=message):
        picture.decode_picture(data)
