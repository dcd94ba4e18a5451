# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""A recipe's steps compiled for TPUs, on a machine that has none.

libtpu holds the TPU's compiler, and compiles for a slice that it is only told of. What comes out
is what would run there: its memory, operations and collectives are read off, and nothing is run.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import os
import re
import time
from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import topologies

from vidpretrain import ops
from vidpretrain.analyze.chips import Slice
from vidpretrain.analyze.collectives import Collective, find_collectives
from vidpretrain.train import compiled
from vidpretrain.train.plan import Plan

# libtpu is loaded beside others, says nothing of the TPU that is not there, and writes no logs.
_ENVIRONMENT = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_ACCELERATOR_TYPE": "v4-8",
    "TPU_LOG_DIR": "disabled",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
}
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
# "Used 20.1G of 15.75G hbm", or "temporaries (20.1G) exceeds available HBM (15.75G)".
_SIZE = r"\(?([\d.]+)([KMGT]?)\)?"
_OUT_OF_MEMORY = re.compile(rf"{_SIZE} (?:of|exceeds available HBM) {_SIZE}", re.IGNORECASE)
# Shortest searches. jax 0.11 knows the second way alone, which cuts less; 19 is XLA's level O1.
_QUICK: dict[str, Any] = (
    {"exec_time_optimization_effort": -1.0}
    if hasattr(jax.config, "jax_exec_time_optimization_effort")
    else {"optimization_level": 19}
)


class TPUError(RuntimeError):
    """A program cannot be compiled for a TPU here; the message says what would do."""


@dataclasses.dataclass(frozen=True)
class Step:
    """A compiled step, as each chip runs it.

    Attributes:
        arguments: bytes of what it is given: state and batch.
        temporaries: bytes of what lives only within it.
        results: bytes of what it gives back and does not write over its arguments.
        code: bytes of the program.
        flops: floating-point operations.
        hbm_bytes: bytes that its operations read and write. What stays in the chip's own memory
            between two operations is counted too: it is an upper bound.
        collectives: what it exchanges with other chips.
        compile_sec: how long the compiler took.
    """

    arguments: int
    temporaries: int
    results: int
    code: int
    flops: float
    hbm_bytes: float
    collectives: Sequence[Collective]
    compile_sec: float

    @property
    def memory(self) -> int:
        """All bytes of the chip's memory."""
        return self.arguments + self.temporaries + self.results + self.code


@dataclasses.dataclass(frozen=True)
class TooLarge:
    """A step that the compiler finds no room for.

    Attributes:
        memory: bytes that it needs on each chip.
        limit: bytes that a program may have.
    """

    memory: int
    limit: int


def require_libtpu() -> None:
    """Make sure that there is a compiler for TPUs, and that nothing else of theirs is looked for.

    Call it before JAX is used for anything else: this process will see no devices but the CPU's.

    Raises:
        TPUError: libtpu is not installed.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise TPUError(
            "the TPU's compiler, libtpu, is not installed: pip install -r requirements-tpu.txt"
        )
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    jax.config.update("jax_platforms", "cpu")


def devices_of(slice_: Slice) -> Sequence[Any]:
    """Return the devices of a slice that need not exist.

    Raises:
        TPUError: libtpu does not know the slice.
    """
    host = (*slice_.chip.host, 1)[:3]
    if slice_.num_chips < math.prod(host):
        host = (*slice_.shape, 1)[:3]
    try:
        return topologies.get_topology_desc(
            str(slice_),
            platform="tpu",
            chip_config_name=slice_.chip.config,
            chips_per_host_bounds=host,
            num_slices=1,
        ).devices
    except (RuntimeError, ValueError) as error:
        raise TPUError(f"libtpu cannot compile for {slice_}: {error}") from error


def compile_train_step(plan: Plan, *, quick: bool = True) -> Step | TooLarge:
    """Compile a stage's training step for the slice that its mesh is made of.

    Args:
        plan: made with `devices_of` the slice.
        quick: whether to leave out the compiler's longest searches. FLOPs and collectives stay the
            same, memory within a few percent; bytes accessed may differ by half.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    with ops.compile_for("tpu"):
        step = compiled.compile_train_step(plan)
        lowered = step.lower(compiled.state_shapes(plan), compiled.batch_shapes(plan), key)
    return _compile(lowered, plan, loop_times=plan.config["optim"]["accumulate"], quick=quick)


def compile_eval_step(plan: Plan, *, quick: bool = True) -> Step | TooLarge:
    """Compile a stage's test step; see `compile_train_step`."""
    with ops.compile_for("tpu"):
        variables = compiled.state_shapes(plan).eval_variables
        lowered = compiled.compile_eval_step(plan).lower(
            variables, compiled.test_batch_shapes(plan)
        )
    return _compile(lowered, plan, loop_times=1, quick=quick)


def _compile(lowered: Any, plan: Plan, *, loop_times: int, quick: bool) -> Step | TooLarge:
    start = time.monotonic()
    try:
        program = lowered.compile(_QUICK if quick else {})
    except jax.errors.JaxRuntimeError as error:
        return too_large(str(error))
    memory, cost = program.memory_analysis(), program.cost_analysis()
    return Step(
        arguments=memory.argument_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        results=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        code=memory.generated_code_size_in_bytes,
        # XLA counts what is in a loop once. Micro-batches are all but the optimizer's part.
        flops=cost["flops"] * loop_times,
        hbm_bytes=cost["bytes accessed"] * loop_times,
        collectives=tuple(
            find_collectives(program.as_text(), num_chips=plan.mesh.size, loop_times=loop_times)
        ),
        compile_sec=time.monotonic() - start,
    )


def too_large(message: str) -> TooLarge:
    """Read off the compiler's message how much memory a step wants.

    Raises:
        TPUError: the message is about something else.
    """
    match = _OUT_OF_MEMORY.search(message)
    if match is None:
        raise TPUError(f"the TPU's compiler refuses the step: {message}")
    used, used_unit, limit, limit_unit = match.groups()
    return TooLarge(
        memory=round(float(used) * _UNITS[used_unit]),
        limit=round(float(limit) * _UNITS[limit_unit]),
    )


def advise(plan: Plan, needed: TooLarge) -> list[str]:
    """Say what would make a training step fit, what costs least first.

    Args:
        plan: of the stage, on the slice.
        needed: what its training step needs.
    """
    config, stage = plan.config, f"--config.{plan.name}"
    rows = config["batch_size"] // plan.mesh.size
    advice = []
    if config["model"]["dtype"] == "float32":
        advice.append(f"{stage}.model.dtype=bfloat16: activations take half the room")
    # All but the state shrinks with the examples that are computed at once.
    state = _bytes_per_chip(compiled.state_shapes(plan))
    share = max(needed.limit - state, 1) / max(needed.memory - state, 1)
    parts = next((n for n in range(2, rows + 1) if rows % n == 0 and n * share >= 1), None)
    if parts is not None:
        accumulate = config["optim"]["accumulate"] * parts
        advice.append(
            f"{stage}.optim.accumulate={accumulate}: a step in {accumulate} parts, about "
            f"{(state + (needed.memory - state) / parts) / 2**30:.1f} GiB; batch norms see one "
            "part at a time"
        )
        advice.append(
            f"{parts} times the chips, or {stage}.batch_size={config['batch_size'] // parts}"
        )
    if "remat=" not in config["model"]["name"]:
        advice.append(
            "remat=1+2 among the options of model.name: the early stages' activations are computed "
            "again in the backward pass"
        )
    if config["parallel"]["fsdp"] == 1 and state > needed.limit / 10:
        advice.append(f"{stage}.parallel.fsdp: the state's {state / 2**30:.1f} GiB are cut, too")
    return advice


def _bytes_per_chip(shapes: Any) -> int:
    """Return the bytes of one device's part of arrays that are cut over a mesh."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(shapes)
    )
