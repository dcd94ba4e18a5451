# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""`python -m vidpretrain.data COMMAND ...`: finds the command and hands over.

A command is a module with `main(arguments) -> exit code`, imported only when it is called for.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from vidpretrain.data.bad_log import TooManyBadInputsError
from vidpretrain.data.read_ahead import WorkerError
from vidpretrain.suggest import closest

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
    width = max(map(len, COMMANDS))
    parser = argparse.ArgumentParser(
        prog="python -m vidpretrain.data",
        description="Prepare data sets and look at them (docs/data.md).",
        epilog="Commands (each has --help):\n"
        + "\n".join(f"  {name:{width}}  {purpose}" for name, (_, purpose) in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", metavar="COMMAND", help="what to do")
    # Only the first argument is ours: what follows may hold options of the command.
    command = parser.parse_args(arguments[:1]).command
    if command not in COMMANDS:
        parser.error(f"there is no command {command!r}; {closest(command, COMMANDS)}")
    module = importlib.import_module(COMMANDS[command][0])
    try:
        return module.main(arguments[1:])
    except (ValueError, OSError, TooManyBadInputsError, WorkerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
