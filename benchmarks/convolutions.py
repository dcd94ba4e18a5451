# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Time every formulation of a convolution beside XLA's own instruction for it.

    python benchmarks/convolutions.py [--repeats 7] [--only channel-wise]

Prints a Markdown table of medians in milliseconds: forward, and forward with backward (a stem's
input is data, so it has no input gradient). The peer is one `lax.conv_general_dilated` in 3D with
`feature_group_count`, or `lax.reduce_window`, differentiated by JAX. Peer and formulation take
turns, so that a busy machine slows both. The floor is the longer of the forward pass's operations
and bytes (input, kernel and output once) at the rates of a large matrix product and of a copy,
taken at their best at the start.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import math
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

from vidpretrain import ops

Triple = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Case:
    """One convolution, or one pooling where there is no kernel.

    Attributes:
        name: What it is and where it occurs.
        clip: `[B, T, H, W, C]`.
        taps: Kernel size over time, height and width.
        features: Output channels; 0 for max pooling.
        strides: Strides over time, height and width.
        groups: Channel groups.
        data: Whether the input is data, which needs no gradient.
    """

    name: str
    clip: tuple[int, int, int, int, int]
    taps: Triple
    features: int
    strides: Triple = (1, 1, 1)
    groups: int = 1
    data: bool = False

    @property
    def padding(self) -> Triple:
        """Symmetric padding."""
        t, h, w = (k // 2 for k in self.taps)
        return t, h, w


CASES = (
    Case("stem 1x7x7, SlowOnly", (2, 8, 112, 112, 3), (1, 7, 7), 64, (1, 2, 2), data=True),
    Case("stem 3x7x7, CSN", (2, 8, 112, 112, 3), (3, 7, 7), 64, (1, 2, 2), data=True),
    Case("dense 1x3x3, 64", (2, 8, 28, 28, 64), (1, 3, 3), 64),
    Case("dense 3x3x3, 64", (2, 8, 28, 28, 64), (3, 3, 3), 64),
    Case("dense 3x3x3, 16, small networks", (8, 8, 14, 14, 16), (3, 3, 3), 16),
    Case("temporal 3x1x1, 64", (2, 8, 28, 28, 64), (3, 1, 1), 64),
    Case("temporal 3x1x1, 1024, SlowOnly", (2, 8, 8, 8, 1024), (3, 1, 1), 256),
    Case("point-wise 1x1x1, 64 to 256", (2, 8, 28, 28, 64), (1, 1, 1), 256),
    Case("channel-wise 3x3x3, 64, CSN", (2, 8, 28, 28, 64), (3, 3, 3), 64, groups=64),
    Case("channel-wise 3x3x3, 512, CSN", (2, 8, 4, 4, 512), (3, 3, 3), 512, groups=512),
    Case(
        "channel-wise 3x3x3 / 2, 54, X3D",
        (2, 8, 56, 56, 54),
        (3, 3, 3),
        54,
        (1, 2, 2),
        groups=54,
    ),
    Case("channel-wise 5x1x1, 24, X3D", (2, 8, 56, 56, 24), (5, 1, 1), 24, groups=24),
    Case("8 groups 1x3x3, 64, CT", (2, 8, 28, 28, 64), (1, 3, 3), 64, groups=8),
    Case("8 groups 3x1x1, 64, CT", (2, 8, 28, 28, 64), (3, 1, 1), 64, groups=8),
    Case("16 groups 1x3x3, 256, CT", (2, 8, 8, 8, 256), (1, 3, 3), 256, groups=16),
    Case("max pool 1x3x3 / 2, 64", (2, 8, 56, 56, 64), (1, 3, 3), 0, (1, 2, 2)),
)


def ours(case: Case, x: Array, kernel: Array) -> Array:
    """Run the case by the operation of this package."""
    if not case.features:
        return ops.max_pool(x, case.taps, strides=case.strides, padding=case.padding)
    return ops.conv3d(x, kernel, strides=case.strides, groups=case.groups)


def peer(case: Case, x: Array, kernel: Array) -> Array:
    """Run the case by one instruction of XLA."""
    padding = [(p, p) for p in case.padding]
    if not case.features:
        return lax.reduce_window(
            x,
            -jnp.inf,
            lax.max,
            (1, *case.taps, 1),
            (1, *case.strides, 1),
            [(0, 0), *padding, (0, 0)],
        )
    return lax.conv_general_dilated(
        x,
        kernel,
        case.strides,
        padding,
        feature_group_count=case.groups,
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
    )


def with_gradients(case: Case, run: Callable[..., Array]) -> Callable[..., object]:
    """Return the function that runs a case forward and backward."""
    wanted = (1,) if case.data else (0, 1) if case.features else (0,)

    def step(x: Array, kernel: Array, cotangent: Array) -> object:
        y, pullback = jax.vjp(functools.partial(run, case), x, kernel)
        gradients = pullback(cotangent)
        return y, [gradients[i] for i in wanted]

    return step


def milliseconds(
    functions: list[Callable[..., object]], operands: tuple, repeats: int
) -> list[list[float]]:
    """Return what each run of each function took; the functions take turns."""
    compiled = [jax.jit(function) for function in functions]
    for function in compiled:
        jax.block_until_ready(function(*operands))
    times: list[list[float]] = [[] for _ in compiled]
    for _ in range(repeats):
        for function, measured in zip(compiled, times, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(function(*operands))
            measured.append(1e3 * (time.perf_counter() - start))
    return times


def rates() -> tuple[float, float]:
    """Return what the machine does at best: operations per second of a product, bytes of a copy."""
    matrix, vector = jnp.ones((2048, 2048)), jnp.ones(2**22)
    (product,) = milliseconds([lambda a: a @ a], (matrix,), repeats=20)
    (copy,) = milliseconds([lambda a: a + 1], (vector,), repeats=20)
    return 2e3 * 2048**3 / min(product), 2e3 * vector.nbytes / min(copy)


def row(case: Case, repeats: int, speed: float, bandwidth: float) -> str:
    """Time a case and format its row."""
    inputs = case.clip[-1] // case.groups
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], case.clip)
    kernel = jax.random.normal(keys[1], (*case.taps, inputs, max(case.features, 1)))
    y = jax.eval_shape(functools.partial(ours, case), x, kernel)
    cotangent = jax.random.normal(keys[2], y.shape)
    runs = [functools.partial(peer, case), functools.partial(ours, case)]
    forward = [statistics.median(times) for times in milliseconds(runs, (x, kernel), repeats)]
    steps = [with_gradients(case, peer), with_gradients(case, ours)]
    both = [
        statistics.median(times) for times in milliseconds(steps, (x, kernel, cotangent), repeats)
    ]
    flops = 2 * math.prod(y.shape) * math.prod(kernel.shape[:4]) if case.features else 0
    num_bytes = x.nbytes + 4 * math.prod(y.shape) + (kernel.nbytes if case.features else 0)
    floor = 1e3 * max(flops / speed, num_bytes / bandwidth)
    cells = [
        case.name,
        f"{flops / 1e6:,.0f}",
        f"{num_bytes / 1e6:.1f}",
        f"{floor:.2f}",
        *(f"{value:,.2f}" for value in forward),
        f"{forward[0] / forward[1]:.1f}",
        *(f"{value:,.2f}" for value in both),
        f"{both[0] / both[1]:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=7, help="runs per median")
    parser.add_argument("--only", default="", help="run the cases whose name contains this")
    arguments = parser.parse_args()
    speed, bandwidth = rates()
    device = jax.devices()[0]
    print(
        f"{device.platform} ({device.device_kind}), jax {jax.__version__}, float32: "
        f"{speed / 1e9:.0f} GFLOP/s, {bandwidth / 1e9:.0f} GB/s\n"
    )
    print("| case | MFLOP | MB | floor | peer | ours | ratio | peer, both | ours, both | ratio |")
    print(f"|---{'|---:' * 9}|")
    for case in CASES:
        if arguments.only in case.name:
            print(row(case, arguments.repeats, speed, bandwidth), flush=True)


if __name__ == "__main__":
    main()
