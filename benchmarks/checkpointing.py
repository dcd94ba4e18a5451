# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What checkpoints cost: of the demo's training time, and for hashing.

    python -m benchmarks.checkpointing [--steps 20] [--rounds 5] [--gigabytes 1]

The demo's STS network trains on one batch that lies on the device. Rounds of steps without and
with one save among them alternate; the save goes on in the background while the steps do. What
a save adds to a round, over 60 s, is the share of training time that a save every 60 s costs. It is
given twice: in wall time, and in processor time over all cores, which is what it costs where no
core is idle, and what to go by on a busy machine. Hashing is timed on a file of random bytes in the
page cache, in processor time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

EVERY_SEC = 60.0


def measure_saves(steps: int, rounds: int) -> tuple[list[tuple[float, float]], int]:
    """Return what a save adds in each round, wall and processor seconds, and its bytes."""
    import jax
    import numpy as np

    from vidpretrain import config as recipes
    from vidpretrain import parallel
    from vidpretrain.train.checkpoint import CheckpointStore
    from vidpretrain.train.compiled import compile_train_step, initial_state
    from vidpretrain.train.plan import make_plan

    config = recipes.load_recipe("configs/demo.py").to_dict()["scratch_sts"]
    plan = make_plan("scratch_sts", config)
    state = initial_state(plan, jax.jit(plan.init)(jax.random.key(0)))
    train_step = compile_train_step(plan)
    rows = config["batch_size"]
    rng = np.random.default_rng(0)
    batch = {
        "video": rng.integers(0, 256, (rows, *plan.clip_shape), np.uint8),
        "label": rng.integers(0, plan.num_classes, rows).astype(np.int32),
        "stop": np.zeros(rows, bool),
        "save": np.zeros(rows, bool),
    }
    batch = parallel.put_batch(batch, plan.mesh)
    key = jax.random.key(0)
    card = plan.card()

    with tempfile.TemporaryDirectory() as folder:
        store = CheckpointStore(folder)

        def seconds(state, save: bool):
            wall, cpu = time.perf_counter(), time.process_time()
            for number in range(steps):
                if save and number == 0:
                    store.save(int(state.step), state, card)
                state, _ = train_step(state, batch, key)
            jax.block_until_ready(state)
            store.wait()
            return state, np.array([time.perf_counter() - wall, time.process_time() - cpu])

        state, _ = seconds(state, save=True)  # compiles, and makes the folder
        added = []
        for _ in range(rounds):
            state, without = seconds(state, save=False)
            state, with_save = seconds(state, save=True)
            added.append(tuple(with_save - without))
        newest = Path(folder) / str(store.latest())
        size = sum(file.stat().st_size for file in newest.rglob("*") if file.is_file())
    return added, size


def measure_hash(gigabytes: float) -> float:
    """Return the processor seconds that hashing takes, per GB (10^9 bytes)."""
    import numpy as np

    from vidpretrain.convert import folder

    with tempfile.TemporaryDirectory() as temporary:
        path = folder.as_path(temporary) / "bytes"
        path.write_bytes(np.random.default_rng(0).bytes(int(gigabytes * 1e9)))
        start = time.process_time()
        folder._sha256(path)
        return (time.process_time() - start) / gigabytes


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=20, help="of a round")
    parser.add_argument("--rounds", type=int, default=5, help="pairs, without and with a save")
    parser.add_argument("--gigabytes", type=float, default=1.0, help="to hash")
    options = parser.parse_args()
    added, size = measure_saves(options.steps, options.rounds)
    print("| what | median | spread |\n|---|---|---|")
    for name, values in zip(("wall", "processor"), zip(*added, strict=True), strict=True):
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"| added by a save, {name} s | {middle:.3f} | {low:.3f} to {high:.3f} |")
        shares = [f"{100 * value / EVERY_SEC:.2f}" for value in (middle, low, high)]
        print(
            f"| share of {name} time, a save every {EVERY_SEC:g} s, % | {shares[0]} | "
            f"{shares[1]} to {shares[2]} |"
        )
    print(f"| bytes of a checkpoint | {size:,} | |")
    print(f"| hashing, processor s/GB | {measure_hash(options.gigabytes):.2f} | |")


if __name__ == "__main__":
    main()
