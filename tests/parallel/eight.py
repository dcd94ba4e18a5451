# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Runs on several meshes of eight fake devices, in a process that tests/parallel starts.

`python -m tests.parallel.eight FOLDER RECIPE [OVERRIDE ...]`: trains on every mesh, into
FOLDER/DATAxFSDP, and restores what the first has saved onto all.
"""

import sys
import warnings
from pathlib import Path

import jax
import numpy as np

from vidpretrain import config as recipes
from vidpretrain import main as entry
from vidpretrain.convert import folder, tree
from vidpretrain.train.checkpoint import CheckpointStore
from vidpretrain.train.compiled import state_shapes
from vidpretrain.train.plan import make_plan

STAGE = "scratch"
TRAINED_ON = ((8, 1), (1, 1), (2, 4))
RESTORED_ON = (*TRAINED_ON, (1, 8))


def on(data, fsdp):
    return [f"{STAGE}.parallel.data={data}", f"{STAGE}.parallel.fsdp={fsdp}"]


def train(workdir, recipe, overrides):
    flags = [f"--config.{override}" for override in overrides]
    code = entry.main(["--config", recipe, "--workdir", str(workdir), *flags])
    assert code == 0, code


def check_restored(stage, recipe, overrides):
    """Restore a stage's last step as a run would, and compare it with the bytes on disk."""
    config = recipes.load_recipe(recipe, overrides).to_dict()[STAGE]
    shapes = state_shapes(make_plan(STAGE, config))
    state, _ = CheckpointStore(stage / folder.STEPS).restore(shapes)
    assert jax.tree.map(lambda x: x.sharding, state) == jax.tree.map(lambda x: x.sharding, shapes)
    step = folder.find_checkpoint(stage, "latest")
    stored = tree.flatten(tree.read_tree(step / folder.STATE))
    restored = {name: np.asarray(leaf) for name, leaf in tree.flatten(state).items()}
    assert {name: x.tobytes() for name, x in restored.items()} == {
        name: x.tobytes() for name, x in stored.items()
    }


def main(top, recipe, *overrides):
    assert jax.device_count() == 8
    warnings.filterwarnings("error", message=".*donated buffers.*")
    for data, fsdp in TRAINED_ON:
        train(Path(top) / f"{data}x{fsdp}", recipe, [*overrides, *on(data, fsdp)])
    for mesh in RESTORED_ON:
        check_restored(Path(top) / "8x1" / STAGE, recipe, [*overrides, *on(*mesh)])


if __name__ == "__main__":
    main(*sys.argv[1:])
