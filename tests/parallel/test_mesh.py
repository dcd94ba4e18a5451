# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Meshes, and training on several devices: fake ones, in a process of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from vidpretrain import parallel

ROOT = Path(__file__).parents[2]
MICRO = ROOT / "tests" / "micro.py"


@pytest.mark.parametrize("number", [0, -2, 99])
def test_an_impossible_number_of_devices_is_refused(number):
    with pytest.raises(ValueError, match=f"parallel.num_devices={number}"):
        parallel.make_mesh(num_devices=number)


def test_a_batch_must_divide():
    mesh = parallel.make_mesh(num_devices=1)
    assert parallel.process_slice(6, mesh) == 6
    with pytest.raises(ValueError, match=r"batch_size=0 .* multiple of 1"):
        parallel.process_slice(0, mesh)


def test_batches_arrive_whole():
    mesh = parallel.make_mesh()
    batch = {"video": np.arange(8, dtype=np.uint8), "label": np.arange(8)}
    on_device = parallel.put_batch(batch, mesh)
    assert all(isinstance(x, jax.Array) for x in on_device.values())
    np.testing.assert_array_equal(on_device["video"], batch["video"])


def losses(workdir, devices):
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    recipe = f"{MICRO}:stages=scratch,steps=10"
    subprocess.run(
        [sys.executable, "-m", "vidpretrain.main", "--config", recipe, "--workdir", workdir],
        env=environment,
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    lines = (workdir / "scratch" / "metrics.jsonl").read_text().splitlines()
    return [r["train/loss"] for r in map(json.loads, lines) if "train/loss" in r], json.loads(
        (workdir / "results.json").read_text()
    )["runs"][0]["top1"]


def test_four_devices_train_as_one(tmp_path):
    one, four = (losses(tmp_path / str(n), n) for n in (1, 4))
    assert len(one[0]) == 10
    np.testing.assert_allclose(one[0], four[0], rtol=1e-5)
    assert one[1] == four[1]
