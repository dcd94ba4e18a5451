# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint, opened as the network of one stage of a recipe, whose test set it is to see."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from vidpretrain import config as recipes
from vidpretrain.convert import CheckpointError, MismatchError
from vidpretrain.convert.folder import Card
from vidpretrain.convert.inflate import Report
from vidpretrain.convert.source import open_source
from vidpretrain.convert.transfer import Target
from vidpretrain.suggest import closest
from vidpretrain.train.plan import Plan, PlanError, make_plan

_MOST_LEAVES = 5


class OpeningError(ValueError):
    """A checkpoint cannot be tested as asked; the message says why and what to do."""


OPENING_ERRORS = (recipes.ConfigError, OpeningError, PlanError, CheckpointError, MismatchError)
"""What `open_stage` raises."""


@dataclasses.dataclass(frozen=True)
class Opened:
    """A checkpoint that fits a stage.

    Attributes:
        plan: of the stage; `config.init.source` is the checkpoint.
        variables: the network's, NumPy arrays.
        path: where they lie: the step found in a folder of steps.
        step: training steps behind the checkpoint; None if it does not say.
    """

    plan: Plan
    variables: Any
    path: str
    step: int | None


def add_stage_arguments(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Add what `open_stage` takes to a command line.

    Args:
        parser: takes the arguments.
        several: whether the command takes several checkpoints.
    """
    add = parser.add_argument
    add(
        "checkpoint",
        nargs="+" if several else None,
        metavar="CHECKPOINT",
        help="a checkpoint's, stage's or run's folder, or a .safetensors, .npz or .pth",
    )
    add(
        "--config",
        required=True,
        action="append" if several else "store",
        metavar="FILE[:ARG=VALUE,...]",
        help="recipe and its arguments" + (", for all or for each" if several else ""),
    )
    add("--stage", default="", help="of the recipe (the last one)")
    add("--config.STAGE.FIELD", metavar="VALUE", help="set one field of the stage")
    add("--which", default="latest", help="of several steps: latest (default), best, or a number")


def open_stage(
    checkpoint: str,
    recipe: str,
    *,
    stage: str = "",
    overrides: Sequence[str] = (),
    changes: Mapping[str, Any] | None = None,
    which: str = "latest",
) -> Opened:
    """Open a checkpoint as a stage's network.

    Args:
        checkpoint: ours or another codebase's, as `vidpretrain.load` takes it.
        recipe: path and arguments, "configs/demo.py:seed=1".
        stage: whose network, test set and views to take; empty for the recipe's last stage.
        overrides: "stage.field=value", as behind `--config.`.
        changes: further fields of the stage, "views.test_clips": 10.
        which: of several steps: "latest", "best" or a number.

    Raises:
        OpeningError: there is no such stage, or the checkpoint is not of its network, pixels and
            classes.
        vidpretrain.config.ConfigError: the recipe or an override is at fault.
        vidpretrain.convert.CheckpointError: nothing sound is there.
        vidpretrain.convert.MismatchError: it holds another network; shows a diff.
        vidpretrain.train.plan.PlanError: the stage cannot be run.
    """
    stages = recipes.load_recipe(recipe).stages
    name = stage or stages[-1]
    if name not in stages:
        raise OpeningError(f"{recipe} has no stage {name!r}; {closest(name, stages)}")
    fields = [f"{name}.{field}={value}" for field, value in (changes or {}).items()]
    whole = recipes.load_recipe(recipe, [*overrides, *fields]).to_dict()[name]
    # Weights come from the checkpoint, wherever the recipe's own come from.
    whole["init"]["source"] = checkpoint
    plan = make_plan(name, whole)
    origin = open_source(checkpoint, which=which)
    if origin.card is not None:
        _check_card(plan, origin.card)
    network = plan.config["model"]["name"]
    target = Target(network, plan.num_classes, plan.clip_shape)
    variables, report = target.fill(origin)
    _check_whole(plan, report, origin.path)
    return Opened(plan, variables, origin.path, origin.card.step if origin.card else None)


def _check_card(plan: Plan, card: Card) -> None:
    """Raise if the checkpoint wants other pixels, or means other classes."""
    for field, wanted in (("mean", card.mean), ("std", card.std)):
        given = plan.pixels[field]
        if given != wanted:
            raise OpeningError(
                f"the network was trained on pixels with {field} {wanted}, but stage {plan.name} "
                f"has {given}; give --config.{plan.name}.pixels.{field}={_literal(wanted)}"
            )
    names, ours = card.class_names, plan.test_source.class_names
    # Classes that are only numbered can be anything.
    if _is_named(names) and _is_named(ours) and names[: len(ours)] != ours:
        label = next(i for i, name in enumerate(ours) if names[i : i + 1] != (name,))
        theirs = repr(names[label]) if label < len(names) else "missing"
        raise OpeningError(
            f"the classes are not those of stage {plan.name}'s data: class {label} is {theirs} "
            f"for the network, but {ours[label]!r} there; test it on the data set that it was "
            "trained for"
        )


def _is_named(names: Sequence[str]) -> bool:
    return any(name != str(label) for label, name in enumerate(names))


def _literal(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)


def _check_whole(plan: Plan, report: Report, path: str) -> None:
    """Raise unless every weight is the checkpoint's own: neither new nor made of others."""
    changed = [leaf for leaf in report.leaves if leaf.action not in ("copied", "unused")]
    if changed:
        lines = [f"  {leaf}" for leaf in changed[:_MOST_LEAVES]]
        more = len(changed) - _MOST_LEAVES
        lines += [f"  ... and {more} more"] if more > 0 else []
        raise OpeningError(
            "\n".join(
                [
                    f"{path} is not a trained {plan.config['model']['name']} with "
                    f"{plan.num_classes} classes; these weights are not its own:",
                    *lines,
                    f"give its network as --config.{plan.name}.model.name=NAME, its classes as "
                    f"--config.{plan.name}.model.num_classes=N",
                ]
            )
        )
