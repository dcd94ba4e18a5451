# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Whose a working folder is: it belongs to the first configuration that ran in it."""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from vidpretrain import parallel
from vidpretrain.train.identity import flatten

CONFIG = "config.json"

# What may change between two runs in one folder, for it does not change what is learned.
FREE_FIELDS = (
    "log_every",
    "stall_sec",
    "checkpoint",
    "input",
    "parallel",
    "profile",
    "test.batch_size",
    "test.save_scores",
    "max_skipped",
)

_MOST_LINES = 20
_MARK = ".shared"
_MOST_DELAY_SEC = 5.0  # until a file system shows on one host what another has written
_POLL_SEC = 0.1


class WorkdirError(ValueError):
    """A working folder cannot be used; the message says what would do."""


def claim(workdir: Path, config: Mapping[str, Any]) -> None:
    """Make a working folder, or make sure that it is this run's, and shared by its processes.

    Args:
        workdir: the folder.
        config: the whole resolved configuration.

    Raises:
        WorkdirError: it is an address, it cannot be written, another configuration ran in it, or a
            process has another folder under this name.
        vidpretrain.parallel.PeerError: another process has found so.
    """
    parallel.together(lambda: _check_no_address(workdir))
    if parallel.is_first_process():
        parallel.together(lambda: _claim(workdir, config))
    else:
        parallel.together(lambda: None)
    if jax.process_count() > 1:
        _check_shared(workdir)


def _check_no_address(workdir: Path) -> None:
    # A path has one slash where an address, such as gs://bucket, has two.
    if workdir.parts[:1] and workdir.parts[0].endswith(":"):
        raise WorkdirError(
            f"--workdir {workdir.parts[0]}//{'/'.join(workdir.parts[1:])} is an address, not a "
            "folder: lines are appended to files in it, which such stores cannot do; mount it "
            "(docs/scaling.md) and give the folder"
        )


def _claim(workdir: Path, config: Mapping[str, Any]) -> None:
    path = workdir / CONFIG
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _check_same(json.loads(path.read_text(encoding="utf-8")), config, workdir)
        write_json(path, config)
    except OSError as error:
        raise WorkdirError(
            f"--workdir {workdir} cannot be written: {error.strerror or error}; choose another"
        ) from error
    except json.JSONDecodeError as error:
        raise WorkdirError(f"{path} is no JSON ({error}); choose another --workdir") from error


def _check_shared(workdir: Path) -> None:
    """See that every process finds in the folder what process 0 has just put there."""
    # A name of its own: an older file may lie in folders that are not shared, too.
    mark = workdir / f"{_MARK}-{parallel.gather_texts(secrets.token_hex(8))[0]}"
    try:
        if parallel.is_first_process():
            parallel.together(mark.touch)
        else:
            parallel.together(lambda: None)
        parallel.together(lambda: _await_file(mark))
    finally:
        if parallel.is_first_process():
            mark.unlink(missing_ok=True)


def _await_file(mark: Path) -> None:
    deadline = time.monotonic() + _MOST_DELAY_SEC
    while not mark.exists():
        if time.monotonic() > deadline:
            raise WorkdirError(
                f"--workdir {mark.parent} on {socket.gethostname()} is not the folder that "
                "process 0 has; name one on a file system that all hosts mount"
            )
        time.sleep(_POLL_SEC)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def use_compilation_cache(workdir: Path) -> None:
    """Keep compiled programs in the working folder, so that a resumed run starts sooner.

    `JAX_COMPILATION_CACHE_DIR` names another place, which many runs can share.
    """
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(workdir / "compilation_cache"))


def _check_same(old: Mapping[str, Any], new: Mapping[str, Any], workdir: Path) -> None:
    before, now = dict(flatten(old)), dict(flatten(new))
    lines = [
        f"  {field}: {before.get(field, 'absent')!r} before, {now.get(field, 'absent')!r} now"
        for field in sorted({*before, *now})
        if before.get(field) != now.get(field) and not _is_free(field)
    ]
    if lines:
        more = [f"  ... and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else []
        raise WorkdirError(
            "\n".join(
                [
                    f"--workdir {workdir} belongs to another run; these fields differ:",
                    *lines[:_MOST_LINES],
                    *more,
                    "choose another --workdir, or run the configuration that it belongs to",
                ]
            )
        )


def _is_free(field: str) -> bool:
    in_stage = field.partition(".")[2]
    return any(in_stage == free or in_stage.startswith(free + ".") for free in FREE_FIELDS)
