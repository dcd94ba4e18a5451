# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Encoding of clips to video files and JPEG, for packed data sets, tests and demos."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import av
import cv2
import numpy as np

# Container by file name extension, and the codec that is used in it unless another is named.
CONTAINERS = {
    "mp4": ("mp4", "libx264"),
    "webm": ("webm", "libvpx-vp9"),
    "mkv": ("matroska", "libx264"),
    "avi": ("avi", "mpeg4"),
}


def encode_video(
    frames: Iterable[np.ndarray],
    *,
    extension: str = "mp4",
    codec: str = "",
    rate: int = 25,
    key_every_frames: int = 12,
    options: dict[str, str] | None = None,
    times: Iterable[int] | None = None,
    rotation_deg: int = 0,
) -> bytes:
    """Encode frames to the bytes of a video file.

    Args:
        frames: uint8 `[H, W, 3]` each, RGB, all of one size. Odd sizes keep full colour
            resolution, for halved planes have no half pixels.
        extension: Container: "mp4", "webm", "mkv" or "avi".
        codec: FFmpeg's name of the encoder; the container's usual one if empty.
        rate: Frames a second.
        key_every_frames: Greatest distance of key frames; decoding a frame takes all of them
            from the key frame before it.
        options: The encoder's own options, such as `{"crf": "23"}`.
        times: Time of each frame in units of `1 / rate` seconds, increasing; 0, 1, 2, ... if None.
        rotation_deg: How players turn the picture, counter-clockwise, in multiples of 90 (mp4).

    Returns:
        A whole file.
    """
    name, usual_codec = CONTAINERS[extension]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=name) as container:
        stream: Any = None
        for time, frame in zip(_times(times), frames, strict=False):
            if stream is None:
                stream = container.add_stream(codec or usual_codec, rate=rate, options=options)
                stream.height, stream.width = frame.shape[:2]
                odd = stream.height % 2 or stream.width % 2
                stream.pix_fmt = "yuv444p" if odd else "yuv420p"
                stream.codec_context.gop_size = key_every_frames
                stream.codec_context.thread_count = 1  # Encoders' output may depend on it.
                if rotation_deg:
                    stream.set_display_rotation(rotation_deg)
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts = time
            container.mux(stream.encode(picture))
        if stream is not None:
            container.mux(stream.encode(None))
    return buffer.getvalue()


def encode_jpeg(frame: np.ndarray, *, quality: int = 90) -> bytes:
    """Encode one frame to the bytes of a JPEG file.

    Args:
        frame: uint8 `[H, W, 3]`, RGB.
        quality: 1 to 100.
    """
    _, data = cv2.imencode(
        ".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    return data.tobytes()


def _times(times: Iterable[int] | None) -> Iterable[int]:
    if times is not None:
        return times
    return iter(range(1 << 62))
