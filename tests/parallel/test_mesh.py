# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Meshes: their shapes, what lies where, and that training does not tell them apart."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from tests.parallel import eight
from tests.runs import MICRO, ROOT, losses, scores, start
from vidpretrain import config as recipes
from vidpretrain import parallel
from vidpretrain.train.compiled import compile_train_step, state_shapes
from vidpretrain.train.metrics import read_metrics
from vidpretrain.train.plan import make_plan

RECIPE = f"{MICRO}:stages=scratch,steps=10,ema=0.9"
# Eleven test videos in batches of eight: the last batch is not full, and not evenly so.
OVERRIDES = ("scratch.batch_size=8", "scratch.source.num_clips=11")


class Device:
    """What a mesh asks of a device."""

    platform = "fake"

    def __init__(self, id, process_index):
        self.id, self.process_index = id, process_index


def devices(number, processes=1):
    # As on a TPU slice, the devices of a process do not follow each other by number.
    return [Device(id, id % processes) for id in range(number)]


@pytest.mark.parametrize(
    ("sizes", "number", "expected"),
    [
        ({}, 8, (8, 1)),
        ({"fsdp": 4}, 8, (2, 4)),
        ({"data": 2, "fsdp": -1}, 8, (2, 4)),
        ({"data": 1, "fsdp": -1}, 8, (1, 8)),
        ({"data": 4, "fsdp": 2}, 8, (4, 2)),
        ({"data": 2}, 8, (2, 1)),
        ({"fsdp": 3}, 6, (2, 3)),
    ],
)
def test_sizes_are_inferred(sizes, number, expected):
    mesh = parallel.make_mesh(**sizes, devices=devices(number))
    assert mesh.axis_names == ("data", "fsdp")
    assert mesh.devices.shape == expected


@pytest.mark.parametrize(
    ("sizes", "processes", "message"),
    [
        ({"data": 0}, 1, "parallel.data=0; give -1 for all"),
        ({"fsdp": -2}, 1, "parallel.fsdp=-2; give -1 for all"),
        ({"data": -1, "fsdp": -1}, 1, "only one of the two can be -1"),
        ({"fsdp": 3}, 1, r"parallel.fsdp=3 does not divide the 8 .* of 1, 2, 4, 8"),
        ({"data": 3}, 1, r"parallel.data=3 .* does not divide the 8"),
        ({"data": 16}, 1, r"parallel.data=16 .* does not divide the 8"),
        ({"data": 2, "fsdp": 2}, 2, "4 of 8 devices; several processes must use all"),
    ],
)
def test_sizes_that_do_not_fit_the_devices_are_refused(sizes, processes, message):
    with pytest.raises(ValueError, match=message):
        parallel.make_mesh(**sizes, devices=devices(8, processes))


def test_the_devices_of_a_process_lie_together():
    mesh = parallel.make_mesh(fsdp=2, devices=devices(8, processes=2))
    assert [[device.id for device in row] for row in mesh.devices] == [
        [0, 2],
        [4, 6],
        [1, 3],
        [5, 7],
    ]


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((), ()),
        ((6,), ()),
        ((8,), ("fsdp",)),
        ((3, 3, 3, 64, 32), (None, None, None, "fsdp")),
        ((3, 3, 3, 64, 64), (None, None, None, None, "fsdp")),
        ((3, 3, 3, 54, 8), (None, None, None, None, "fsdp")),  # 54 is larger, but does not divide
        ((3, 0), ()),
    ],
)
def test_arrays_are_cut_along_their_largest_axis(shape, spec):
    mesh = jax.sharding.AbstractMesh((2, 4), ("data", "fsdp"))
    leaf = jax.ShapeDtypeStruct(shape, np.float32)
    assert parallel.fsdp_sharding({"a": leaf}, mesh)["a"].spec == PartitionSpec(*spec)


def test_nothing_is_cut_where_there_is_one_part():
    mesh = jax.sharding.AbstractMesh((8, 1), ("data", "fsdp"))
    leaf = jax.ShapeDtypeStruct((8, 8), np.float32)
    assert parallel.fsdp_sharding(leaf, mesh).spec == PartitionSpec()


def test_a_batch_must_divide():
    mesh = parallel.make_mesh(data=1)
    assert parallel.process_slice(6, mesh) == 6
    with pytest.raises(ValueError, match=r"batch_size=0 .* multiple of 1"):
        parallel.process_slice(0, mesh)


def test_batches_arrive_whole():
    mesh = parallel.make_mesh()
    batch = {"video": np.arange(8, dtype=np.uint8), "label": np.arange(8)}
    on_device = parallel.put_batch(batch, mesh)
    assert all(isinstance(x, jax.Array) for x in on_device.values())
    np.testing.assert_array_equal(on_device["video"], batch["video"])


def test_a_step_writes_the_new_state_over_the_old():
    config = recipes.load_recipe(RECIPE).to_dict()["scratch"]
    plan = make_plan("scratch", config)
    state = state_shapes(plan)
    clip = (config["batch_size"], plan.frames, plan.size_px, plan.size_px, 3)
    batch = {
        "video": jax.ShapeDtypeStruct(clip, np.uint8),
        "label": jax.ShapeDtypeStruct(clip[:1], np.int32),
        "stop": jax.ShapeDtypeStruct(clip[:1], bool),
        "save": jax.ShapeDtypeStruct(clip[:1], bool),
    }
    key = jax.eval_shape(lambda: jax.random.key(0))
    memory = compile_train_step(plan).lower(state, batch, key).compile().memory_analysis()
    assert memory.alias_size_in_bytes >= sum(leaf.size * 4 for leaf in jax.tree.leaves(state))


@pytest.fixture(scope="module")
def eight_devices(tmp_path_factory):
    """Train on meshes of eight devices, in one process; return where."""
    top = tmp_path_factory.mktemp("eight")
    subprocess.run(
        [sys.executable, "-m", "tests.parallel.eight", str(top), RECIPE, *OVERRIDES],
        env={**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"},
        cwd=ROOT,
        check=True,
    )
    return top


def assert_same(stage, reference):
    trained, expected = losses(stage), losses(reference)
    assert list(trained) == list(expected) == list(range(1, 11))
    np.testing.assert_allclose(list(trained.values()), list(expected.values()), rtol=1e-5)
    (tested, best), (expected_tested, expected_best) = scores(stage), scores(reference)
    assert list(tested) == list(expected_tested) == [10]
    np.testing.assert_allclose(tested[10], expected_tested[10], rtol=1e-5)
    assert best == expected_best
    assert accuracy(stage) == accuracy(reference)
    assert accuracy(stage)[0]["test/examples"] == 11


def accuracy(stage):
    names = ("test/top1", "test/top5", "test/examples")
    return [{n: r[n] for n in names} for r in read_metrics(stage) if names[0] in r]


@pytest.mark.parametrize("mesh", [f"{data}x{fsdp}" for data, fsdp in eight.TRAINED_ON[1:]])
def test_a_run_is_the_same_on_any_mesh(eight_devices, mesh):
    assert_same(eight_devices / mesh / "scratch", eight_devices / "8x1" / "scratch")


def test_two_processes_of_four_devices_train_as_one_of_eight(eight_devices, tmp_path):
    running = start(
        tmp_path,
        *(f"--config.{override}" for override in OVERRIDES),
        "--config.scratch.parallel.fsdp=-1",
        "--config.scratch.parallel.data=1",
        recipe=RECIPE,
        num_processes=2,
        XLA_FLAGS="--xla_force_host_platform_device_count=4",
    )
    said = [process.communicate(timeout=300)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert_same(tmp_path / "scratch", eight_devices / "8x1" / "scratch")


def test_what_is_not_on_the_mesh_is_put_on_all_of_it():
    mesh = parallel.make_mesh(data=1, fsdp=1)
    there = jax.device_put(np.arange(3.0), parallel.replicated(mesh))
    put = parallel.put_whole({"host": np.ones(2), "device": jnp.zeros(2), "mesh": there}, mesh)
    assert put["mesh"] is there
    assert all(leaf.sharding == parallel.replicated(mesh) for leaf in put.values())
