# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Whether the full-scale recipes fit TPUs: v4-8 and v5e-16, compiled without one.

    pip install -r requirements-tpu.txt
    python -m benchmarks.tpu [--only TEXT] [--anew]

Each recipe's training step is compiled by `python -m vidpretrain.analyze tpu` in a process of its
own, which takes minutes. What is in `benchmarks/tpu.json` already is not compiled again, so the
command goes on where it was stopped; the tables are printed from that file. Recipes that differ
only in what a step does not see (data, rates, durations) are one row, and of a network's variants
that cost the same, one stands for all. `benchmarks.scaling_model` takes the file from here.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).with_suffix(".json")
TOPOLOGIES = ("v4:2x2x1", "v5e:4x4")
RECIPES = (
    "finetune_k400.py:model=slowonly50,conv=sts",
    "finetune_k400.py:model=csn50,conv=sts",
    "finetune_something.py:version=1,model=ct50",
    "finetune_something.py:version=1,model=sth50:attention=true",
    "pretrain_imagenet.py:model=slowonly50",
    "finetune_k400.py:model=slowfast50_4x16,conv=sts",
    "finetune_k400.py:model=r2plus1d34,conv=sts",
    "finetune_k400.py:model=x3d_s,conv=sts",
    "finetune_k400.py:model=slowonly50",
    "finetune_something.py:version=1,model=ct50,frames=24",
    "finetune_something.py:version=1,model=sth50:attention=true,frames=16",
    "pretrain_imagenet.py:model=csn50",
    "finetune_k400.py:model=slowfast50_8x8,conv=sts",
    "finetune_k400.py:model=ct101",
    "finetune_k400.py:model=csn50",
    "finetune_k400.py:model=x3d_s",
    "finetune_k400.py:model=r2plus1d34",
    "finetune_k400.py:model=slowfast50_4x16",
    "finetune_something.py:version=1,model=tsn50",
    "finetune_something.py:version=1,model=ct_inception_v3",
    "pretrain_imagenet.py:model=x3d_s",
    "pretrain_imagenet.py:model=r2plus1d34",
    "pretrain_imagenet.py:model=slowfast50_4x16",
    # What does not fit v4-8 as the paper has it.
    "finetune_something.py:version=1,model=ct50,frames=24 --config.finetune.optim.accumulate=2",
    "finetune_k400.py:model=ct101 --config.finetune.optim.accumulate=2",
    # Variants that may want more than the networks above, and clips of other lengths.
    "finetune_k400.py:model=ct50",
    "finetune_something.py:version=1,model=ct50:conv=c3d",
    "finetune_something.py:version=1,model=ct50:conv=r2plus1d",
    "finetune_something.py:version=1,model=ct50:conv=csn",
    "finetune_something.py:version=1,model=ct50:dims=4,pointwise=false,excitation=none",
    "finetune_something.py:version=1,model=ct50:kernels=5+5,pointwise=false,excitation=none",
    "finetune_something.py:version=1,model=ct50:excitation=se",
    "finetune_something.py:version=1,model=ct50:dims=1,pointwise=false,excitation=none",
    "finetune_something.py:version=1,model=ct50,frames=12",
    "finetune_something.py:version=1,model=sth50",
    "finetune_something.py:version=1,model=sth50:mode=merge",
    "finetune_something.py:version=1,model=sth50:conv=2plus1d_sequential",
    "finetune_something.py:version=1,model=sth50:conv=2plus1d_parallel",
    "finetune_something.py:version=1,model=sth50:attention=true,dilation=1+2+3",
    "finetune_k400.py:model=slowfast50_8x8",
    "pretrain_imagenet.py:model=slowfast50_8x8",
    "pretrain_imagenet.py:model=csn50,conv=sts",
    "finetune_k400.py:model=csn50,conv=sts,frames=16",
    "finetune_k400.py:model=csn50,frames=8",
    "finetune_k400.py:model=csn50:conv=sts,static=dilated,frames=8",
    "finetune_something.py:model=x3d_s,conv=sts",
    "finetune_something.py:model=csn50,conv=sts",
    "finetune_something.py:model=r2plus1d34,conv=sts",
    "finetune_something.py:model=slowfast50_4x16,conv=sts",
    "finetune_something.py:model=slowonly50,conv=sts",
)
HEADER = (
    "recipe",
    "clip",
    "topology",
    "clips a chip",
    "fits",
    "GiB a chip",
    "state and batch",
    "within the step",
    "TFLOPs a chip",
    "GB accessed",
    "collectives of so many chips",
    "MB",
    "compiled in s",
)


def load() -> dict[str, dict]:
    """Return what is known, by recipe and topology."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def measure(recipe: str, topology: str) -> dict:
    """Compile a recipe's training step in a process of its own."""
    recipe, *overrides = recipe.split()
    command = [sys.executable, "-m", "vidpretrain.analyze", "tpu", "--config", f"configs/{recipe}"]
    command += [*overrides, "--topology", topology, "--train-only", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    (report,) = json.loads(done.stdout)
    del report["model"]
    return report


def cells(recipe: str, report: dict) -> tuple[str, ...]:
    """Return a row of the table."""
    step = report["train"]
    clip = f"{report['frames']} x {report['size_px']}²"
    row = (f"`{recipe}`", clip, report["topology"], str(report["clips_per_chip"]))
    room = f"{step['memory'] / 2**30:.1f} of {report['hbm_bytes'] / 2**30:.0f}"
    if not report["fits"]:
        return (*row, "no", room, *[""] * 7)
    collectives = step["collectives"]
    return (
        *row,
        "yes",
        room,
        f"{step['arguments'] / 2**30:.2f}",
        f"{step['temporaries'] / 2**30:.2f}",
        f"{step['flops'] / 1e12:.2f}",
        f"{step['hbm_bytes'] / 1e9:.0f}",
        ", ".join(f"{one['times']} {one['kind']} of {one['group']}" for one in collectives),
        f"{sum(one['num_bytes'] * one['times'] for one in collectives) / 1e6:.0f}",
        f"{step['compile_sec']:.0f}",
    )


def main() -> None:
    """Compile what is missing, then print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="recipes with this text in their name")
    parser.add_argument("--anew", action="store_true", help="compile what is known, too")
    parser.add_argument("--table", action="store_true", help="compile nothing")
    options = parser.parse_args()
    known = load()
    for recipe in () if options.table else RECIPES:
        for topology in TOPOLOGIES:
            name = f"{recipe} @ {topology}"
            if options.only in name and (options.anew or name not in known):
                print(name, file=sys.stderr, flush=True)
                known[name] = measure(recipe, topology)
                RESULTS.write_text(json.dumps(known, indent=1) + "\n")
    print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}")
    for recipe in RECIPES:
        for topology in TOPOLOGIES:
            report = known.get(f"{recipe} @ {topology}")
            if report is not None:
                print(f"| {' | '.join(cells(recipe, report))} |")


if __name__ == "__main__":
    main()
