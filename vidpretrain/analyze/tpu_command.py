# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""`python -m vidpretrain.analyze tpu`: whether a recipe fits a TPU slice, and how it may scale."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from vidpretrain import config as recipes
from vidpretrain.analyze import scaling, tpu
from vidpretrain.analyze.chips import CHIPS, Slice
from vidpretrain.analyze.collectives import summarise
from vidpretrain.suggest import closest
from vidpretrain.train.plan import Plan, PlanError
from vidpretrain.train.stages import plan_stages

EXIT_BAD_INPUT = 2
EXIT_TOO_LARGE = 1

EPILOG = f"""\
It compiles the stage's training and test step for the slice with libtpu (pip install -r
requirements-tpu.txt), and needs neither a TPU nor the data. A compilation takes minutes; --full
lets the compiler search as long as it does in training, which takes several times as long.

The seconds of a step are a model on paper (docs/scaling.md), not a measurement. With --chips the
step is also modelled on other slices of the same chip.

Topologies: {", ".join(str(Slice(chip, chip.slices[0])) for chip in CHIPS.values())} and larger;
accelerator types such as v4-8 and v5e-16 as well.

Exit codes: 0 it fits, 1 it does not, 2 bad input or no libtpu.

Examples:
  python -m vidpretrain.analyze tpu --config configs/pretrain_imagenet.py --topology v5e:4x4
  python -m vidpretrain.analyze tpu --config configs/finetune_k400.py:model=csn50,conv=sts \\
      --topology v4-8 --chips 8,16,32,64,128,256
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m vidpretrain.analyze tpu",
        description="Compile a recipe's steps for a TPU slice: memory, operations, collectives.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, metavar="FILE[:ARG=VALUE,...]", help="recipe")
    parser.add_argument("--config.STAGE.FIELD", metavar="VALUE", help="set one field of one stage")
    parser.add_argument("--stage", help="only this one; all without it")
    parser.add_argument("--topology", required=True, metavar="CHIP:AxB", help="such as v5e:4x4")
    parser.add_argument("--chips", type=_numbers, default=(), metavar="N,...", help="model these")
    parser.add_argument("--train-only", action="store_true", help="leave out the test step")
    parser.add_argument("--full", action="store_true", help="compile as for training")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options, rest = parser.parse_known_args(arguments)
    try:
        slice_ = Slice.parse(options.topology)
        others = [Slice.of_size(slice_.chip, chips) for chips in options.chips]
        config = recipes.load_recipe(options.config, recipes.overrides_of(rest))
        if options.stage and options.stage not in config.stages:
            raise ValueError(f"no stage {options.stage!r}; {closest(options.stage, config.stages)}")
        tpu.require_libtpu()
        resolved = config.to_dict()
        names = [options.stage] if options.stage else config.stages
        plans = plan_stages(
            {name: resolved[name] for name in names},
            on_paper=True,
            devices=tpu.devices_of(slice_),
        )
        reports = [_examine(plan, slice_, options) for plan in plans]
    except (PlanError, recipes.ConfigError, tpu.TPUError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    if options.json:
        print(json.dumps([report.to_json(others) for report in reports], indent=1))
    else:
        print("\n\n".join(report.to_text(others) for report in reports))
    return 0 if all(report.fits for report in reports) else EXIT_TOO_LARGE


@dataclasses.dataclass(frozen=True)
class Report:
    """What compiling a stage for a slice has told.

    Attributes:
        plan: of the stage, on the slice.
        slice_: the slice.
        steps: `train`, and `test` unless it was left out.
    """

    plan: Plan
    slice_: Slice
    steps: dict[str, tpu.Step | tpu.TooLarge]

    @property
    def fits(self) -> bool:
        """Whether all steps do."""
        return all(isinstance(step, tpu.Step) for step in self.steps.values())

    @property
    def rows(self) -> int:
        """Clips of a training batch on each chip."""
        return int(self.plan.config["batch_size"]) // self.slice_.num_chips

    def predictions(self, others: Iterable[Slice]) -> list[scaling.Prediction]:
        """Model the training step on its own slice, and on others with as many clips a chip."""
        step = self.steps["train"]
        if not isinstance(step, tpu.Step):
            return []
        chips = self.slice_.num_chips
        work = scaling.Work(chips, self.rows, step.flops, step.hbm_bytes, step.collectives)
        slices = dict.fromkeys((self.slice_, *others))  # Its own may be among the others.
        return [scaling.predict(work, slice_) for slice_ in slices]

    def to_json(self, others: Iterable[Slice]) -> dict[str, Any]:
        """Return all figures."""
        return {
            "stage": self.plan.name,
            "network": self.plan.config["model"]["name"],
            "topology": str(self.slice_),
            "clips_per_chip": self.rows,
            "frames": self.plan.frames,
            "size_px": self.plan.size_px,
            "fits": self.fits,
            "hbm_bytes": self.slice_.chip.hbm_bytes,
            **{name: step_to_json(step) for name, step in self.steps.items()},
            "model": [prediction_to_json(one) for one in self.predictions(others)],
        }

    def to_text(self, others: Sequence[Slice]) -> str:
        """Write it for a person."""
        plan, slice_ = self.plan, self.slice_
        lines = [
            f"stage {plan.name} on {slice_}: {slice_.num_chips} chips of {slice_.num_hosts} "
            f"host(s); {plan.config['model']['name']}, {plan.config['model']['dtype']}; "
            f"{self.rows} clips of {plan.frames} x {plan.size_px} x {plan.size_px} on each chip"
        ]
        for name, step in self.steps.items():
            lines += [f"  {line}" for line in _step_to_text(name, step, slice_)]
        for name, step in self.steps.items():
            if isinstance(step, tpu.TooLarge):
                lines.append(f"  {name} does not fit; what would help, one or several:")
                advice = tpu.advise(plan, step) if name == "train" else _test_advice(plan)
                lines += [f"    {line}" for line in advice]
        predictions = self.predictions(others)
        if predictions:
            lines += ["  the training step on paper (docs/scaling.md):"]
            lines += [f"    {line}" for line in scaling_table(predictions)]
        return "\n".join(lines)


def _examine(plan: Plan, slice_: Slice, options: argparse.Namespace) -> Report:
    steps = {"train": tpu.compile_train_step(plan, quick=not options.full)}
    if not options.train_only:
        steps["test"] = tpu.compile_eval_step(plan, quick=not options.full)
    return Report(plan, slice_, steps)


def _test_advice(plan: Plan) -> list[str]:
    return [f"--config.{plan.name}.test.batch_size: less than {plan.config['test']['batch_size']}"]


def step_to_json(step: tpu.Step | tpu.TooLarge) -> dict[str, Any]:
    """Return a step's figures, collectives summed by kind."""
    if isinstance(step, tpu.TooLarge):
        return {"memory": step.memory, "limit": step.limit}
    figures = {
        field.name: getattr(step, field.name)
        for field in dataclasses.fields(step)
        if field.name != "collectives"
    }
    collectives = [dataclasses.asdict(one) for one in summarise(step.collectives)]
    return {"memory": step.memory, **figures, "collectives": collectives}


def _step_to_text(name: str, step: tpu.Step | tpu.TooLarge, slice_: Slice) -> list[str]:
    hbm = slice_.chip.hbm_bytes
    if isinstance(step, tpu.TooLarge):
        return [f"{name:5} {_gib(step.memory)} of a chip's {_gib(step.limit)}: TOO LARGE"]
    parts = (
        f"arguments {_gib(step.arguments)}, temporaries {_gib(step.temporaries)}, "
        f"results {_gib(step.results)}, code {_gib(step.code)}"
    )
    exchanged = ", ".join(
        f"{one.times} {one.kind} over {one.group} chips of {one.num_bytes * one.times / 1e6:.1f} MB"
        for one in summarise(step.collectives)
    )
    return [
        f"{name:5} {_gib(step.memory)} of a chip's {_gib(hbm)}: fits ({parts})",
        f"      {step.flops / 1e12:.3f} TFLOPs, {step.hbm_bytes / 1e9:.1f} GB accessed; "
        f"{exchanged or 'no collectives'}; compiled in {step.compile_sec:.0f} s",
    ]


def prediction_to_json(prediction: scaling.Prediction) -> dict[str, Any]:
    """Return a prediction's figures."""
    names = ("clips", "compute_sec", "memory_sec", "exchange_sec", "step_sec", "limit")
    return {
        "topology": str(prediction.slice_),
        **{name: getattr(prediction, name) for name in names},
        "clips_per_sec": prediction.clips_per_sec,
        "clips_per_sec_and_host": prediction.clips_per_sec_and_host,
    }


HEADER = (
    "slice",
    "clips a chip",
    "compute ms",
    "memory ms",
    "exchange ms",
    "step ms",
    "clips/s",
    "clips/s a host",
    "efficiency",
)


def scaling_cells(prediction: scaling.Prediction, base: scaling.Prediction) -> tuple[str, ...]:
    """Return a row of the model's table, below `HEADER`."""
    seconds = (
        prediction.compute_sec,
        prediction.memory_sec,
        prediction.exchange_sec,
        prediction.step_sec,
    )
    return (
        str(prediction.slice_),
        f"{prediction.clips:g}",
        *(f"{1e3 * value:.2f}" for value in seconds),
        f"{prediction.clips_per_sec:,.0f}",
        f"{prediction.clips_per_sec_and_host:,.0f}",
        f"{100 * scaling.efficiency(prediction, base):.0f} %",
    )


def scaling_table(predictions: Sequence[scaling.Prediction]) -> list[str]:
    """Write the model's table in lines; efficiency is relative to the first row."""
    rows = [HEADER, *(scaling_cells(one, predictions[0]) for one in predictions)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]


def _gib(num_bytes: float) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} must be numbers, such as 8,16,32") from None
