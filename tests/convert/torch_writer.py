# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Write files as `torch.save` does, without PyTorch: the pickle's instructions one by one."""

import dataclasses
import io
import pathlib
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

STORAGES = {
    "<f4": "FloatStorage",
    "<f8": "DoubleStorage",
    "<f2": "HalfStorage",
    "<i8": "LongStorage",
}


@dataclasses.dataclass(frozen=True)
class Raw:
    """Instructions as they are."""

    code: bytes


def name(module: str, attribute: str) -> Raw:
    return Raw(f"c{module}\n{attribute}\n".encode())


@dataclasses.dataclass(frozen=True)
class Call:
    function: Raw
    arguments: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Storage:
    key: str
    kind: str
    size: int


def tensor(storage: Storage, offset: int, shape: tuple, strides: tuple) -> Call:
    hooks = Call(name("collections", "OrderedDict"), ())
    arguments = (storage, offset, shape, strides, False, hooks)
    return Call(name("torch._utils", "_rebuild_tensor_v2"), arguments)


def instructions(value: Any) -> bytes:
    match value:
        case Raw():
            return value.code
        case Call():
            return instructions(value.function) + instructions(value.arguments) + b"R"
        case Storage():
            parts = ("storage", name("torch", value.kind), value.key, "cpu", value.size)
            return instructions(parts) + b"Q"
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            data = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
            return b"\x8a" + bytes([len(data)]) + data
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return b"(" + b"".join(map(instructions, value)) + b"t"
        case list():
            return b"](" + b"".join(map(instructions, value)) + b"e"
        case Mapping():
            items = (instructions(k) + instructions(v) for k, v in value.items())
            return b"}(" + b"".join(items) + b"u"
    raise TypeError(type(value))


def pickle(value: Any) -> bytes:
    return b"\x80\x02" + instructions(value) + b"."


def state_dict(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, Call], dict[str, bytes]]:
    """Describe arrays as tensors, each with a storage of its own."""
    tensors, storages = {}, {}
    for index, (key, array) in enumerate(arrays.items()):
        storage = Storage(str(index), STORAGES[array.dtype.str], array.size)
        strides = tuple(
            step // array.itemsize for step in np.empty(array.shape, array.dtype).strides
        )
        tensors[key] = tensor(storage, 0, array.shape, strides)
        storages[str(index)] = array.tobytes()
    return tensors, storages


def archive(value: Any, storages: Mapping[str, bytes] = {}, **members: bytes) -> bytes:
    """Make the bytes of a file, with members beside the usual ones."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as file:
        file.writestr("archive/data.pkl", value if isinstance(value, bytes) else pickle(value))
        file.writestr("archive/byteorder", members.pop("byteorder", b"little"))
        for key, content in storages.items():
            file.writestr(f"archive/data/{key}", content)
        for path, content in members.items():
            file.writestr(path, content)
        file.writestr("archive/version", b"3\n")
    return data.getvalue()


def save(
    path: pathlib.Path, arrays: Mapping[str, np.ndarray], wrap=lambda tensors: tensors
) -> None:
    """Write a state dict, bare or wrapped in what training code puts around it."""
    tensors, storages = state_dict(arrays)
    path.write_bytes(archive(wrap(tensors), storages))
