# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""A room's command line: it finds the command named first and hands over; every room may use it.

A command is a module with `main(arguments) -> exit code`, imported only when it is called for.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping, Sequence

from vidpretrain.suggest import closest


def run_command(
    room: str, purpose: str, commands: Mapping[str, tuple[str, str]], arguments: Sequence[str]
) -> int:
    """Run the command named first with the arguments behind it.

    Args:
        room: Whose command line it is, such as `vidpretrain.data`.
        purpose: What the room's commands are for, for `--help`.
        commands: By name, each command's module and what it is for.
        arguments: Those of the command line, the program's name left out.

    Returns:
        The command's exit code.
    """
    width = max(map(len, commands))
    parser = argparse.ArgumentParser(
        prog=f"python -m {room}",
        description=purpose,
        epilog="Commands (each has --help):\n"
        + "\n".join(f"  {name:{width}}  {what}" for name, (_, what) in commands.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", metavar="COMMAND", help="what to do")
    # Only the first argument is ours: what follows may hold options of the command.
    command = parser.parse_args(arguments[:1]).command
    if command not in commands:
        parser.error(f"there is no command {command!r}; {closest(command, commands)}")
    return importlib.import_module(commands[command][0]).main(arguments[1:])
