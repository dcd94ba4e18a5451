# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Norms, micro-batches and mixtures on eight (fake) devices, in a process of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def report():
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.train.eight_devices"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["devices"] == 8
    return report


def test_groups_within_devices_normalise_without_a_word_between_them(report):
    assert report["collectives of groups"] == 0
    assert report["collectives of whole batches"] > 0


@pytest.mark.parametrize("kind", ["grouped", "in parts"])
def test_the_number_of_devices_changes_nothing(report, kind):
    assert report[kind] < 1e-6


def test_parts_are_cut_within_devices(report):
    """Only sums of gradients and statistics travel, no clip does."""
    assert report["kinds of collectives in parts"] == ["all-reduce"]


def test_mixtures_are_the_same_bits_and_take_one_clip_of_a_neighbour(report):
    assert report["mixed alike"]
    assert report["mixed alike on two axes"]
    # Of each device one target and one clip.
    assert report["sent to mix"] == ["f32[1,2,8,8,3]", "f32[1,4]"]
