# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""`python -m vidpretrain.analyze COMMAND ...`: finds the command and hands over.

A command is a module with `main(arguments) -> exit code`, imported only when it is called for.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from vidpretrain.suggest import closest

# Each command, its module, and what it is for.
COMMANDS: dict[str, tuple[str, str]] = {
    "count": ("vidpretrain.analyze.count_command", "parameters and GFLOPs of a network"),
}


def main(arguments: Sequence[str]) -> int:
    """Run the command named first with the arguments behind it; return its exit code."""
    width = max(map(len, COMMANDS))
    parser = argparse.ArgumentParser(
        prog="python -m vidpretrain.analyze",
        description="Look at networks and runs.",
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
    return module.main(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
