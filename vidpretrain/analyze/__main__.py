# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The commands of `python -m vidpretrain.analyze`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from vidpretrain.commands import run_command

# Each command, its module, and what it is for.
COMMANDS: dict[str, tuple[str, str]] = {
    "count": ("vidpretrain.analyze.count_command", "parameters and GFLOPs of a network"),
    "tpu": ("vidpretrain.analyze.tpu_command", "whether a recipe fits a TPU slice; no TPU needed"),
    "test": ("vidpretrain.analyze.test_command", "test a checkpoint, with any number of views"),
    "classes": ("vidpretrain.analyze.classes_command", "scores class by class, and confusions"),
    "fuse": ("vidpretrain.analyze.fuse_command", "several networks' scores as one"),
    "splits": ("vidpretrain.analyze.splits_command", "means over splits, or over seeds"),
    "probe": ("vidpretrain.analyze.probe_command", "linear probes of a network's temporal taps"),
    "attention": ("vidpretrain.analyze.attention_command", "what STH's attention prefers"),
}


def main(arguments: Sequence[str]) -> int:
    """Run the command named first with the arguments behind it; return its exit code."""
    return run_command("vidpretrain.analyze", "Look at networks and runs.", COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
