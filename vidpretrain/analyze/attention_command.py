# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""`python -m vidpretrain.analyze attention`: the attention coefficients of STH networks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vidpretrain.analyze import attention
from vidpretrain.analyze.classes import write_csv
from vidpretrain.analyze.opening import OPENING_ERRORS, add_stage_arguments, open_stage
from vidpretrain.analyze.report import markdown
from vidpretrain.config import overrides_of
from vidpretrain.convert.source import open_source
from vidpretrain.data import WorkerError

TABLE, CHART = "attention.csv", "attention.png"

EPILOG = """\
The recipe's stage says which test set and views; each checkpoint brings its own network. To compare
data sets or modalities, give one --config for each checkpoint.

examples:
  python -m vidpretrain.analyze attention runs/sth_p2/finetune runs/sth_p4/finetune \\
      --config configs/finetune_something.py --out attention
  python -m vidpretrain.analyze attention runs/rgb/finetune runs/flow/finetune --out attention \\
      --config configs/finetune_something.py --config my_flow_recipe.py
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m vidpretrain.analyze attention",
        description="Write and draw the mean attention coefficient of every layer of STH networks "
        "with attention: how much of each channel is its temporal part.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_stage_arguments(parser, several=True)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write")
    options, rest = parser.parse_known_args(arguments)
    recipes = options.config
    if len(recipes) not in (1, len(options.checkpoint)):
        parser.error(
            f"{len(recipes)} recipes for {len(options.checkpoint)} checkpoints; give one --config, "
            "or one for each"
        )
    if len(recipes) == 1:
        recipes = recipes * len(options.checkpoint)
    found = []
    try:
        for checkpoint, recipe in zip(options.checkpoint, recipes, strict=True):
            card = open_source(checkpoint, which=options.which, level="size").card
            opened = open_stage(
                checkpoint,
                recipe,
                stage=options.stage,
                overrides=overrides_of(rest),
                changes={"model.name": card.name} if card else {},
                which=options.which,
            )
            found.append(attention.measure(opened.plan, opened.variables, checkpoint))
        options.out.mkdir(parents=True, exist_ok=True)
        write_csv(options.out / TABLE, attention.HEADER, attention.to_rows(found))
        names = attention.labels(found)
        attention.draw(found, names, options.out / CHART)
    except (*OPENING_ERRORS, attention.AttentionError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (WorkerError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(to_text(found, names))
    print(f"\nwritten: {TABLE} and {CHART} in {options.out}")
    return 0


def to_text(found: Sequence[attention.Attention], names: Sequence[str]) -> str:
    """Return the mean temporal coefficients, layers down and checkpoints across."""
    layers = list(dict.fromkeys(layer.layer for one in found for layer in one.layers))
    means = [{layer.layer: f"{layer.mean:.3f}" for layer in one.layers} for one in found]
    rows = [(layer, *(mean.get(layer, "") for mean in means)) for layer in layers]
    return markdown(("mean temporal coefficient", *names), rows)
