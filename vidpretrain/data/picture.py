# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Decoding of still pictures: JPEG, PNG, WebP and BMP, by OpenCV.

The format and the size are read from the first bytes before OpenCV sees any, so that a small
file cannot make it claim gigabytes, and so that JPEG can be decoded at a half, a quarter or an
eighth of its size where less is wanted: those pixels are then never computed.
"""

from __future__ import annotations

import struct

import cv2
import numpy as np

MAX_PIXELS = 1 << 26
"""Larger pictures are refused: 67 million pixels, 201 MB decoded."""

# Frame headers of JPEG (SOF0 to SOF15) but for those that are no frame headers (DHT, JPG, DAC).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_JPEG_END = b"\xff\xd9"
_REDUCED = {
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


class PictureError(ValueError):
    """Bytes that are no picture that can be decoded; the message says why."""


def decode_picture(data: bytes, *, short_side_px: int = 0) -> np.ndarray:
    """Decode a picture to RGB.

    Grey, CMYK, 16-bit and transparent pictures become 8-bit RGB (transparency is dropped), and
    the orientation that cameras note is applied.

    Args:
        data: A whole file.
        short_side_px: A picture whose shorter side is longer than this is decoded so that it has
            this length, each pixel the mean of the area that it covers; 0 decodes all as stored.

    Returns:
        uint8 `[H, W, 3]`.

    Raises:
        PictureError: The bytes are no picture, are cut short, or have too many pixels.
    """
    kind, width, height = picture_size(data)
    if not width * height:
        raise PictureError(f"{kind} of {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise PictureError(f"{kind} of {width} x {height} pixels; at most {MAX_PIXELS} are decoded")
    # Decoders fill what is missing with grey, and say so only on the terminal.
    if kind == "JPEG" and data.rfind(_JPEG_END) < 0:
        raise PictureError("the JPEG is cut short: its end marker is missing")
    flag = cv2.IMREAD_COLOR
    short = min(width, height)
    if kind == "JPEG" and short_side_px:
        # One of 1, 2, 4, 8, and the result still at least as large as is wanted.
        scale = 1 << max(0, min(3, (short // short_side_px).bit_length() - 1))
        flag = _REDUCED.get(scale, cv2.IMREAD_COLOR)
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error as error:
        raise PictureError(f"the {kind} cannot be decoded: {error.err}") from None
    if picture is None:
        raise PictureError(f"the {kind} cannot be decoded")
    picture = shrink_short_side(picture, short_side_px)
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def shrink_short_side(picture: np.ndarray, short_side_px: int) -> np.ndarray:
    """Shrink a picture whose shorter side is too long; area-averaged.

    Args:
        picture: uint8 `[H, W, C]`.
        short_side_px: Greatest length of the shorter side; 0 for any.

    Returns:
        uint8 `[H, W, C]`, the same array if it is small enough.
    """
    height, width = picture.shape[:2]
    new_height, new_width = shrunk_size(height, width, short_side_px)
    if (new_height, new_width) == (height, width):
        return picture
    return cv2.resize(picture, (new_width, new_height), interpolation=cv2.INTER_AREA)


def shrunk_size(height: int, width: int, short_side_px: int) -> tuple[int, int]:
    """Return height and width after the shorter side was limited, the shape kept."""
    short = min(height, width)
    if not short_side_px or short <= short_side_px:
        return height, width
    return (
        (2 * height * short_side_px + short) // (2 * short),
        (2 * width * short_side_px + short) // (2 * short),
    )


def picture_size(data: bytes) -> tuple[str, int, int]:
    """Read what a picture's header says.

    Returns:
        Format, width and height in pixels (as stored, before any turn).

    Raises:
        PictureError: The bytes are not the beginning of a JPEG, PNG, WebP or BMP file.
    """
    try:
        if data[:3] == b"\xff\xd8\xff":
            return "JPEG", *_jpeg_size(data)
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return "PNG", *struct.unpack_from(">II", data, 16)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return "WebP", *_webp_size(data)
        if data[:2] == b"BM":
            width, height = struct.unpack_from("<ii", data, 18)
            return "BMP", width, abs(height)
    except (struct.error, IndexError):
        raise PictureError("the file ends within its header") from None
    raise PictureError(f"neither JPEG, PNG, WebP nor BMP; it begins with {data[:8]!r}")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    place = 2
    while True:
        if data[place] != 0xFF:
            raise PictureError("the JPEG has no frame header")
        marker = data[place + 1]
        if marker == 0xFF:  # A fill byte.
            place += 1
        elif marker in _JPEG_STANDALONE:
            place += 2
        elif marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, place + 5)
            return width, height
        else:
            place += 2 + struct.unpack_from(">H", data, place + 2)[0]


def _webp_size(data: bytes) -> tuple[int, int]:
    chunk = data[12:16]
    if chunk == b"VP8X":
        return tuple(1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))  # type: ignore[return-value]
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise PictureError(f"a WebP file with an unknown chunk {chunk!r}")
