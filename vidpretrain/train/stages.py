# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The stages of a run, one after the other: each trains one network and tests it.

```
WORKDIR/config.json            the resolved configuration
WORKDIR/results.json           what the finished stages came to
WORKDIR/goodput.json           where the time went, of all runs in this folder
WORKDIR/STAGE/checkpoints/     steps (docs/checkpoints.md)
WORKDIR/STAGE/metrics.jsonl    and tensorboard/
WORKDIR/STAGE/data.json        what exactly it was shown, and by which decoders
WORKDIR/STAGE/bad_inputs.jsonl examples that could not be read, and what took their place
WORKDIR/STAGE/scores.npz       of every test example, where `test.save_scores` asks for them
WORKDIR/STAGE/profile/         traces of the steps that `profile.profile_steps` names
WORKDIR/STAGE/report.json      where each initial weight came from, if from another network
WORKDIR/STAGE/result.json      written last: the stage is finished
```
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from vidpretrain import convert, data, parallel
from vidpretrain.convert.folder import STEPS, Card
from vidpretrain.train import profile, step
from vidpretrain.train.checkpoint import CheckpointStore
from vidpretrain.train.compiled import compile_train_step, initial_state, state_shapes
from vidpretrain.train.feed import Feed
from vidpretrain.train.goodput import Goodput
from vidpretrain.train.identity import digest_of, flatten
from vidpretrain.train.interrupt import Interrupted, Interruption, Watchdog
from vidpretrain.train.loop import Outcome, run_loop
from vidpretrain.train.metrics import MetricsWriter, Progress
from vidpretrain.train.plan import Plan, make_plan
from vidpretrain.train.precise import make_settler
from vidpretrain.train.scores import Scores
from vidpretrain.train.state import TrainState
from vidpretrain.train.testing import make_tester
from vidpretrain.train.workdirs import write_json

RESULT = "result.json"
RESULTS = "results.json"
SCORES = "scores.npz"

# Streams of a run's randomness, all derived from its seed.
_INIT_STREAM, _STEP_STREAM = 0, 1


@dataclasses.dataclass(frozen=True)
class Result:
    """What a finished stage came to.

    Attributes:
        name: of the stage.
        network: the network's spec.
        top1: on the test set, percent.
        top5: on the test set, percent.
        images_seen: frames that training has shown the network, those of the stages that its
            weights come from included.
        images_pretrained: the part of `images_seen` that those stages had.
        seconds: of this stage's training and tests, interruptions left out.
        steps: taken.
        seed: of the run.
        examples: test examples that could be read.
        expected: test examples that there are.
    """

    name: str
    network: str
    top1: float
    top5: float
    images_seen: int
    images_pretrained: int
    seconds: float
    steps: int
    seed: int
    examples: int
    expected: int


def plan_stages(
    stages: Mapping[str, Mapping[str, Any]],
    *,
    on_paper: bool = False,
    devices: Sequence[jax.Device] | None = None,
) -> list[Plan]:
    """Plan every stage before the first one runs, so that a mistake in the last is found at once.

    Args:
        stages: configurations as nested dicts, by name; the fields are those of `config.base`.
        on_paper: see `make_plan`.
        devices: likewise.

    Raises:
        vidpretrain.train.plan.PlanError: a configuration that cannot be run.
    """
    names = list(stages)
    return [
        make_plan(name, config, earlier=names[:number], on_paper=on_paper, devices=devices)
        for number, (name, config) in enumerate(stages.items())
    ]


def run_stages(
    plans: Sequence[Plan], workdir: Path, interruption: Interruption, goodput: Goodput
) -> list[Result]:
    """Run every stage that is not finished, in order.

    Args:
        plans: of the stages.
        workdir: the run's folder.
        interruption: tells of signals.
        goodput: accounts for the time.

    Returns:
        The results of all stages; `WORKDIR/results.json` holds them too.

    Raises:
        vidpretrain.train.interrupt.Interrupted: a signal came; all is saved.
        vidpretrain.convert.folder.CheckpointError: a checkpoint cannot be written or read.
        vidpretrain.train.loop.TrainingError: training cannot go on.
    """
    results: dict[str, Result] = {}
    for plan in plans:
        done = workdir / plan.name / RESULT
        # Process 0's, for another may see the file later: they must not come to differ.
        found = parallel.gather_texts(parallel.together(functools.partial(_read_first, done)))[0]
        if found:
            results[plan.name] = Result(**json.loads(found))
            _say(f"{plan.name}: finished before, top-1 {results[plan.name].top1:.2f} %")
            continue
        if interruption.requested and jax.process_count() == 1:
            raise Interrupted(f"{plan.name} was not begun")
        results[plan.name] = result = _run_stage(plan, workdir, results, interruption, goodput)
        if parallel.is_first_process():
            write_json(done, dataclasses.asdict(result))
            write_json(
                workdir / RESULTS, {"runs": [dataclasses.asdict(r) for r in results.values()]}
            )
    return list(results.values())


def _read_first(path: Path) -> str:
    """Return a file's text on process 0, if there is one; nothing elsewhere."""
    if parallel.is_first_process() and path.exists():
        return path.read_text(encoding="utf-8")
    return ""


def _run_stage(
    plan: Plan,
    workdir: Path,
    earlier: Mapping[str, Result],
    interruption: Interruption,
    goodput: Goodput,
) -> Result:
    config = plan.config
    source = config["init"]["source"]
    seen_before = earlier[source].images_seen if source in earlier else 0
    # An earlier stage's name means that stage's newest checkpoint.
    checkpoint = str(workdir / source) if source in earlier else source
    outcome = _train(plan, workdir / plan.name, checkpoint, interruption, goodput)
    if config["test"]["save_scores"] and parallel.is_first_process():
        outcome.scores.save(workdir / plan.name / SCORES)
    scores = outcome.scores.metrics()
    return Result(
        name=plan.name,
        network=config["model"]["name"],
        top1=scores["top1"],
        top5=scores["top5"],
        images_seen=seen_before + plan.budget.images(plan.cadence.total),
        images_pretrained=seen_before,
        seconds=outcome.seconds,
        steps=plan.cadence.total,
        seed=config["seed"],
        examples=int(scores["examples"]),
        expected=int(scores["expected"]),
    )


def _train(
    plan: Plan, folder: Path, checkpoint: str, interruption: Interruption, goodput: Goodput
) -> Outcome:
    config, mesh = plan.config, plan.mesh
    key = jax.random.key(config["seed"])
    store = CheckpointStore(
        folder / STEPS,
        keep_last=config["checkpoint"]["keep"],
        keep_every_steps=plan.keep_every_steps,
        level=config["checkpoint"]["verify"],
    )
    manifest = data.run_manifest({"train": plan.train_source, "test": plan.test_source}, plan.views)
    parallel.require_same(dict(flatten(manifest, f"data of {plan.name}: ")))
    state, card = _first_state(plan, key, checkpoint, folder, store)
    start = int(state.step)
    goodput.begin(plan.name, start)

    train_step: step.TrainStep = compile_train_step(plan)
    watchdog = Watchdog(config["stall_sec"])
    settle = make_settler(plan, interruption, watchdog)
    test = make_tester(plan, interruption, watchdog)

    def settle_and_test(state: TrainState) -> tuple[TrainState, Scores]:
        state = settle(state)
        return state, test(state.eval_variables)

    with contextlib.ExitStack() as stack:
        progress = Progress(
            plan.name,
            start_step=start,
            total_steps=plan.cadence.total,
            shown=parallel.is_first_process(),
        )
        stack.callback(progress.close)
        stack.callback(watchdog.stop)
        writer = None
        if parallel.is_first_process():
            images = plan.budget.images(1)
            writer = stack.enter_context(
                MetricsWriter(folder, images_per_step=images, start_step=start)
            )
            write_json(folder / "data.json", manifest)
            if steps := config["profile"]["profile_steps"]:
                train_step = stack.enter_context(
                    profile.ProfiledStep(
                        train_step, folder / profile.FOLDER, steps=steps, start_step=start
                    )
                )
        batches = stack.enter_context(_train_batches(plan, start, folder))
        feed = stack.enter_context(Feed(batches, mesh))
        stack.enter_context(goodput.on("step"))
        return run_loop(
            state,
            cadence=plan.cadence,
            train_step=train_step,
            feed=feed,
            evaluate=settle_and_test,
            # On every device: a key on one would be sent to the others at each step.
            key=jax.jit(jax.random.fold_in, out_shardings=parallel.replicated(mesh))(
                key, _STEP_STREAM
            ),
            mesh=mesh,
            interruption=interruption,
            watchdog=watchdog,
            store=store,
            card=card,
            writer=writer,
            progress=progress,
            goodput=goodput,
        )


def _first_state(
    plan: Plan, key: jax.Array, checkpoint: str, folder: Path, store: CheckpointStore
) -> tuple[TrainState, Card]:
    """Return where training starts: at the newest sound step, or with initial weights."""
    if store.latest() is not None:
        state, card = store.restore(state_shapes(plan))
        _say(f"{plan.name}: resumed at step {card.step} of {plan.cadence.total}")
        return state, card

    if checkpoint:
        init = plan.config["init"]
        variables, report = parallel.together(
            lambda: convert.initialise(
                plan.config["model"]["name"],
                num_classes=plan.num_classes,
                frames=plan.frames,
                size=plan.size_px,
                channels=plan.channels,
                source=checkpoint,
                init=init["method"],
                tap=None if init["tap"] < 0 else init["tap"],
                seed=plan.config["seed"],
            )
        )
        if parallel.is_first_process():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "report.json").write_text(report.to_json(source=checkpoint), encoding="utf-8")
        counts = ", ".join(f"{count} {action}" for action, count in report.counts().items())
        _say(f"{plan.name}: leaves from {checkpoint}: {counts}")
    else:
        variables = jax.jit(plan.init)(jax.random.fold_in(key, _INIT_STREAM))
    if jax.process_count() > 1:
        # Each has read its own, and a folder on their own disks may hold others; or drawn them, and
        # another kind of device may round otherwise.
        whence = f"weights of {plan.name} before training, from {checkpoint or 'its seed'}"
        kind = jax.local_devices()[0].device_kind
        parallel.require_same({whence: f"{digest_of(variables)} ({kind})"})
    return initial_state(plan, variables), plan.card()


def _train_batches(plan: Plan, start: int, folder: Path) -> data.BatchStream:
    options = dict(plan.config["input"])
    share = options.pop("max_bad_share")
    processes = {"process_index": jax.process_index(), "process_count": jax.process_count()}
    log = data.open_log(
        folder, num_examples=len(plan.train_source), max_bad_share=share, **processes
    )
    return data.train_batches(
        plan.train_source,
        plan.views.sampling,
        plan.views.augmentation,
        batch_size=plan.config["batch_size"],
        seed=plan.config["seed"],
        start_step=start,
        log=log,
        **processes,
        **options,
    )


def _say(text: str) -> None:
    if parallel.is_first_process():
        print(text, file=sys.stderr, flush=True)
