# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Windows that slide over clips, as whole shifted arrays: one view of the clip for every tap.

Channel-wise convolutions and max pooling are elementwise in the channels. XLA's CPU backend runs
their own instructions element by element, but compiles sums of shifted arrays to vectorised loops.
"""

from __future__ import annotations

import dataclasses
import itertools
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
        size = self.output_size(x.shape[1:4])
        phases = self._split(x, fill)
        for tap, phase, start in self._places():
            stop = tuple(a + n for a, n in zip(start, size, strict=True))
            yield (
                tap,
                lax.slice(phases[phase], (0, *start, 0), (x.shape[0], *stop, x.shape[4])),
            )

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
        sums: dict[Sizes, Array] = {}
        for tap, phase, start in self._places():
            low = tuple(r - a for r, a in zip(reach, start, strict=True))
            high = tuple(a + n for a, n in zip(low, extent, strict=True))
            blocks = [lax.slice(a, (0, *low, 0), (batch, *high, channels)) for a in padded]
            value = term(tap, *blocks)
            sums[phase] = sums[phase] + value if phase in sums else value
        joined = self._join(sums, (batch, *extent, channels))
        crop = [
            (-p, n + p - q * s, 0)
            for n, p, q, s in zip(size, self.padding, extent, self.strides, strict=True)
        ]
        return lax.pad(joined, jnp.zeros((), joined.dtype), [(0, 0, 0), *crop, (0, 0, 0)])

    def _reach(self) -> Sizes:
        """Return how many positions of a phase the last tap lies behind the first."""
        return tuple(
            (k - 1) * d // s for k, d, s in zip(self.taps, self.dilation, self.strides, strict=True)
        )

    def _extent(self, size: Sizes) -> Sizes:
        """Return the size of each phase."""
        return tuple(n + r for n, r in zip(self.output_size(size), self._reach(), strict=True))

    def _places(self) -> Iterator[tuple[Sizes, Sizes, Sizes]]:
        """Yield each tap with its phase and the place in it that the first output reads."""
        for tap in itertools.product(*map(range, self.taps)):
            read = [k * d for k, d in zip(tap, self.dilation, strict=True)]
            pairs = [divmod(r, s) for r, s in zip(read, self.strides, strict=True)]
            start, phase = zip(*pairs, strict=True)
            yield tap, phase, start

    def _split(self, x: Array, fill: float) -> dict[Sizes, Array]:
        """Pad a clip and split it into the phases that taps read."""
        size, extent = x.shape[1:4], self._extent(x.shape[1:4])
        pad = [
            (p, q * s - n - p, 0)
            for n, p, q, s in zip(size, self.padding, extent, self.strides, strict=True)
        ]
        padded = lax.pad(x, jnp.asarray(fill, x.dtype), [(0, 0, 0), *pad, (0, 0, 0)])
        if self.strides == (1, 1, 1):
            return {(0, 0, 0): padded}
        phases = {phase for _, phase, _ in self._places()}
        # The barrier makes each phase an array: read in place, with strides, it is slow.
        return {
            phase: lax.optimization_barrier(
                lax.slice(padded, (0, *phase, 0), padded.shape, (1, *self.strides, 1))
            )
            for phase in sorted(phases)
        }

    def _join(self, phases: dict[Sizes, Array], shape: Sizes) -> Array:
        """Interleave the phases; those that no tap reads are zero."""
        dtype = next(iter(phases.values())).dtype

        def join(known: Sizes, axis: int) -> Array:
            if axis == 3:
                return phases.get(known, jnp.zeros(shape, dtype))
            parts = [
                join((*known[:axis], phase, *known[axis + 1 :]), axis + 1)
                for phase in range(self.strides[axis])
            ]
            if len(parts) == 1:
                return parts[0]
            *before, extent = parts[0].shape[: axis + 2]
            stacked = jnp.stack(parts, axis=axis + 2)
            return stacked.reshape(*before, extent * len(parts), *parts[0].shape[axis + 2 :])

        return join((0, 0, 0), 0)
