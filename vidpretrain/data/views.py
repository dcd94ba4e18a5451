# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a network is shown of a video: one random view in training, fixed ones in tests."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from vidpretrain.data.bad_input import BadInput
from vidpretrain.data.color import ColorJitter
from vidpretrain.data.randaugment import parse_randaugment
from vidpretrain.data.sampling import DenseWindow, Sampling, Segments, ShortVideo
from vidpretrain.data.source import Modality, Source, modality_of
from vidpretrain.data.transforms import (
    Augmentation,
    FixedCrops,
    FixedSize,
    Flip,
    Mirror,
    MultiScaleCrop,
    RandomCrop,
    Repaint,
    Rescale,
    ResizedCrop,
    ShiftedCrop,
    ShortSide,
    SpreadCrops,
    TenCrops,
)
from vidpretrain.suggest import closest

_CROPS = ("resized", "shifted", "multiscale")


@dataclasses.dataclass(frozen=True)
class Views:
    """Which frames are taken and what is cut out of them.

    Attributes:
        sampling: Chooses the frames, in training and in tests.
        augmentation: Cuts, flips and repaints training clips.
        test_crops: Cuts test clips.
    """

    sampling: Sampling
    augmentation: Augmentation
    test_crops: FixedCrops

    @property
    def frames(self) -> int:
        """Return the number of frames of a clip."""
        return self.sampling.frames

    @property
    def per_example(self) -> int:
        """Return how many views tests average for one example."""
        return self.sampling.num_clips * self.test_crops.num_crops


def make_views(
    source: Source,
    *,
    sampling: str = "dense",
    frames: int = 8,
    stride: int = 1,
    short: str = "loop",
    crop: str = "resized",
    size_px: int = 224,
    area: tuple[float, float] = (0.08, 1.0),
    short_side_px: int = 0,
    fixed_px: tuple[int, int] = (0, 0),
    pad_px: int = 0,
    flip: bool = False,
    color_jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0),
    randaugment: str = "",
    repeats: int = 1,
    test_size_px: int = 0,
    test_short_side_px: int = 256,
    test_clips: int = 1,
    test_crops: int = 1,
) -> Views:
    """Make the views of a data set from a configuration's numbers.

    Args:
        source: The training set; says what a mirror does to labels, and what its numbers mean.
        sampling: "dense" (a window) or "segments" (one frame of each).
        frames: Frames of a clip.
        stride: Distance between two frames; dense only.
        short: What a window does beyond the end of a short video: "loop", "hold" or "refuse".
        crop: "resized" (random area and shape), "shifted" (random place) or "multiscale" (one of
            a few sizes and places).
        size_px: Side of training clips.
        area: Least and greatest share of the frame, for "resized" crops.
        short_side_px: Frames are first resized so, for "shifted" and "multiscale" crops; 0 keeps
            them.
        fixed_px: Frames are first resized to this height and width, whatever their shape, for
            "shifted" and "multiscale" crops and in tests, instead of to short sides; 0 and 0
            keep them.
        pad_px: Black border added before "shifted" crops.
        flip: Mirror half of the training clips.
        color_jitter: Most that brightness, contrast, saturation and hue are changed.
        randaugment: A policy such as "rand-m7-mstd0.5-inc1"; empty for none.
        repeats: Differently augmented clips of an example in a batch.
        test_size_px: Side of test clips; 0 for that of training clips.
        test_short_side_px: Frames are first resized so in tests; 0 keeps them.
        test_clips: Clips per video in tests.
        test_crops: Crops per clip in tests, spread over the longer side; 10 are the corners, the
            middle, and their mirror images.

    Raises:
        ValueError: A word that is not allowed, numbers that do not fit each other or the shortest
            video of the source, a flip of a data set whose mirror images have no class, or an
            option that would have no effect.
    """
    windows: dict[str, Sampling] = {
        "dense": DenseWindow(frames, stride, test_clips, _short_video(short)),
        "segments": Segments(frames, test_clips),
    }
    if sampling not in windows:
        raise ValueError(f"views.sampling={sampling!r}; {closest(sampling, windows)}")
    if short == ShortVideo.REFUSE:
        # The shortest video is where a window that refuses short videos refuses.
        windows[sampling].centred(min(_lengths(source)))
    mirror = Mirror(negates_even=modality_of(source) is Modality.FLOW)
    if pad_px and modality_of(source) is not Modality.RGB:
        raise ValueError(f"views.pad_px={pad_px}, but black is no motion's absence; set it to 0")
    return Views(
        sampling=windows[sampling],
        augmentation=Augmentation(
            crop=_make_crop(crop, size_px, area, _rescale(short_side_px, fixed_px), pad_px),
            flip=_make_flip(source, mirror) if flip else None,
            repaint=_make_repaint(source, color_jitter, randaugment),
            repeats=repeats,
        ),
        test_crops=_make_test_crops(
            source,
            test_crops,
            test_size_px or size_px,
            _rescale(test_short_side_px, fixed_px, "test_short_side_px"),
            mirror,
        ),
    )


def _make_crop(
    kind: str, size_px: int, area: tuple[float, float], rescale: Rescale | None, pad_px: int
) -> RandomCrop:
    if kind not in _CROPS:
        raise ValueError(f"views.crop={kind!r}; {closest(kind, _CROPS)}")
    if pad_px and kind != "shifted":
        raise ValueError(f"views.pad_px={pad_px} has no effect on {kind} crops; set it to 0")
    if kind == "shifted":
        return ShiftedCrop(size_px, rescale, pad_px)
    if kind == "multiscale":
        return MultiScaleCrop(size_px, rescale=rescale)
    if rescale is not None:
        raise ValueError(
            "views.short_side_px and views.fixed_px have no effect on resized crops, which are "
            "cut from the frames as they are; set them to 0, or use another crop"
        )
    return ResizedCrop(size_px, area)


def _rescale(
    short_side_px: int, fixed_px: tuple[int, int], option: str = "short_side_px"
) -> Rescale | None:
    if not any(fixed_px):
        return ShortSide(short_side_px) if short_side_px else None
    if short_side_px:
        raise ValueError(
            f"views.fixed_px={tuple(fixed_px)} and views.{option}={short_side_px} exclude each "
            f"other; set one to 0"
        )
    return FixedSize(*fixed_px)


def _make_flip(source: Source, mirror: Mirror) -> Flip:
    if source.flip_labels is None:
        raise ValueError(
            "views.flip is true, but a mirror image has no class in this data set; set it to false"
        )
    return Flip(source.flip_labels, mirror=mirror)


def _make_repaint(
    source: Source, color_jitter: tuple[float, float, float, float], randaugment: str
) -> tuple[Repaint, ...]:
    repaint: list[Repaint] = []
    if any(color_jitter):
        repaint.append(ColorJitter(*color_jitter))
    if randaugment:
        repaint.append(parse_randaugment(randaugment))
    if repaint and modality_of(source) is not Modality.RGB:
        raise ValueError(
            f"views.color_jitter and views.randaugment change colours, but the source shows "
            f"{modality_of(source)}; leave them out"
        )
    return tuple(repaint)


def _make_test_crops(
    source: Source, num_crops: int, size_px: int, rescale: Rescale | None, mirror: Mirror
) -> FixedCrops:
    if num_crops != TenCrops.num_crops:
        return SpreadCrops(size_px, rescale, num_crops)
    if source.flip_labels != tuple(range(source.num_classes)):
        raise ValueError(
            "views.test_crops=10 mirrors clips, but a mirror image may have another class in this "
            "data set; take 1 or 3"
        )
    return TenCrops(size_px, rescale, mirror)


def _lengths(source: Source) -> Iterator[int]:
    """Yield the length of every video that can be used, in frames."""
    for example in range(len(source)):
        with contextlib.suppress(BadInput):
            yield source.num_frames(example)


def _short_video(word: str) -> ShortVideo:
    allowed = [choice.value for choice in ShortVideo]
    if word not in allowed:
        raise ValueError(f"views.short={word!r}; {closest(word, allowed)}")
    return ShortVideo(word)
