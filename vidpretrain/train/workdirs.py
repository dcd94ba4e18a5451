# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Whose a working folder is: it belongs to the first configuration that ran in it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from vidpretrain import parallel

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


class WorkdirError(ValueError):
    """A working folder cannot be used; the message says what would do."""


def claim(workdir: Path, config: Mapping[str, Any]) -> None:
    """Make a working folder, or make sure that it is this run's.

    Args:
        workdir: the folder.
        config: the whole resolved configuration.

    Raises:
        WorkdirError: it cannot be written, or another configuration ran in it.
    """
    path = workdir / CONFIG
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _check_same(json.loads(path.read_text(encoding="utf-8")), config, workdir)
        if parallel.is_first_process():
            write_json(path, config)
    except OSError as error:
        raise WorkdirError(
            f"--workdir {workdir} cannot be written: {error.strerror or error}; choose another"
        ) from error
    except json.JSONDecodeError as error:
        raise WorkdirError(f"{path} is no JSON ({error}); choose another --workdir") from error


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
    before, now = dict(_flatten(old)), dict(_flatten(new))
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


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            # JSON knows no tuples.
            yield prefix + key, list(value) if isinstance(value, tuple) else value
