# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""`python -m vidpretrain.analyze count`: parameters and GFLOPs of a network, or of the papers'."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from vidpretrain import models
from vidpretrain.analyze import count, papers, tables

EPILOG = """\
Rules, all of which count the multiply-accumulates of convolutions and linear layers:
  macs    nothing else
  fvcore  + 2 for each element of a batch norm's output
  thop    + 2 for each element of a batch norm's output, 1 for each input of a pooling module
  mmcv    as thop, + 1 for each element of a ReLU's output and for each input of any pooling layer

Nothing is computed and no weight is allocated: a network is traced on the shape of one clip.

Examples:
  python -m vidpretrain.analyze count --model csn50:conv=sts --frames 8 --size 256 --classes 174
  python -m vidpretrain.analyze count --tables
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m vidpretrain.analyze count",
        description="Print parameters and GFLOPs of a network, in total and by stage.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", metavar="NAME[:option=value,...]", help="the network")
    parser.add_argument("--frames", type=int, default=8, help="frames of the clip (8)")
    parser.add_argument("--size", type=int, default=224, help="height and width, pixels (224)")
    parser.add_argument("--classes", type=int, default=400, help="number of classes (400)")
    parser.add_argument("--rule", choices=count.RULES, default="macs", help="what counts (macs)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--tables",
        action="store_true",
        help="print every countable row of the papers beside ours instead of one network; "
        "takes about half a minute",
    )
    options = parser.parse_args(arguments)
    if options.tables == bool(options.model):
        parser.error("give either --model NAME or --tables")
    if options.tables:
        rows = papers.TABLES
        print(json.dumps(tables.to_json(rows), indent=1) if options.json else tables.to_text(rows))
        return 0
    try:
        model = models.make_model(options.model, num_classes=options.classes)
        network = count.trace(model, options.frames, options.size)
    except ValueError as error:
        parser.error(str(error))
    rule = count.RULES[options.rule]
    if options.json:
        print(json.dumps(_to_json(options, network.total(rule), network.by_stage(rule)), indent=1))
    else:
        print(_to_text(options, network.total(rule), network.by_stage(rule)))
    return 0


def _to_json(
    options: argparse.Namespace, total: count.Count, stages: dict[str, count.Count]
) -> dict[str, object]:
    return {
        "model": options.model,
        "frames": options.frames,
        "size": options.size,
        "num_classes": options.classes,
        "rule": options.rule,
        "parameters": total.parameters,
        "gflops": total.gflops,
        "stages": {
            name: {"parameters": stage.parameters, "gflops": stage.gflops}
            for name, stage in stages.items()
        },
    }


def _to_text(
    options: argparse.Namespace, total: count.Count, stages: dict[str, count.Count]
) -> str:
    rows = {**stages, "total": total}
    width = max(map(len, rows))
    return "\n".join(
        [
            f"{options.model}: {options.frames} frames of {options.size} x {options.size}, "
            f"{options.classes} classes, counted as {options.rule}",
            f"{'':{width}}  {'parameters':>12}  {'GFLOPs':>9}",
            *(
                f"{name:{width}}  {part.parameters:>12,}  {part.gflops:>9.3f}"
                for name, part in rows.items()
            ),
        ]
    )
