# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Weights in single files: `.safetensors`, `.npz`, and PyTorch's `.pth` (read only).

A file is arrays by name and a few texts by name. Files of ours have the card among the texts, so
that they open without a config as checkpoint folders do, and the SHA-256 of both.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy
from etils import epath

from vidpretrain.convert import torch_file
from vidpretrain.convert.folder import (
    Card,
    CheckpointError,
    PathLike,
    as_path,
    refuse_existing,
)

READABLE = (".safetensors", ".npz", *torch_file.SUFFIXES)
WRITABLE = (".safetensors", ".npz")
_CARD, _DIGEST = "card", "sha256"

_UNREADABLE = (
    *(OSError, ValueError, KeyError, EOFError),
    *(zipfile.BadZipFile, safetensors.SafetensorError),
)

Arrays = dict[str, np.ndarray]


def is_file_name(path: PathLike) -> bool:
    """Say whether a path is named like a file of weights, not like a checkpoint's folder."""
    return os.fspath(path).endswith(READABLE)


def read_file(path: PathLike) -> tuple[Arrays, Card | None]:
    """Read a file of weights.

    Args:
        path: ends in one of `READABLE`; local or remote.

    Returns:
        The arrays by name, and the card of a file of ours.

    Raises:
        CheckpointError: the file is missing, damaged, or of another kind.
    """
    file = as_path(path)
    if not file.is_file():
        raise CheckpointError(f"There is no file {file}.")
    if file.name.endswith(torch_file.SUFFIXES):
        return torch_file.read(file), None
    reader = _read_npz if file.suffix == ".npz" else _read_safetensors
    try:
        arrays, texts = reader(file)
    except _UNREADABLE as error:
        raise CheckpointError(f"Cannot read {file}: {error}.") from error
    if _CARD in texts and texts.get(_DIGEST) != _digest(arrays, texts[_CARD]):
        raise CheckpointError(f"{file} is damaged: it has not the bytes written.")
    return arrays, Card.from_json(texts[_CARD]) if _CARD in texts else None


def write_file(path: PathLike, arrays: Mapping[str, np.ndarray], card: Card) -> None:
    """Write a file of weights whole, or not at all.

    Args:
        path: ends in one of `WRITABLE`; must not exist.
        arrays: by name.
        card: what they are.

    Raises:
        CheckpointError: the file exists or cannot be written.
    """
    file = as_path(path)
    refuse_existing(file)
    temporary = file.parent / f"{file.name}.tmp-{os.getpid()}"
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    texts = {_CARD: card.to_json(), _DIGEST: _digest(arrays, card.to_json())}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".npz":
            with temporary.open("wb") as stream:
                np.savez(stream, allow_pickle=False, **arrays, **_as_arrays(texts))
        else:
            temporary.write_bytes(safetensors.numpy.save(arrays, metadata=texts))
        temporary.rename(file)
    except OSError as error:
        raise CheckpointError(f"Cannot write {file}: {error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _digest(arrays: Arrays, card: str) -> str:
    digest = hashlib.sha256(card.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return digest.hexdigest()


# --- .npz ------------------------------------------------------------------------------------


def _as_arrays(texts: Mapping[str, str]) -> Arrays:
    return {name: np.array(text) for name, text in texts.items()}


def _read_npz(file: epath.Path) -> tuple[Arrays, dict[str, str]]:
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    texts = {name: arrays.pop(name).item() for name in (_CARD, _DIGEST) if name in arrays}
    return arrays, texts


# --- .safetensors ----------------------------------------------------------------------------

_SAFETENSORS_TYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}


def _read_safetensors(file: epath.Path) -> tuple[Arrays, dict[str, str]]:
    data = file.read_bytes()
    arrays = {}
    # The library checks the header against the length of the data.
    for name, tensor in safetensors.deserialize(data):
        if tensor["dtype"] not in _SAFETENSORS_TYPES:
            raise ValueError(f"{name} has the type {tensor['dtype']}, which no weights have")
        flat = np.frombuffer(tensor["data"], _SAFETENSORS_TYPES[tensor["dtype"]])
        arrays[name] = flat.reshape(tensor["shape"])
    header_bytes = int.from_bytes(data[:8], "little")
    return arrays, json.loads(data[8 : 8 + header_bytes]).get("__metadata__", {})
