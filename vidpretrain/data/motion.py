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

from vidpretrain.data.source import Modality, Source, modality_of, name_of
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
class _Derived:
    """A source whose frames are made of another source's, with the same examples and classes.

    Attributes:
        source: The other source.
    """

    source: Source

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

    def label(self, example: int) -> int:
        """Return an example's label."""
        return self.source.label(example)

    def example_name(self, example: int) -> str:
        """Return what the other source calls the example."""
        return name_of(self.source, example)


@dataclasses.dataclass(frozen=True)
class Motion(_Derived):
    """A source of motion, made of a source of colours.

    Attributes:
        source: Where the colours come from.
        change: What is taken of two neighbouring frames.
        rescale: Brings the colours to a size first; movements are in pixels of that.
    """

    change: Change
    rescale: Rescale | None = None

    @property
    def modality(self) -> Modality:
        """Return what the bytes mean."""
        return self.change.modality

    def num_frames(self, example: int) -> int:
        """Return how many pairs of neighbours there are; of an image, one, which is at rest."""
        return max(1, self.source.num_frames(example) - 1)

    def frames(self, example: int, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return motion, uint8 `[T, H, W, c]`.

        Args:
            example: Position of the video, from 0.
            indices: Frames after which the changes come, each below `num_frames`.
        """
        last = self.source.num_frames(example) - 1
        starts, places = np.unique(np.asarray(indices, np.int64), return_inverse=True)
        pairs = np.stack([starts, np.minimum(starts + 1, last)], axis=1)
        wanted, in_wanted = np.unique(pairs, return_inverse=True)
        frames = self.source.frames(example, wanted)
        if self.rescale is not None:
            frames = self.rescale(frames)
        changes = self.change(frames, [(a, b) for a, b in in_wanted.reshape(pairs.shape)])
        return changes[places]


@dataclasses.dataclass(frozen=True)
class Stacked(_Derived):
    """A source whose frames are several successive frames, one behind the other in the channels.

    Attributes:
        source: Gives the single frames.
        count: Number of frames in one.

    References:
        Simonyan and Zisserman, Two-Stream Convolutional Networks, NIPS 2014, section 3: ten flow
        fields; Wang et al., Temporal Segment Networks, ECCV 2016: five, in ten channels.
    """

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"The stack's count is {self.count}; it must be at least 1.")

    @property
    def modality(self) -> Modality:
        """Return what the bytes mean."""
        return modality_of(self.source)

    def num_frames(self, example: int) -> int:
        """Return how many stacks there are; of a video that is too short, one."""
        return max(1, self.source.num_frames(example) - self.count + 1)

    def frames(self, example: int, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return stacks, uint8 `[T, H, W, count * c]`.

        Args:
            example: Position of the video, from 0.
            indices: First frames of the stacks, each below `num_frames`. Beyond a video's end its
                last frame is repeated.
        """
        last = self.source.num_frames(example) - 1
        times = np.asarray(indices, np.int64)[:, None] + np.arange(self.count)
        wanted, places = np.unique(np.minimum(times, last), return_inverse=True)
        stacks = self.source.frames(example, wanted)[places.reshape(times.shape)]
        num_stacks, count, height, width, channels = stacks.shape
        return stacks.transpose(0, 2, 3, 1, 4).reshape(num_stacks, height, width, count * channels)


def show_motion(
    source: Source,
    *,
    modality: str = "",
    flow_method: str = "dis",
    flow_bound_px: float = 20.0,
    motion_short_side_px: int = 0,
    stack: int = 1,
) -> Source:
    """Have a source show what a configuration names.

    Args:
        source: A source.
        modality: "flow" or "difference", of a source of colours; empty for what the source shows.
        flow_method: "dis" or "farneback".
        flow_bound_px: Longest movement that is told from longer ones, pixels per frame.
        motion_short_side_px: Frames are first resized so; 0 keeps them.
        stack: Successive frames that make one, in its channels.

    Raises:
        ValueError: An unknown word or an impossible number, or the source shows no colours.
    """
    if modality:
        changes: dict[str, Callable[[], Change]] = {
            Modality.FLOW.value: lambda: Flow(_flow_method(flow_method), flow_bound_px),
            Modality.DIFFERENCE.value: Difference,
        }
        if modality not in changes:
            raise ValueError(f"source.modality={modality!r}; {closest(modality, changes)}")
        if modality_of(source) is not Modality.RGB:
            raise ValueError(
                f"source.modality={modality!r} is made of colours, but the data set shows "
                f"{modality_of(source)} already; leave it out"
            )
        rescale = ShortSide(motion_short_side_px) if motion_short_side_px else None
        source = Motion(source, changes[modality](), rescale)
    return source if stack == 1 else Stacked(source, stack)


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
