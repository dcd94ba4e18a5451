# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The commands of `python -m vidpretrain.data`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from vidpretrain.commands import run_command
from vidpretrain.data.bad_log import TooManyBadInputsError
from vidpretrain.data.read_ahead import WorkerError

# Each command, its module, and what it is for.
COMMANDS: dict[str, tuple[str, str]] = {
    "index": ("vidpretrain.data.index_command", "note frame counts and key frames of a list"),
    "check": ("vidpretrain.data.check_command", "decode every file, write report and clean list"),
    "show": ("vidpretrain.data.show_command", "draw training clips as the network sees them"),
    "pack": ("vidpretrain.data.pack_command", "scale and store videos in a few large files"),
    "beam": ("vidpretrain.data.beam_command", "the same on a cluster, by Apache Beam"),
    "bench": ("vidpretrain.data.bench_command", "measure how fast clips are made, by step"),
    "digits": ("vidpretrain.data.digits_command", "write moving digits as video files and lists"),
}

EXIT_BAD_INPUT = 2


def main(arguments: Sequence[str]) -> int:
    """Run the command named first with the arguments behind it; return its exit code."""
    purpose = "Prepare data sets and look at them (docs/data.md)."
    try:
        return run_command("vidpretrain.data", purpose, COMMANDS, arguments)
    except (ValueError, OSError, TooManyBadInputsError, WorkerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
