# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Windows that slide over clips, as whole shifted arrays: one view of the clip for every tap.

Channel-wise convolutions and max pooling are elementwise in the channels. XLA's CPU backend runs
their own instructions element by element, but compiles sums of shifted arrays to vectorised loops.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator

import jax.numpy as jnp
from jax import Array, lax

Triple = tuple[int, int, int]
Sizes = tuple[int, ...]


def output_size(
    size: Sizes, taps: Sizes, strides: Sizes, padding: Sizes, dilation: Sizes = (1, 1, 1)
) -> Sizes:
    """Return the frames, height and width that a window leaves of `size` (time, height, width)."""
    return tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, taps, strides, padding, dilation, strict=True)
    )


@dataclasses.dataclass(frozen=True)
class Window:
    """A window over time, height and width.

    Output position o reads, through tap k, position `o * stride + k * dilation` of the padded clip.
    The positions of the padded clip with one remainder modulo the strides are a *phase*; in it,
    every tap reads a contiguous block.

    Attributes:
        taps: Number of taps per axis.
        strides: Strides per axis.
        padding: Symmetric padding per axis.
        dilation: Distance of taps per axis.
    """

    taps: Sizes
    strides: Sizes
    padding: Sizes
    dilation: Sizes = (1, 1, 1)

    def output_size(self, size: Sizes) -> Sizes:
        """Return the size that the window leaves of `size`."""
        return output_size(size, self.taps, self.strides, self.padding, self.dilation)

    def views(self, x: Array, fill: float = 0.0) -> Iterator[tuple[Sizes, Array]]:
        """Yield each tap with what it reads, `[B, T', H', W', C]` of `x` padded with `fill`."""
        padded, size = self._pad(x, fill), self.output_size(x.shape[1:4])
        for tap in itertools.product(*map(range, self.taps)):
            start = [k * d for k, d in zip(tap, self.dilation, strict=True)]
            stop = [a + (n - 1) * s + 1 for a, n, s in zip(start, size, self.strides, strict=True)]
            yield (
                tap,
                lax.slice(
                    padded,
                    (0, *start, 0),
                    (x.shape[0], *stop, x.shape[4]),
                    (1, *self.strides, 1),
                ),
            )

    def phases(self, x: Array) -> tuple[Array, dict[Sizes, Sizes]]:
        """Return the phases of a zero-padded clip, and where each tap reads.

        Returns:
            `[B, P * frames, height, width, C]`, phase after phase (the batch stays as it is, for it
            may be spread over devices), and for every tap the place (time, height, width) that the
            first output reads.
        """
        phases, extent = self._pad(x, 0.0), self._extent(x.shape[1:4])
        for axis, (stride, length) in enumerate(zip(self.strides, extent, strict=True), start=1):
            if stride > 1:
                shape = list(phases.shape)
                grid = phases.reshape(*shape[:axis], length, stride, *shape[axis + 1 :])
                shape[axis] = length
                phases = jnp.moveaxis(grid, axis + 1, 1).reshape(shape[0], -1, *shape[2:])
        return phases, dict(self._places(extent))

    def scatter(self, arrays: tuple[Array, ...], term: Callable[..., Array], size: Sizes) -> Array:
        """Add terms up at the positions that their taps read: the adjoint of `views`.

        Args:
            arrays: Arrays of the window's output, `[B, T', H', W', C]`; zero outside of it.
            term: Called with a tap and blocks of the arrays; returns what that tap adds to the
                positions read. Of zeros it must make zeros.
            size: Frames, height and width of the clip.

        Returns:
            `[B, *size, C]`.
        """
        extent, reach = self._extent(size), self._reach()
        around = ((0, 0), *((r, r) for r in reach), (0, 0))
        padded = [jnp.pad(array, around) for array in arrays]
        batch, *_, channels = arrays[0].shape
        sums: dict[int, Array] = {}
        for tap, (frame, *pixel) in self._places(extent):
            first = frame - frame % extent[0]
            low = [r - n for r, n in zip(reach, (frame - first, *pixel), strict=True)]
            high = [n + length for n, length in zip(low, extent, strict=True)]
            blocks = [lax.slice(a, (0, *low, 0), (batch, *high, channels)) for a in padded]
            value = term(tap, *blocks)
            sums[first] = sums[first] + value if first in sums else value
        nothing = jnp.zeros_like(next(iter(sums.values())))
        phases = jnp.concatenate(
            [sums.get(i * extent[0], nothing) for i in range(math.prod(self.strides))], axis=1
        )
        crop = [
            (-p, n + p - q * s, 0)
            for n, p, q, s in zip(size, self.padding, extent, self.strides, strict=True)
        ]
        clip = self._join(phases)
        return lax.pad(clip, jnp.zeros((), clip.dtype), [(0, 0, 0), *crop, (0, 0, 0)])

    def _pad(self, x: Array, fill: float) -> Array:
        """Pad a clip, or crop what nothing reads, to whole phases."""
        pad = [
            (p, q * s - n - p, 0)
            for n, p, q, s in zip(
                x.shape[1:4], self.padding, self._extent(x.shape[1:4]), self.strides, strict=True
            )
        ]
        return lax.pad(x, jnp.asarray(fill, x.dtype), [(0, 0, 0), *pad, (0, 0, 0)])

    def _reach(self) -> Sizes:
        """Return how many positions of a phase the last tap lies behind the first."""
        return tuple(
            (k - 1) * d // s for k, d, s in zip(self.taps, self.dilation, self.strides, strict=True)
        )

    def _extent(self, size: Sizes) -> Sizes:
        """Return the size of each phase."""
        return tuple(n + r for n, r in zip(self.output_size(size), self._reach(), strict=True))

    def _places(self, extent: Sizes) -> Iterator[tuple[Sizes, Sizes]]:
        """Yield each tap with the place in the phases that the first output reads."""
        for tap in itertools.product(*map(range, self.taps)):
            read = [k * d for k, d in zip(tap, self.dilation, strict=True)]
            time, row, column = (r // s for r, s in zip(read, self.strides, strict=True))
            phase = [r % s for r, s in zip(read, self.strides, strict=True)]
            number = (phase[2] * self.strides[1] + phase[1]) * self.strides[0] + phase[0]
            yield tap, (number * extent[0] + time, row, column)

    def _join(self, phases: Array) -> Array:
        """Interleave the phases: the inverse of the split."""
        for axis in (3, 2, 1):
            stride = self.strides[axis - 1]
            if stride > 1:
                batch, _, *rest = phases.shape
                grid = jnp.moveaxis(phases.reshape(batch, stride, -1, *rest), 1, axis + 1)
                shape = list(grid.shape)
                shape[axis : axis + 2] = [shape[axis] * stride]
                phases = grid.reshape(shape)
        return phases
