# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Parameters and operations of a network, read off its traced program.

The network is traced once on abstract shapes: no weight is allocated and nothing is computed. In
the traced program every operation of `vidpretrain.ops` is one call that carries the operation's
name and the shapes of its operands, so that counting it takes no knowledge of how it is run on
this platform; the scope of the call says which part of the network it belongs to. Each way of
counting (`RULES`) is then a sum over those calls.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend import core

# Operations with kernels, and how many: the operands after the first. An output element costs one
# multiply-accumulate for each kernel element that it sees: all axes but the output channels.
NUM_KERNELS: Mapping[str, int] = {"conv3d": 1, "sts_conv": 1, "sth_conv": 2, "dense": 1}
# Operations that some rule counts by their elements, and the field of `Rule` with their cost.
COUNTED_ON_OUTPUT: Mapping[str, str] = {"batch_norm": "batch_norm", "relu": "relu", "relu6": "relu"}
COUNTED_ON_INPUT: Mapping[str, str] = {
    "max_pool": "window_pool",
    "avg_pool": "window_pool",
    "adaptive_avg_pool": "adaptive_avg_pool",
}

# The part of a path that names a stage: with what stands before it (a pathway), not behind it.
STAGE = re.compile(r"stem|stage\d+|head")
# Stands for what a network does between its modules: pools.
BETWEEN = "between"


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a counting rule adds to the multiply-accumulates of convolutions and linear layers.

    Attributes:
        batch_norm: Cost of an output element of a batch norm.
        relu: Cost of an output element of a ReLU; swish and sigmoid are free under every rule.
        window_pool: Cost of an input element of a max or average pool with a window.
        adaptive_avg_pool: Cost of an input element of a pool over whole axes that is a module of
            its own; means that a network takes by a function are free under every rule.
    """

    batch_norm: int = 0
    relu: int = 0
    window_pool: int = 0
    adaptive_avg_pool: int = 0


# Each named after the tool that counts so.
RULES: Mapping[str, Rule] = {
    "macs": Rule(),  # PyTorchVideo zoo
    "fvcore": Rule(batch_norm=2),  # mmaction2 zoo
    "thop": Rule(batch_norm=2, adaptive_avg_pool=1),  # CT-Net paper
    "mmcv": Rule(batch_norm=2, relu=1, window_pool=1, adaptive_avg_pool=1),  # STS, STH papers
}


@dataclasses.dataclass(frozen=True)
class Operation:
    """One call of an operation in a network.

    Attributes:
        name: The operation, such as `conv3d`.
        stage: Part of the network that it belongs to.
        macs: Multiply-accumulates with its kernels.
        inputs: Elements of its first operand.
        outputs: Elements of its first result.
    """

    name: str
    stage: str
    macs: int
    inputs: int
    outputs: int

    def cost(self, rule: Rule) -> int:
        """Return what the rule counts for this call."""
        if self.name in COUNTED_ON_OUTPUT:
            return getattr(rule, COUNTED_ON_OUTPUT[self.name]) * self.outputs
        if self.name in COUNTED_ON_INPUT:
            return getattr(rule, COUNTED_ON_INPUT[self.name]) * self.inputs
        return self.macs


@dataclasses.dataclass(frozen=True)
class Count:
    """Parameters and operations, of a network or of a part of it.

    Attributes:
        parameters: Elements of kernels, biases and the norms' scales and biases; running statistics
            are not parameters.
        operations: Operations of one forward pass under the rule counted by.
    """

    parameters: int
    operations: int

    @property
    def gflops(self) -> float:
        """Operations in units of 1e9, which the papers call GFLOPs."""
        return self.operations / 1e9


@dataclasses.dataclass(frozen=True)
class Network:
    """All that counting needs to know of a network on one input.

    Attributes:
        parameters: Number of parameters by stage, in the order of the forward pass.
        operations: Every counted call of a forward pass.
    """

    parameters: Mapping[str, int]
    operations: tuple[Operation, ...]

    def by_stage(self, rule: Rule) -> dict[str, Count]:
        """Return the count of every stage, in the order of the forward pass."""
        costs: Counter[str] = Counter()
        for operation in self.operations:
            costs[operation.stage] += operation.cost(rule)
        order = dict.fromkeys(operation.stage for operation in self.operations)
        order.update(dict.fromkeys(self.parameters))
        return {
            stage: Count(self.parameters.get(stage, 0), costs[stage])
            for stage in order
            if costs[stage] or self.parameters.get(stage, 0)
        }

    def total(self, rule: Rule) -> Count:
        """Return the count of the whole network."""
        return Count(
            sum(self.parameters.values()),
            sum(operation.cost(rule) for operation in self.operations),
        )


def trace(model: nn.Module, frames: int, size: int, channels: int = 3) -> Network:
    """Trace a network on the shape of one clip and list what can be counted.

    Args:
        model: A network of `vidpretrain.models`.
        frames: T, at least 1.
        size: Height and width in pixels, at least 1.
        channels: C, 3 for colours.

    Returns:
        Its parameters and operations on `[1, frames, size, size, channels]`.

    Raises:
        ValueError: The input is empty, or the network does not take it.
    """
    if frames < 1 or size < 1:
        raise ValueError(f"{frames} frames of {size} x {size} pixels: both must be at least 1")

    def initialise(key: jax.Array, clips: jax.Array) -> Any:
        return model.init_with_output(key, clips, train=False)

    # Initialising runs the forward pass, so one trace yields the parameters' shapes as well.
    program, (_, variables) = jax.make_jaxpr(initialise, return_shape=True)(
        jax.eval_shape(lambda: jax.random.key(0)),
        jax.ShapeDtypeStruct((1, frames, size, size, channels), jnp.float32),
    )
    parameters: Counter[str] = Counter()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"]):
        parameters[stage_of([entry.key for entry in path])] += math.prod(leaf.shape)
    operations = tuple(find_operations(program.jaxpr, set(variables["params"])))
    return Network(dict(parameters), operations)


def stage_of(path: Iterable[str]) -> str:
    """Return the stage that a parameter path or scope belongs to.

    `stage1/block0/conv1` belongs to `stage1`, `slow/stage1/block0` to `slow/stage1`; where no part
    names a stage, the first part stands for it, and `BETWEEN` for an empty path.
    """
    parts = list(path)
    for depth, part in enumerate(parts, start=1):
        if STAGE.fullmatch(part):
            return "/".join(parts[:depth])
    return parts[0] if parts else BETWEEN


def find_operations(
    program: core.Jaxpr, modules: Container[str], scope: tuple[str, ...] = ()
) -> Iterator[Operation]:
    """Yield every counted call of a traced program, those in rematerialised parts included.

    Args:
        program: The program.
        modules: Names of the network's own modules; a scope begins with other names.
        scope: Where in the network the program is called.
    """
    for equation in program.eqns:
        inner_scope = scope + tuple(filter(None, str(equation.source_info.name_stack).split("/")))
        name = str(equation.params.get("name"))
        if name in NUM_KERNELS or name in COUNTED_ON_OUTPUT or name in COUNTED_ON_INPUT:
            shapes = [shape_of(operand) for operand in equation.invars]
            outputs = math.prod(shape_of(equation.outvars[0]))
            kernels = shapes[1 : 1 + NUM_KERNELS.get(name, 0)]
            yield Operation(
                name,
                stage_of(itertools.dropwhile(lambda part: part not in modules, inner_scope)),
                outputs * sum(math.prod(kernel[:-1]) for kernel in kernels),
                math.prod(shapes[0]),
                outputs,
            )
        else:
            for inner in equation.params.values():
                if isinstance(inner, core.ClosedJaxpr):
                    yield from find_operations(inner.jaxpr, modules, inner_scope)
                elif isinstance(inner, core.Jaxpr):  # rematerialisation's
                    yield from find_operations(inner, modules, inner_scope)


def shape_of(value: Any) -> tuple[int, ...]:
    """Return the shape of a value in a traced program."""
    return value.aval.shape
