# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""How training should scale from 8 to 256 chips, on paper: docs/scaling.md has the model.

    python -m benchmarks.scaling_model [--chip v5e] [--only TEXT]

It takes the compiled steps from `benchmarks/tpu.json` (`python -m benchmarks.tpu`) and computes
nothing else. Each recipe gives two tables: with as many clips on each chip as it was compiled for,
so that the batch grows with the chips, and with the recipe's own batch, as long as it divides.
"""

import argparse

from benchmarks import tpu
from vidpretrain.analyze.chips import CHIPS, Slice
from vidpretrain.analyze.collectives import Collective
from vidpretrain.analyze.scaling import Work, predict
from vidpretrain.analyze.tpu_command import HEADER, scaling_cells

CHIP_COUNTS = (8, 16, 32, 64, 128, 256)


def work_of(report: dict) -> Work:
    """Return what a compiled step asks of each chip."""
    step = report["train"]
    return Work(
        num_chips=Slice.parse(report["topology"]).num_chips,
        clips=report["clips_per_chip"],
        flops=step["flops"],
        hbm_bytes=step["hbm_bytes"],
        collectives=[Collective(**one) for one in step["collectives"]],
    )


def print_table(title: str, predictions: list) -> None:
    """Print one Markdown table; efficiency is relative to its first row."""
    print(f"\n{title}\n\n| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}")
    for one in predictions:
        print(f"| {' | '.join(scaling_cells(one, predictions[0]))} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chip", choices=CHIPS, default="v5e", help="kind of chip (v5e)")
    parser.add_argument("--only", default="", help="recipes with this text in their name")
    options = parser.parse_args()
    chip = CHIPS[options.chip]
    slices = [Slice.of_size(chip, number) for number in CHIP_COUNTS]
    chosen = {
        name: report
        for name, report in tpu.load().items()
        if options.only in name and Slice.parse(report["topology"]).chip == chip and report["fits"]
    }
    if not chosen:
        parser.error(
            f"no recipe with {options.only!r} in its name was compiled for {chip.name}; "
            f"{tpu.RESULTS.name} has v4 and v5e (python -m benchmarks.tpu)"
        )
    for name, report in chosen.items():
        work = work_of(report)
        batch = work.clips * work.num_chips
        grown = [predict(work, slice_) for slice_ in slices]
        print_table(f"`{name}`, {work.clips} clips a chip", grown)
        fixed = [
            predict(work.with_clips(batch / slice_.num_chips), slice_)
            for slice_ in slices
            if batch % slice_.num_chips == 0
        ]
        print_table(f"`{name}`, batches of {batch}", fixed)


if __name__ == "__main__":
    main()
