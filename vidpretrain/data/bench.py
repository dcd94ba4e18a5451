# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What each step from files to batches costs, and videos to measure it on."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from vidpretrain.data.clips import FolderReader, ListedClips
from vidpretrain.data.encode import encode_jpeg, encode_video
from vidpretrain.data.files import open_inside, read_inside
from vidpretrain.data.packed import PackedVideos
from vidpretrain.data.source import Source
from vidpretrain.data.streams import generator
from vidpretrain.data.views import Views

RATE = 25
"""Frames a second of synthetic videos."""
FRAME_TEMPLATE = "img_{:05d}.jpg"
_PATCH_PX = 64


@dataclasses.dataclass(frozen=True)
class StepCosts:
    """Processor time of every step, in seconds for one clip.

    Attributes:
        read: Bytes from the disk, or its cache, to memory.
        decode: Bytes to frames.
        resize: Frames to a clip of the network's size: crop and resize.
        augment: Flip and changes of colour.
        batch: Clips to one array.
    """

    read: float
    decode: float
    resize: float
    augment: float
    batch: float

    @property
    def total(self) -> float:
        """Return the time of all steps."""
        return sum(dataclasses.astuple(self))


def measure_steps(
    source: Source, views: Views, *, num_clips: int, batch_size: int, seed: int = 0
) -> StepCosts:
    """Make training clips, and take the time of every step.

    Args:
        source: Videos of a list, or packed ones.
        views: What is made of them.
        num_clips: Number of clips.
        batch_size: Clips of a batch.
        seed: Of the choice of videos, frames and crops.
    """
    spent = dict.fromkeys(("read", "decode", "resize", "augment", "batch"), 0.0)
    clips: list[np.ndarray] = []
    for number in range(num_clips):
        rng = generator("bench", seed, number)
        example = int(rng.integers(len(source)))
        indices = views.sampling.draw(source.num_frames(example), rng)
        marks = [time.process_time()]
        read_bytes(source, example, indices)
        marks.append(time.process_time())
        frames = source.frames(example, indices)
        marks.append(time.process_time())
        clip = views.augmentation.crop(frames, rng)
        marks.append(time.process_time())
        if views.augmentation.flip is not None:
            clip, _ = views.augmentation.flip(clip, 0, rng)
        for repaint in views.augmentation.repaint:
            clip = repaint(clip, rng)
        marks.append(time.process_time())
        clips.append(clip)
        if len(clips) == batch_size or number == num_clips - 1:
            np.stack(clips)
            clips.clear()
        marks.append(time.process_time())
        read, decode, resize, augment, batch = np.diff(marks)
        # Frames were read once more before they were decoded.
        for name, cost in zip(spent, (read, decode - read, resize, augment, batch), strict=True):
            spent[name] += max(0.0, float(cost))
    return StepCosts(**{name: cost / num_clips for name, cost in spent.items()})


def read_bytes(source: Source, example: int, indices: np.ndarray) -> int:
    """Read what frames are decoded from, without decoding them.

    Args:
        source: Videos of a list, or packed ones.
        example: Position in the source.
        indices: The frames.

    Returns:
        Number of bytes.

    Raises:
        TypeError: The source reads no files.
    """
    if isinstance(source, PackedVideos):
        return len(source.records[example]["video"])
    if not isinstance(source, ListedClips):
        raise TypeError(f"{type(source).__name__} reads no files, so there is nothing to measure")
    path = source.paths[example]
    if isinstance(source.reader, FolderReader):
        wanted = np.unique(indices)
        names = source.reader.names(source.root, path, source.file_facts(example), wanted)
        return sum(len(read_inside(source.root, name)) for name in names)
    with open_inside(source.root, path) as file:
        return len(file.read())


def synthetic_frames(
    seed: int, *, num_frames: int = 250, height: int = 256, width: int = 340
) -> Iterator[np.ndarray]:
    """Draw a video that is about as hard to encode as a real one.

    A picture with detail at several scales pans, three patches of another move across it, film
    grain lies over it, and the scene is cut twice.

    Args:
        seed: Of all that is random.
        num_frames: Length.
        height: Pixels.
        width: Pixels.

    Yields:
        uint8 `[height, width, 3]`, RGB.
    """
    rng = generator("synthetic video", seed)
    grain = rng.normal(0, 2.0, size=(8, height, width, 3)).astype(np.float32)
    for number in range(num_frames):
        if number % max(1, num_frames // 3) == 0:
            canvas = _texture(rng, 2 * height, 2 * width)
            patches = [_texture(rng, _PATCH_PX, _PATCH_PX) for _ in range(3)]
            places = rng.uniform(0, 1, size=(3, 2)) * (height - _PATCH_PX, width - _PATCH_PX)
            speeds = rng.uniform(-3, 3, size=(3, 2))
            pan = rng.uniform(-1.5, 1.5, size=2)
            start = number
        top, left = np.rint(np.array([height, width]) / 2 + pan * (number - start)).astype(int)
        frame = canvas[top : top + height, left : left + width].copy()
        for patch, place, speed in zip(patches, places, speeds, strict=True):
            room = (height - _PATCH_PX, width - _PATCH_PX)
            row, column = ((place + speed * (number - start)) % room).astype(int)
            frame[row : row + _PATCH_PX, column : column + _PATCH_PX] = patch
        yield np.clip(frame + grain[rng.integers(8)], 0, 255).astype(np.uint8)


def _texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return detail at scales of 2 to 32 pixels, float32 `[height, width, 3]`."""
    texture = np.full((height, width, 3), 120, np.float32)
    for scale in (2, 8, 32):
        coarse = rng.normal(0, 25, size=(height // scale + 2, width // scale + 2, 3))
        texture += cv2.resize(
            coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
        )
    return texture


def write_synthetic(
    folder: Path, *, num_videos: int, pictures: bool, num_frames: int = 250
) -> Path:
    """Write synthetic videos of 340 x 256 pixels.

    Args:
        folder: Where.
        num_videos: Number of videos.
        pictures: Write folders of JPEG files instead of video files.
        num_frames: Length of each; 25 are a second.

    Returns:
        Their list.
    """
    lines = []
    for number in range(num_videos):
        frames = synthetic_frames(number, num_frames=num_frames)
        if pictures:
            place = folder / "frames" / str(number)
            place.mkdir(parents=True, exist_ok=True)
            for at, frame in enumerate(frames, start=1):
                (place / FRAME_TEMPLATE.format(at)).write_bytes(encode_jpeg(frame))
            lines.append(f"frames/{number} {num_frames} {number}")
        else:
            place = folder / "videos" / f"{number}.mp4"
            place.parent.mkdir(parents=True, exist_ok=True)
            # x264's own distance of key frames, as `ffmpeg -vf scale=...` leaves it.
            options = {"crf": "23"}
            data = encode_video(frames, rate=RATE, key_every_frames=250, options=options)
            place.write_bytes(data)
            lines.append(f"videos/{number}.mp4 {number}")
    path = folder / ("frames.txt" if pictures else "videos.txt")
    path.write_text("\n".join(lines) + "\n")
    return path
