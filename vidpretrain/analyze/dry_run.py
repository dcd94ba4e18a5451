# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a recipe would cost: every stage planned, counted and compiled, and nothing run or written.

No weight is allocated, whatever the network's size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from vidpretrain import config as recipes
from vidpretrain import data
from vidpretrain.analyze import count
from vidpretrain.train.compiled import batch_shapes, compile_train_step, state_shapes
from vidpretrain.train.plan import Plan

# The rule by which each paper counts (`analyze.count`).
_RULES = {"sts": "mmcv", "sth": "mmcv", "ct": "thop"}
_MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Memory:
    """Memory of a compiled training step on each device, bytes.

    Attributes:
        arguments: what the step is given: the state and a batch.
        temporaries: activations, gradients, whatever lives only within the step.
        results: what it gives back and does not write over its arguments.
    """

    arguments: int
    temporaries: int
    results: int

    @property
    def total(self) -> int:
        """All of it, bytes."""
        return self.arguments + self.temporaries + self.results


def memory_per_device(plan: Plan) -> Memory:
    """Compile a stage's training step for its mesh, on shapes, and return what it needs.

    Note:
        It is what XLA plans for the platform at hand. Libraries' work space, and the batches that
        are read ahead, come on top; another platform has other layouts and fusions.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    compiled = compile_train_step(plan).lower(state_shapes(plan), batch_shapes(plan), key).compile()
    memory: Any = compiled.memory_analysis()
    return Memory(
        arguments=memory.argument_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        results=memory.output_size_in_bytes - memory.alias_size_in_bytes,
    )


def describe(plans: Sequence[Plan], *, compile_steps: bool) -> Iterator[str]:
    """Yield a description of each stage, several lines long.

    Args:
        plans: of all stages, in order.
        compile_steps: whether to compile the training steps, which tells their memory.
    """
    seen: dict[str, int] = {}
    for plan in plans:
        before = seen.get(plan.config["init"]["source"], 0)
        seen[plan.name] = before + plan.budget.images(plan.cadence.total)
        rows = {
            "network": plan.config["model"]["name"],
            "data": _data(plan),
            "weights from": _origin(plan),
            **_counts(plan),
            "steps": f"{plan.cadence.total:,} of {plan.config['batch_size']} examples"
            + _parts(plan),
            "epochs": f"{plan.cadence.total / plan.budget.steps_per_epoch:.4g}",
            "images seen": _images(seen[plan.name] - before, before),
            "learning rate": _rates(plan),
            "batch norm": _norms(plan),
        }
        if compile_steps:
            rows["memory a device"] = _memory(plan)
        width = max(map(len, rows))
        yield "\n".join(
            [f"stage {plan.name}", *(f"  {name:{width}}  {row}" for name, row in rows.items())]
        )


def _data(plan: Plan) -> str:
    train, test = plan.train_source, plan.test_source
    told = f"{len(train):,} examples to train, {len(test):,} to test, {plan.num_classes} classes"
    stand_in = data.find_stand_in(train)
    if stand_in is None:
        return told
    return f"{told}: the published size of {stand_in.name}, for {stand_in.missing}"


def _origin(plan: Plan) -> str:
    init = plan.config["init"]
    if not init["source"]:
        return "none: at random"
    return f"{init['source']} ({init['method']})"


def _counts(plan: Plan) -> dict[str, str]:
    spec = plan.config["model"]["name"]
    rule = _RULES[recipes.paper_of(spec)]
    sizes = dict.fromkeys((plan.size_px, plan.views.test_crops.size_px))
    counts = {
        size: count.trace(plan.model, plan.frames, size, plan.channels).total(count.RULES[rule])
        for size in sizes
    }
    costs = ", ".join(
        f"{one.gflops:.3f} for {plan.frames} x {size} x {size}" for size, one in counts.items()
    )
    return {
        "parameters": f"{next(iter(counts.values())).parameters:,}",
        "GFLOPs": f"{costs} (rule {rule})",
    }


def _parts(plan: Plan) -> str:
    each = plan.config["batch_size"] // plan.mesh.size
    parts = plan.config["optim"]["accumulate"]
    told = f", {each} on each of {plan.mesh.size} device(s)"
    return told if parts == 1 else f"{told} in {parts} parts"


def _images(own: int, before: int) -> str:
    told = f"{own:,}"
    return f"{told}, after {before:,} before: {own + before:,}" if before else told


def _rates(plan: Plan) -> str:
    total = plan.cadence.total
    if not total:
        return "none: it only tests"
    warmup = plan.budget.steps(plan.config["schedule"]["warmup"])
    steps = sorted({0, warmup, total // 2, total - 1})
    return ", ".join(f"{float(plan.schedule(step)):.4g} at step {step:,}" for step in steps)


def _norms(plan: Plan) -> str:
    batches = plan.config["norm"]["precise_batches"]
    return f"precise over {batches} batches before tests" if batches else "running averages"


def _memory(plan: Plan) -> str:
    memory = memory_per_device(plan)
    platform = plan.mesh.devices.flat[0].platform
    return (
        f"{memory.total / _MIB:,.0f} MiB on {platform}: {memory.arguments / _MIB:,.0f} of state "
        f"and batch, {memory.temporaries / _MIB:,.0f} within the step, "
        f"{memory.results / _MIB:,.0f} of results"
    )
