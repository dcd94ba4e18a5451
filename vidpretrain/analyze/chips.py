# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""TPU chips and slices of them: what their makers say they have, and what slices there are."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from vidpretrain.suggest import closest


@dataclasses.dataclass(frozen=True)
class Chip:
    """One kind of TPU chip.

    Attributes:
        name: as topologies are named.
        flops_per_sec: peak of bfloat16 products, of a chip.
        hbm_bytes: memory of a chip.
        hbm_bytes_per_sec: its bandwidth.
        link_bytes_per_sec: of one inter-chip link, in each direction.
        config: libtpu's name for the way JAX sees the chip: as one device.
        cores: TensorCores, which accelerator types such as `v4-8` count; 1 where they count chips.
        one_host: chips of the largest slice that is on one host.
        host: chips of each host of larger slices, along each axis.
        slices: those that can be had, along each axis.
        ring: an axis whose size is a multiple of this has links around its end.
    """

    name: str
    flops_per_sec: float
    hbm_bytes: int
    hbm_bytes_per_sec: float
    link_bytes_per_sec: float
    config: str
    cores: int
    one_host: int
    host: tuple[int, ...]
    slices: tuple[tuple[int, ...], ...]
    ring: int


_SQUARES = ((2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16))
_CUBES = (
    (2, 2, 1),
    (2, 2, 2),
    (2, 2, 4),
    (2, 4, 4),
    (4, 4, 4),
    (4, 4, 8),
    (4, 8, 8),
)

# Peak compute, memory and links: cloud.google.com/tpu/docs/v4, v5e, v5p and v6e, each under "System
# architecture"; v4's links: Jouppi et al., TPU v4, 2023 (arXiv 2304.01433), table 4. The pages give
# a chip's inter-chip bandwidth as the sum over its links: 1600 Gbps for the 4 of v5e.
CHIPS: Mapping[str, Chip] = {
    chip.name: chip
    for chip in (
        Chip(
            name="v4",
            flops_per_sec=275e12,
            hbm_bytes=32 * 2**30,
            hbm_bytes_per_sec=1200e9,
            link_bytes_per_sec=50e9,
            config="megacore",
            cores=2,
            one_host=4,
            host=(2, 2, 1),
            slices=_CUBES,
            ring=4,
        ),
        Chip(
            name="v5e",
            flops_per_sec=197e12,
            hbm_bytes=16 * 2**30,
            hbm_bytes_per_sec=819e9,
            link_bytes_per_sec=50e9,
            config="default",
            cores=1,
            one_host=8,
            host=(2, 2),
            slices=_SQUARES,
            ring=16,
        ),
        Chip(
            name="v5p",
            flops_per_sec=459e12,
            hbm_bytes=95 * 2**30,
            hbm_bytes_per_sec=2765e9,
            link_bytes_per_sec=100e9,
            config="megacore",
            cores=2,
            one_host=4,
            host=(2, 2, 1),
            slices=_CUBES,
            ring=4,
        ),
        Chip(
            name="v6e",
            flops_per_sec=918e12,
            hbm_bytes=32 * 2**30,
            hbm_bytes_per_sec=1640e9,
            link_bytes_per_sec=100e9,
            config="default",
            cores=1,
            one_host=8,
            host=(2, 2),
            slices=_SQUARES,
            ring=16,
        ),
    )
}


@dataclasses.dataclass(frozen=True)
class Slice:
    """Chips that are wired to each other.

    Attributes:
        chip: their kind.
        shape: how many along each axis.
    """

    chip: Chip
    shape: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Slice:
        """Return the slice of a topology, such as `v5e:4x4`, or accelerator type, such as `v4-8`.

        Raises:
            ValueError: there is none.
        """
        colon = ":" in text
        name, _, size = text.partition(":" if colon else "-")
        name = {"v5litepod": "v5e"}.get(name, name)
        if name not in CHIPS:
            raise ValueError(f"no TPU {name!r} in topology {text!r}; {closest(name, CHIPS)}")
        chip = CHIPS[name]
        for shape in chip.slices:
            found = cls(chip, shape)
            if size == (found.layout if colon else str(found.num_chips * chip.cores)):
                return found
        layouts = [str(cls(chip, shape)) for shape in chip.slices]
        raise ValueError(f"no slice {text!r}; known are {', '.join(layouts)}")

    @classmethod
    def of_size(cls, chip: Chip, num_chips: int) -> Slice:
        """Return the slice with so many chips.

        Raises:
            ValueError: there is none.
        """
        for shape in chip.slices:
            if math.prod(shape) == num_chips:
                return cls(chip, shape)
        sizes = [str(math.prod(shape)) for shape in chip.slices]
        raise ValueError(f"no {chip.name} slice of {num_chips} chips; give {', '.join(sizes)}")

    @property
    def num_chips(self) -> int:
        """Chips in all."""
        return math.prod(self.shape)

    @property
    def num_hosts(self) -> int:
        """Hosts in all."""
        if self.num_chips <= self.chip.one_host:
            return 1
        return self.num_chips // math.prod(self.chip.host)

    @property
    def layout(self) -> str:
        """The shape as text, such as `4x4`."""
        return "x".join(map(str, self.shape))

    def rings(self) -> bool:
        """Say whether links lead around the ends of all axes; if not, none is counted on."""
        return all(size % self.chip.ring == 0 for size in self.shape)

    def links(self) -> int:
        """Return how many links a chip sends through in a collective over all of the slice.

        Two along an axis that closes to a ring. Along an open one it is one: the chips at its ends
        have no other, and all go at their pace.
        """
        return sum(2 if self.rings() else 1 for size in self.shape if size > 1)

    def hops(self) -> int:
        """Return how many chips a message passes to the one farthest away."""
        return sum(size // 2 if self.rings() else size - 1 for size in self.shape)

    def __str__(self) -> str:
        return f"{self.chip.name}:{self.layout}"
