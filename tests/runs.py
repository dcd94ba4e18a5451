# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Whole runs of the entry point in processes of their own, and what they leave."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from vidpretrain.convert import folder, tree
from vidpretrain.train.metrics import read_metrics

ROOT = Path(__file__).parents[1]
MICRO = str(Path(__file__).with_name("micro.py"))


def start(workdir, *overrides, recipe=MICRO, num_processes=1, **environment):
    """Start a run on one process, or on several on loopback; return them all."""
    command = [sys.executable, "-m", "vidpretrain.main", "--config", recipe, "--workdir", workdir]
    joining = [[]]
    if num_processes > 1:
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            address = f"localhost:{probe.getsockname()[1]}"
        flags = ["--coordinator", address, "--num_processes", num_processes, "--heartbeat_sec", 60]
        joining = [[*flags, "--process_id", i] for i in range(num_processes)]
    return [
        subprocess.Popen(
            [*map(str, [*command, *overrides, *join])],
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for join in joining
    ]


def state_bytes(stage):
    """Return every leaf of a stage's newest checkpoint."""
    step = folder.find_checkpoint(stage, "latest")
    return {
        name: value.tobytes()
        for name, value in tree.flatten(tree.read_tree(step / "state")).items()
    }


def losses(stage):
    """Return the loss of every step that is on record, by its number."""
    return _recorded(stage, "train/loss")


def scores(stage):
    """Return the test loss of every step that was tested, and which step is the best."""
    return _recorded(stage, "test/loss"), folder.find_checkpoint(stage, "best").name


def _recorded(stage, name):
    records = [(r["step"], r[name]) for r in read_metrics(stage) if name in r]
    assert len(records) == len(dict(records)), "no step is on record twice"
    return dict(records)
