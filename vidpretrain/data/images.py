# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Images in files, as clips of one frame: a folder per class, or a list."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vidpretrain.data.bad_input import BadInput, Fault
from vidpretrain.data.clips import ListedClips, listed_clips
from vidpretrain.data.files import read_inside
from vidpretrain.data.index import FileFacts
from vidpretrain.data.picture import PictureError, decode_picture
from vidpretrain.data.video import VideoIndex

_ONE_FRAME = FileFacts(VideoIndex(1, 0, 0, (), ()), 0)


@dataclasses.dataclass(frozen=True)
class ImageReader:
    """Entries of a list are images.

    Attributes:
        short_side_px: Larger images are shrunk so that their shorter side has this length,
            already by the JPEG decoder where it can; 0 keeps them.
    """

    short_side_px: int = 0

    def scan(self, root: Path, path: str) -> FileFacts:
        """Return that an image is one frame, without a look at it."""
        return _ONE_FRAME

    def frames(
        self, root: Path, path: str, facts: FileFacts, indices: Sequence[int] | np.ndarray
    ) -> np.ndarray:
        """Decode an image, as often as frame 0 is asked for."""
        return still(path, read_inside(root, path), indices, self.short_side_px)


def still(
    path: str, data: bytes, indices: Sequence[int] | np.ndarray, short_side_px: int
) -> np.ndarray:
    """Decode an image to a clip.

    Args:
        path: What messages call it.
        data: The bytes of a file.
        indices: Zeros, one for every frame that is wanted.
        short_side_px: Greatest length of the shorter side; 0 for any.

    Returns:
        uint8 `[T, H, W, 3]`, RGB.

    Raises:
        BadInput: It is no image that can be decoded.
        IndexError: Another frame than the first is asked for.
    """
    if np.any(np.asarray(indices)):
        raise IndexError(f"Frames {list(indices)} asked of an image.")
    try:
        picture = decode_picture(data, short_side_px=short_side_px)
    except PictureError as error:
        raise BadInput(path, Fault.UNDECODABLE, str(error)) from None
    return np.repeat(picture[None], len(indices), axis=0)


def image_files(
    split: str, seed: int = 0, *, short_side_px: int = 0, **options: Any
) -> ListedClips:
    """Make a source of images in files.

    Args:
        split: "train", "validation" or "test".
        seed: Not used; nothing is random.
        short_side_px: Larger images are shrunk so that their shorter side has this length; 0
            for images as they are stored.
        **options: Those of `clips.listed_clips`. A list has lines `path label`, or is a folder
            with a folder per class.
    """
    return listed_clips(split, ImageReader(short_side_px), **options)
