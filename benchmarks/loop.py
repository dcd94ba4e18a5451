# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the training loop costs beside the compiled step and the wait for data.

    python -m benchmarks.loop [--steps 40] [--rounds 5]

The demo's STS network trains on batches that are in memory. Rounds of bare steps, each given its
batch and nothing else, and of the whole loop alternate: reports, metrics files, progress bar, flags
of signals, watchdog and the account of time as in a run, tests and checkpoints left out. What is
measured is the processor time of the loop's thread outside the step's call and outside the wait for
data, less that of the bare rounds, in which it frees the old state; waiting for the device is none.
It is given as a share of a bare step's processor time over all cores, which does not depend on what
else the machine does. Most of it overlaps with the devices' work: how much longer a step takes is
given beside, and wants a quiet machine.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

BAR_PERCENT = 2.0


class Timed:
    """Calls a function, and sums up the calling thread's processor time in it."""

    def __init__(self, function):
        self._function = function
        self.seconds = 0.0

    def __call__(self, *args):
        """Call the function."""
        start = time.thread_time()
        try:
            return self._function(*args)
        finally:
            self.seconds += time.thread_time() - start


def make_rounds(folder: Path, steps: int):
    """Return two functions that train for a round: bare, and in the loop.

    Both return seconds per step: wall time, processor time of all threads, and processor time of
    the thread that trains, outside the step and the wait for data.
    """
    import dataclasses

    import jax
    import numpy as np

    from vidpretrain import config as recipes
    from vidpretrain import parallel
    from vidpretrain.data.batch import Batch
    from vidpretrain.train.compiled import compile_train_step, initial_state
    from vidpretrain.train.feed import Feed
    from vidpretrain.train.goodput import Goodput
    from vidpretrain.train.interrupt import Interruption, Watchdog
    from vidpretrain.train.loop import run_loop
    from vidpretrain.train.metrics import MetricsWriter, Progress
    from vidpretrain.train.plan import make_plan
    from vidpretrain.train.scores import Scores

    config = recipes.load_recipe("configs/demo.py").to_dict()["scratch_sts"]
    plan = make_plan("scratch_sts", config)
    rows = config["batch_size"]
    rng = np.random.default_rng(0)
    batch = Batch(
        video=rng.integers(0, 256, (rows, *plan.clip_shape), np.uint8),
        label=rng.integers(0, plan.num_classes, rows).astype(np.int32),
        mask=np.ones(rows, bool),
        example=np.arange(rows),
    )
    train_step = compile_train_step(plan)
    key = jax.jit(jax.random.key, out_shardings=parallel.replicated(plan.mesh))(0)
    variables = jax.jit(plan.init)(jax.random.key(0))
    never = dataclasses.replace(
        plan.cadence, total=steps, test=steps, checkpoint=steps, checkpoint_sec=1e9
    )
    scores = Scores(
        values=np.eye(2, dtype=np.float32),
        label=np.arange(2, dtype=np.int32),
        loss=np.zeros(2, np.float32),
        example=np.arange(2),
        expected=2,
    )
    store = SimpleNamespace(
        check=lambda: None, wait=lambda: None, save=lambda *args: True, latest=lambda: None
    )
    flags = {"stop": np.zeros(rows, bool), "save": np.zeros(rows, bool)}

    def clocks() -> tuple[float, float, float]:
        return time.perf_counter(), time.process_time(), time.thread_time()

    def since(begun: tuple[float, float, float]) -> list[float]:
        return [(now - then) / steps for now, then in zip(clocks(), begun, strict=True)]

    def bare() -> tuple[float, float, float]:
        state = initial_state(plan, variables)
        timed_step = Timed(train_step)
        with Feed(itertools.repeat(batch), plan.mesh) as feed:
            rest = parallel.put_batch(flags, plan.mesh)
            feed.next = Timed(feed.next)
            jax.block_until_ready(state)
            begun = clocks()
            for _ in range(steps):
                state, _ = timed_step(state, {**feed.next(lambda: False), **rest}, key)
            jax.block_until_ready(state)
            wall, processor, own = since(begun)
        return wall, processor, own - (timed_step.seconds + feed.next.seconds) / steps

    def looped() -> tuple[float, float, float]:
        state = initial_state(plan, variables)
        timed_step = Timed(train_step)
        number = sum(1 for _ in folder.iterdir())
        place = folder / str(number)
        with (
            Feed(itertools.repeat(batch), plan.mesh) as feed,
            MetricsWriter(place, images_per_step=plan.budget.images(1), start_step=0) as writer,
            Goodput(since=time.monotonic()) as goodput,
            Interruption() as interruption,
        ):
            goodput.begin(plan.name, 0)
            feed.next = Timed(feed.next)
            progress = Progress(plan.name, start_step=0, total_steps=steps, shown=True)
            watchdog = Watchdog(1800.0)
            jax.block_until_ready(state)
            begun = clocks()
            with goodput.on("step"):
                run_loop(
                    state,
                    cadence=never,
                    train_step=timed_step,
                    feed=feed,
                    evaluate=lambda state: (jax.block_until_ready(state), scores),
                    key=key,
                    mesh=plan.mesh,
                    interruption=interruption,
                    watchdog=watchdog,
                    store=store,
                    card=plan.card(),
                    writer=writer,
                    progress=progress,
                    goodput=goodput,
                )
            wall, processor, own = since(begun)
            watchdog.stop()
            progress.close()
        return wall, processor, own - (timed_step.seconds + feed.next.seconds) / steps

    return bare, looped


def table(bare, looped, steps: int) -> str:
    """Return the report as Markdown."""
    import jax

    walls, processors, outside = zip(*bare, strict=True)
    loop_walls, _, loop_outside = zip(*looped, strict=True)
    wall, processor = statistics.median(walls), statistics.median(processors)
    own = [loop - alone for loop, alone in zip(loop_outside, outside, strict=True)]
    longer = [loop - alone for loop, alone in zip(loop_walls, walls, strict=True)]

    def row(what: str, values, scale: float) -> str:
        values = sorted(value * scale for value in values)
        median = statistics.median(values)
        return f"| {what} | {median:.3g} | {values[0]:.3g} to {values[-1]:.3g} |"

    share = statistics.median(own) / processor * 100
    return "\n".join(
        [
            "# What the training loop costs",
            "",
            f"The demo's STS network, batches of 32 clips of 6 x 24 x 24 pixels; rounds of {steps} "
            f"steps, {len(bare)} bare and {len(looped)} in the loop, alternating. Python "
            f"{platform.python_version()}, jax {jax.__version__}, {jax.device_count()} "
            f"{jax.devices()[0].platform} device(s), a machine that other work shared.",
            "",
            f"`python -m benchmarks.loop --steps {steps} --rounds {len(bare)}`",
            "",
            "| per step | median | spread |",
            "|---|---|---|",
            row("bare step, wall ms", walls, 1e3),
            row("bare step, processor ms", processors, 1e3),
            row("loop's own, outside step and data, processor ms", own, 1e3),
            row("its share of a bare step's processor time, %", own, 100 / processor),
            row("a step in the loop takes longer by, % of wall time", longer, 100 / wall),
            "",
            f"{share:.2f} % of processor time; the bar is {BAR_PERCENT:g} %.",
        ]
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--steps", type=int, default=40, help="of a round")
    parser.add_argument("--rounds", type=int, default=5, help="of each kind")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run_bare, run_looped = make_rounds(Path(folder), flags.steps)
        run_bare(), run_looped()  # compiles
        rounds = [(run_bare(), run_looped()) for _ in range(flags.rounds)]
    print(table(*zip(*rounds, strict=True), flags.steps))


if __name__ == "__main__":
    main()
