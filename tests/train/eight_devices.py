# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What eight devices compute, and what they tell each other; run by `test_devices.py`.

XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m tests.train.eight_devices
"""

import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vidpretrain import models, parallel
from vidpretrain.train import optim, step
from vidpretrain.train.losses import Loss
from vidpretrain.train.mixing import Augment, Erase, Mix
from vidpretrain.train.state import create_state

NETWORK = "resnet:depths=1,width=4,stem_kernel=3"
PIXELS = {"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
REST = {"augment": Augment(4), "loss": Loss()}
COLLECTIVE = re.compile(
    r"= .*?\b(all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
)


def batch():
    rng = np.random.default_rng(0)
    return {
        "video": rng.integers(0, 256, (16, 2, 8, 8, 3), np.uint8),
        "label": rng.integers(0, 4, 16).astype(np.int32),
        "stop": np.zeros(16, bool),
        "save": np.zeros(16, bool),
    }


def compile_step(spec, mesh, **options):
    model = models.make_model(spec, num_classes=4, dropout=0.0)
    schedule = optax.constant_schedule(0.1)
    optimizer = optim.make_optimizer(name="sgd", schedule=schedule)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 2, 8, 8, 3)))
    replicated = parallel.replicated(mesh)
    state = jax.device_put(create_state(variables, optimizer, ema=False), replicated)
    function = jax.jit(
        step.make_train_step(model, optimizer, schedule, **PIXELS, **REST, **options),
        in_shardings=(replicated, parallel.batch_sharding(mesh), replicated),
        out_shardings=replicated,
    )
    arguments = (state, parallel.put_batch(batch(), mesh), jax.random.key(1))
    return function.lower(*arguments).compile(), arguments


def distance(spec, meshes, **options):
    """Return the largest difference that the number of devices makes to anything after a step."""
    results = []
    for mesh in meshes:
        compiled, arguments = compile_step(spec, mesh, **options)
        new, _ = compiled(*arguments)
        results.append(jax.tree.map(np.asarray, new.variables))
    return max(
        jax.tree.leaves(jax.tree.map(lambda a, b: float(np.abs(a - b).max(initial=0)), *results))
    )


def forward_collectives(spec, mesh):
    """Count the collectives of a forward pass in training."""
    model = models.make_model(spec, num_classes=4, dropout=0.0)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 2, 8, 8, 3)))
    sharded = parallel.batch_sharding(mesh)

    @functools.partial(
        jax.jit, in_shardings=(parallel.replicated(mesh), sharded), out_shardings=sharded
    )
    def logits(variables, clips):
        return model.apply(variables, clips, train=True, mutable=["batch_stats"])[0]

    clips = jax.ShapeDtypeStruct((16, 2, 8, 8, 3), jnp.float32)
    return len(COLLECTIVE.findall(logits.lower(variables, clips).compile().as_text()))


def mix_on(mesh):
    """Return augmented clips and their targets, and the shapes of what devices send each other."""
    augment = Augment(4, Mix(mixup=0.2, cutmix=1.0, per="clip"), Erase(prob=0.5, fill="noise"))
    replicated, sharded = parallel.replicated(mesh), parallel.batch_sharding(mesh)
    arrays = parallel.put_batch(batch(), mesh)
    arguments = jax.random.key(3), arrays["video"].astype(jnp.float32), arrays["label"]
    augment = jax.jit(augment, in_shardings=(replicated, sharded, sharded), out_shardings=sharded)
    compiled = augment.lower(*arguments).compile()
    sent = re.findall(
        r"= (\S+?)\{\S* (?:collective-permute|all-gather|all-to-all)", compiled.as_text()
    )
    return [np.asarray(x) for x in compiled(*arguments)], sorted(sent)


def main():
    meshes = parallel.make_mesh(), parallel.make_mesh(data=1)
    in_parts, _ = compile_step(f"{NETWORK},norm_group=1", meshes[0], accumulate=2)
    (mixed, sent), (expected, _) = map(mix_on, meshes)
    mixed_on_two_axes, _ = mix_on(parallel.make_mesh(data=4, fsdp=2))
    report = {
        "devices": meshes[0].size,
        "grouped": distance(f"{NETWORK},norm_group=2", meshes),
        "in parts": distance(f"{NETWORK},norm_group=1", meshes, accumulate=2),
        "collectives of whole batches": forward_collectives(NETWORK, meshes[0]),
        "collectives of groups": forward_collectives(f"{NETWORK},norm_group=2", meshes[0]),
        "kinds of collectives in parts": sorted(set(COLLECTIVE.findall(in_parts.as_text()))),
        "mixed alike": all(map(np.array_equal, mixed, expected)),
        "mixed alike on two axes": all(map(np.array_equal, mixed_on_two_axes, expected)),
        "sent to mix": sent,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
