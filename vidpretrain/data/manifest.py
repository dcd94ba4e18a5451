# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What exactly a run was shown, for its records."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import os
from collections.abc import Mapping
from typing import Any

import av
import cv2
import numpy as np

from vidpretrain.data.clips import ListedClips
from vidpretrain.data.source import Source
from vidpretrain.data.views import Views


def run_manifest(sources: Mapping[str, Source], views: Views) -> dict[str, Any]:
    """Describe the data of a run.

    Args:
        sources: By what they are for, such as "train".
        views: What the network sees of them.

    Returns:
        Versions of the decoders; for every source its kind, counts, a hash of the names of its
        classes, and the hashes of its lists; and the views. It survives JSON.
    """
    return {
        "decoders": {
            "pyav": av.__version__,
            "ffmpeg": {
                name: ".".join(map(str, version)) for name, version in av.library_versions.items()
            },
            "opencv": cv2.__version__,
            "numpy": np.__version__,
        },
        "sources": {name: describe(source) for name, source in sources.items()},
        "views": _plain(views),
    }


def describe(source: Source) -> dict[str, Any]:
    """Describe a source: what it is, how much it holds, and what it was made with."""
    names = "\n".join(source.class_names)
    description = {
        "kind": type(source).__name__,
        "examples": len(source),
        "num_classes": source.num_classes,
        "classes_sha256": hashlib.sha256(names.encode()).hexdigest(),
    }
    if isinstance(source, ListedClips):
        description["indexed"] = source.index is not None
        description["unusable"] = len(source.index.faults) if source.index is not None else None
    return description | _fields(source)


def _fields(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that its text shows; the others are bulk."""
    if not dataclasses.is_dataclass(value):
        return {}
    shown = [field.name for field in dataclasses.fields(value) if field.repr]
    return {name: _plain(getattr(value, name)) for name in shown}


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, enum.IntEnum):
        return value.name.lower()
    if isinstance(value, enum.StrEnum):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    if hasattr(value, "num_classes"):
        return describe(value)
    return {"kind": type(value).__name__, **_fields(value)}
