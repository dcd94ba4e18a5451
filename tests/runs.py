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


def start(
    workdir, *overrides, recipe=MICRO, num_processes=1, slurm=False, heartbeat_sec=60, **environment
):
    """Start a run on one process, or on several on loopback; return them all.

    With `slurm`, nothing but the environment tells the processes of each other.
    """
    command = [sys.executable, "-m", "vidpretrain.main", "--config", recipe, "--workdir", workdir]
    command += ["--heartbeat_sec", heartbeat_sec, *overrides]
    flags, variables = [[]] * num_processes, [{}] * num_processes
    if slurm:
        variables = slurm_environments(num_processes)
    elif num_processes > 1:
        joining = ["--coordinator", f"localhost:{free_port()}", "--num_processes", num_processes]
        flags = [[*joining, "--process_id", i] for i in range(num_processes)]
    return [
        subprocess.Popen(
            [*map(str, [*command, *own_flags])],
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu", **environment, **own_variables},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for own_flags, own_variables in zip(flags, variables, strict=True)
    ]


def slurm_environments(num_processes):
    """Return what `srun` tells each of its processes, of a job on one node."""
    job = {
        "SLURM_JOB_ID": "4711",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": str(num_processes),
        "SLURM_STEP_NUM_TASKS": str(num_processes),
        # JAX would derive the port from the job.
        "JAX_COORDINATOR_PORT": str(free_port()),
    }
    return [{**job, "SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)} for i in range(num_processes)]


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


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
