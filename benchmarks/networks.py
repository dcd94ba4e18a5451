# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Time and peak memory of one training step of each network.

    python -m benchmarks.networks [SPEC ...] [--batch 2] [--frames 8] [--size 128] [--json]

Each network runs in a process of its own, so that peaks do not add up. `first s` is the first
step with tracing and compilation, `cpu s` the processor time it took (over all cores; what to go by
on a busy machine), `step s` the fastest of the next steps; memory is the process's peak resident
set (on a CPU, where activations live in it), or the device's own peak where it tells. A step is
forward, backward and an SGD update in float32, dropout included.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

NETWORKS = (
    "slowonly50",
    "slowonly50:conv=sts",
    "slowfast50_4x16",
    "slowfast50_4x16:conv=sts",
    "slowfast50_8x8",
    "slowfast50_8x8:conv=sts",
    "r2plus1d34",
    "r2plus1d34:conv=sts",
    "csn50",
    "csn50:conv=sts",
    "csn101",
    "csn152",
    "csn152:mode=ip",
    "x3d_s",
    "x3d_s:conv=sts",
    "x3d_l",
    "tsn50",
    "tsn101",
    "tsm50",
    "sth50",
    "sth50:attention=true",
    "ct50",
    "ct101",
    "sth18",
    "sth_mobilenet_v2",
    "sth_vgg16",
    "sth_inception_v3",
    "ct_mobilenet_v2",
    "ct_vgg16",
    "ct_inception_v3",
)


def measure(spec: str, batch: int, frames: int, size: int, steps: int) -> dict:
    """Run training steps of one network in this process."""
    import jax
    import jax.numpy as jnp

    from vidpretrain import models

    model = models.make_model(spec, num_classes=174)
    clips = jax.random.normal(jax.random.key(0), (batch, frames, size, size, 3))
    shapes = jax.eval_shape(model.init, jax.random.key(0), clips)
    variables = jax.tree.map(lambda like: jnp.full(like.shape, 0.01, like.dtype), shapes)

    def step(variables, clips, key):
        def loss_fn(params):
            logits, updates = model.apply(
                {**variables, "params": params},
                clips,
                True,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )
            return -jax.nn.log_softmax(logits)[:, 0].mean(), updates

        (loss, updates), grads = jax.value_and_grad(loss_fn, has_aux=True)(variables["params"])
        params = jax.tree.map(lambda p, g: p - 0.01 * g, variables["params"], grads)
        return {"params": params, **updates}, loss

    compiled = jax.jit(step, donate_argnums=0)
    seconds, cpu_seconds = [], []
    for number in range(1 + steps):
        start, cpu_start = time.perf_counter(), time.process_time()
        variables, loss = compiled(variables, clips, jax.random.key(number))
        loss.block_until_ready()
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
    stats = jax.local_devices()[0].memory_stats() or {}
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "network": spec,
        "first_sec": round(seconds[0], 2),
        "first_cpu_sec": round(cpu_seconds[0], 2),
        "step_sec": round(min(seconds[1:], default=float("nan")), 3),
        "peak_gb": round(stats.get("peak_bytes_in_use", resident) / 1e9, 2),
        "device": jax.local_devices()[0].device_kind,
    }


def main() -> None:
    """Measure each network and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", metavar="SPEC", help="default: all")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=2, help="steps after the first")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--here", action="store_true", help="run one SPEC in this process")
    args = parser.parse_args()
    if args.here:
        (spec,) = args.networks
        print(json.dumps(measure(spec, args.batch, args.frames, args.size, args.steps)))
        return
    if not args.json:
        print(f"{'network':<28} {'first s':>8} {'cpu s':>8} {'step s':>8} {'peak GB':>8}")
    options = [f"--{name}={getattr(args, name)}" for name in ("batch", "frames", "size", "steps")]
    for spec in args.networks or NETWORKS:
        command = [sys.executable, "-m", "benchmarks.networks", spec, "--here", *options]
        result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        record = json.loads(result.splitlines()[-1])
        if args.json:
            print(json.dumps(record), flush=True)
        else:
            print(
                f"{spec:<28} {record['first_sec']:8.1f} {record['first_cpu_sec']:8.1f} "
                f"{record['step_sec']:8.2f} {record['peak_gb']:8.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
