# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Motion as input: optical flow or differences of neighbouring frames instead of colours.

`Motion` wraps a source: its frame `t` is what happens between frames `t` and `t + 1` of the
source within, as bytes, so that everything that cuts, batches, packs or shows clips of colours
does the same with clips of motion. 128 stands for rest.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

import cv2
import numpy as np

from vidpretrain.data.source import Modality, Source, modality_of
from vidpretrain.data.transforms import Rescale, ShortSide
from vidpretrain.suggest import closest

REST = 128
"""The byte that stands for no motion."""


class FlowMethod(enum.StrEnum):
    """How OpenCV estimates optical flow."""

    DIS = "dis"
    """Dense inverse search (Kroeger et al., ECCV 2016), medium preset."""
    FARNEBACK = "farneback"
    """Polynomial expansion (Farneback, SCIA 2003)."""


class Change(Protocol):
    """What happens between two frames, as bytes."""

    @property
    def modality(self) -> Modality:
        """Return what the bytes mean."""

    def __call__(self, frames: np.ndarray, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
        """Compare pairs of frames.

        Args:
            frames: uint8 `[T, H, W, C]`.
            pairs: Positions in `frames`, earlier and later, `P` of them.

        Returns:
            uint8 `[P, H, W, c]`.
        """


@dataclasses.dataclass(frozen=True)
class Flow:
    """Optical flow: per pixel the movement to the right, then downwards.

    Attributes:
        method: How it is estimated.
        bound_px: Movements are clipped to this length either way, in pixels per frame; it
            becomes 255, its opposite 1.

    References:
        Wang et al., Temporal Segment Networks, ECCV 2016, section 3.2; its tools clip at 20.
    """

    method: FlowMethod = FlowMethod.DIS
    bound_px: float = 20.0
    modality: ClassVar[Modality] = Modality.FLOW

    def __post_init__(self) -> None:
        if not self.bound_px > 0:
            raise ValueError(f"bound_px is {self.bound_px}; it must be above 0.")

    def __call__(self, frames: np.ndarray, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
        """Return the flow between pairs of frames, uint8 `[P, H, W, 2]`."""
        grey = [cv2.cvtColor(np.ascontiguousarray(f), cv2.COLOR_RGB2GRAY) for f in frames]
        estimate = _estimator(self.method)
        fields = np.stack([estimate(grey[one], grey[other]) for one, other in pairs])
        steps = np.clip(np.rint(fields * (127 / self.bound_px)), -127, 127)
        return (REST + steps).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Difference:
    """Difference of colours: later minus earlier, halved to fit a byte.

    References:
        Wang et al., Temporal Segment Networks, ECCV 2016, section 3.2, "RGB difference".
    """

    modality: ClassVar[Modality] = Modality.DIFFERENCE

    def __call__(self, frames: np.ndarray, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
        """Return the difference of pairs of frames, uint8 `[P, H, W, C]`."""
        earlier, later = np.transpose(pairs)
        change = frames[later].astype(np.int16) - frames[earlier]
        return (REST + (change >> 1)).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Motion:
    """A source of motion, made of a source of colours; itself a source.

    Attributes:
        source: Where the colours come from.
        change: What is taken of two neighbouring frames.
        stack: Number of successive changes that make one frame, one behind the other in its
            channels. TSN stacks five flow fields to ten channels.
        rescale: Brings the colours to a size first; movements are in pixels of that.
    """

    source: Source
    change: Change
    stack: int = 1
    rescale: Rescale | None = None

    def __post_init__(self) -> None:
        if self.stack < 1:
            raise ValueError(f"stack is {self.stack}; it must be at least 1.")
        if modality_of(self.source) is not Modality.RGB:
            raise ValueError(
                f"The source shows {modality_of(self.source)} already, not colours; leave its "
                "modality out."
            )

    @property
    def modality(self) -> Modality:
        """Return what the bytes mean."""
        return self.change.modality

    @property
    def num_classes(self) -> int:
        """Return the number of classes."""
        return self.source.num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the classes' names, by label."""
        return self.source.class_names

    @property
    def flip_labels(self) -> tuple[int, ...] | None:
        """Return the label of a clip's mirror image, by label of the clip."""
        return self.source.flip_labels

    def __len__(self) -> int:
        return len(self.source)

    def num_frames(self, example: int) -> int:
        """Return how many frames have `stack` changes after them; at least one.

        A video with too few frames for any is taken to rest after its last.
        """
        return max(1, self.source.num_frames(example) - self.stack)

    def label(self, example: int) -> int:
        """Return an example's label."""
        return self.source.label(example)

    def frames(self, example: int, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return motion, uint8 `[T, H, W, stack * c]`.

        Args:
            example: Position of the video, from 0.
            indices: Frames after which the changes come, each below `num_frames`.
        """
        last = self.source.num_frames(example) - 1
        starts = np.asarray(indices, np.int64)[:, None] + np.arange(self.stack)
        times = np.minimum(np.stack([starts, starts + 1]), last)
        pairs, of_pair = np.unique(times.reshape(2, -1), axis=1, return_inverse=True)
        wanted, places = np.unique(pairs, return_inverse=True)
        frames = self.source.frames(example, wanted)
        if self.rescale is not None:
            frames = self.rescale(frames)
        changes = self.change(frames, [(one, two) for one, two in places.reshape(pairs.shape).T])
        stacked = changes[of_pair.ravel()].reshape(*starts.shape, *changes.shape[1:])
        num_frames, stack, height, width, channels = stacked.shape
        return stacked.transpose(0, 2, 3, 1, 4).reshape(num_frames, height, width, stack * channels)


def show_motion(
    source: Source,
    *,
    modality: str = "rgb",
    flow_method: str = "dis",
    flow_bound_px: float = 20.0,
    motion_stack: int = 1,
    motion_short_side_px: int = 0,
) -> Source:
    """Have a source show what a configuration names.

    Args:
        source: A source of colours.
        modality: "rgb" (the source as it is), "flow" or "difference".
        flow_method: "dis" or "farneback".
        flow_bound_px: Longest movement that is told from longer ones, pixels per frame.
        motion_stack: Successive changes in one frame's channels.
        motion_short_side_px: Frames are first resized so; 0 keeps them.

    Raises:
        ValueError: An unknown word or an impossible number.
    """
    changes: dict[str, Callable[[], Change]] = {
        Modality.FLOW: lambda: Flow(_flow_method(flow_method), flow_bound_px),
        Modality.DIFFERENCE: Difference,
    }
    if modality == Modality.RGB:
        return source
    if modality not in changes:
        raise ValueError(
            f"source.modality={modality!r}; {closest(modality, [word.value for word in Modality])}"
        )
    rescale = ShortSide(motion_short_side_px) if motion_short_side_px else None
    return Motion(source, changes[modality](), motion_stack, rescale)


def _flow_method(word: str) -> FlowMethod:
    allowed = [method.value for method in FlowMethod]
    if word not in allowed:
        raise ValueError(f"source.flow_method={word!r}; {closest(word, allowed)}")
    return FlowMethod(word)


def _estimator(method: FlowMethod) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return what turns two grey pictures `[H, W]` into a flow field, float32 `[H, W, 2]`."""
    if method is FlowMethod.DIS:
        # OpenCV's object keeps buffers between calls and is not for two threads: a new one here.
        dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        return lambda one, other: dis.calc(one, other, np.zeros((*one.shape, 2), np.float32))
    return lambda one, other: cv2.calcOpticalFlowFarneback(
        one,
        other,
        np.zeros((*one.shape, 2), np.float32),
        pyr_scale=0.5,
        levels=3,
        winsize=15,
        iterations=3,
        poly_n=5,
        poly_sigma=1.2,
        flags=0,
    )
