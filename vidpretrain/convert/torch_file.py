# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Read the tensors of PyTorch's files, without PyTorch and without running what they say.

Since version 1.6 `torch.save` writes a zip archive: `data.pkl` describes the object, `data/0`,
`data/1`, ... are its storages. A pickle is a program; Python's own reader would run it. This one
interprets the few instructions that build dictionaries, lists, numbers, texts and tensors, and
refuses all others. Calls are looked up in a short list, by name; nothing is imported or called.

References:
    The opcodes: Python's `pickletools`. The format of storages and tensors: PyTorch's
    `torch/serialization.py` (`persistent_id`) and `torch/_utils.py` (`_rebuild_tensor_v2`).
"""

from __future__ import annotations

import dataclasses
import mmap
import os
import pickletools
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from vidpretrain.convert import stored_zip
from vidpretrain.convert.folder import CheckpointError, PathLike, as_path, is_remote
from vidpretrain.convert.stored_zip import Member, ZipError

SUFFIXES = (".pth", ".pt", ".pth.tar")

_MAX_PICKLE_BYTES = 4 << 20
# A tensor takes about 25, so that ten thousand tensors pass.
_MAX_INSTRUCTIONS = 250_000
_MAX_RANK = 16
_STATE_DICT_KEYS = ("state_dict", "model", "model_state")
_ADVICE = (
    "Where you trust the file and have PyTorch, keep its weights alone: "
    "torch.save(torch.load(FILE, map_location='cpu')['state_dict'], NEW_FILE)"
)

_STORAGE_TYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


class RefusedError(CheckpointError):
    """A file that is not read, because it may be harmful, damaged or of another format."""


@dataclasses.dataclass(frozen=True)
class _Global:
    """A name that a pickle may mention; what it stands for is never looked up."""

    name: str


@dataclasses.dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype
    size: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


_MARK = _Global("mark")


def read(path: PathLike) -> dict[str, np.ndarray]:
    """Read the state dict of a PyTorch file.

    Args:
        path: a `.pth`, `.pt` or `.pth.tar` that `torch.save` wrote, of a state dict or of a
            dictionary with one under `state_dict`, `model` or `model_state`; local or remote.

    Returns:
        Arrays by name, in PyTorch's layout; views of the file's bytes, not writable.

    Raises:
        RefusedError: the file is of another format, damaged, or holds more than tensors and plain
            values; says why and what to do.
    """
    data = _map(path)
    try:
        _require_zip(data)
        members = stored_zip.list_members(data)
        root = _find_root(members)
        pickle = stored_zip.read_member(data, members[f"{root}data.pkl"])
        tensors = _find_state_dict(_interpret(pickle))
        return _Storages(data, members, root).arrays(tensors)
    except (ValueError, OverflowError) as error:  # ZipError, _PickleError, and NumPy's own
        raise RefusedError(f"{os.fspath(path)} is refused: {error}. {_ADVICE}.") from error


class _PickleError(ValueError):
    """The pickle wants more than building plain values and tensors."""


# --- the archive -----------------------------------------------------------------------------


def _map(path: PathLike) -> memoryview:
    if is_remote(path):
        return memoryview(as_path(path).read_bytes())
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _require_zip(data: memoryview) -> None:
    start = bytes(data[:4])
    if start == b"PK\x03\x04":
        return
    if start[:1] == b"\x80" or b"ustar" in bytes(data[:512]):
        raise ZipError(
            "it has the format of PyTorch before 1.6, which is a program; write it again with a "
            "newer PyTorch"
        )
    raise ZipError("it is no zip archive, as torch.save writes")


def _find_root(members: dict[str, Member]) -> str:
    """Return the archive's one folder, with the slash."""
    roots = {name.split("/")[0] + "/" for name in members}
    root = next(iter(roots), "")
    if len(roots) != 1 or f"{root}data.pkl" not in members:
        raise ZipError("it has not the one folder with data.pkl that torch.save writes")
    if f"{root}constants.pkl" in members or any(n.startswith(f"{root}code/") for n in members):
        raise ZipError("it is a TorchScript program, not weights")
    if members[f"{root}data.pkl"].size > _MAX_PICKLE_BYTES:
        raise ZipError(f"its data.pkl has more than {_MAX_PICKLE_BYTES} bytes")
    return root


class _Storages:
    """The storages of an archive, each read and checked once."""

    def __init__(self, data: memoryview, members: dict[str, Member], root: str) -> None:
        self._data = data
        self._members = members
        self._root = root
        self._read: dict[str, memoryview] = {}
        order = members.get(f"{root}byteorder")
        if order and bytes(stored_zip.read_member(data, order)) != b"little":
            raise ZipError("its numbers are not little-endian")

    def arrays(self, tensors: dict[str, _Tensor]) -> dict[str, np.ndarray]:
        arrays = {name: self._array(name, tensor) for name, tensor in tensors.items()}
        total = sum(array.nbytes for array in arrays.values())
        if total > 2 * len(self._data):
            raise ZipError(f"its tensors claim {total} bytes, and the file has {len(self._data)}")
        return arrays

    def _array(self, name: str, tensor: _Tensor) -> np.ndarray:
        storage, shape = tensor.storage, tensor.shape
        count = int(np.prod([int(n) for n in shape], dtype=object)) if shape else 1
        last = tensor.offset + sum((n - 1) * s for n, s in zip(shape, tensor.strides, strict=True))
        if count > storage.size or (count and last >= storage.size):
            raise ZipError(f"the tensor {name!r} reaches beyond its storage")
        flat = np.frombuffer(self._bytes(storage), storage.dtype)[tensor.offset :]
        if not count:
            return np.empty(shape, storage.dtype)
        # The stride of an axis of length 1 is never used, and may be any number.
        itemsize = storage.dtype.itemsize
        strides = [s * itemsize if n > 1 else 0 for n, s in zip(shape, tensor.strides, strict=True)]
        return np.lib.stride_tricks.as_strided(flat, shape, strides, writeable=False)

    def _bytes(self, storage: _Storage) -> memoryview:
        name = f"{self._root}data/{storage.key}"
        if name not in self._members:
            raise ZipError(f"the storage {name!r} is missing")
        if self._members[name].size != storage.size * storage.dtype.itemsize:
            raise ZipError(f"the storage {name!r} has not the size that data.pkl says")
        if name not in self._read:
            self._read[name] = stored_zip.read_member(self._data, self._members[name])
        return self._read[name]


def _find_state_dict(value: Any) -> dict[str, _Tensor]:
    for key in _STATE_DICT_KEYS:
        if isinstance(value, dict) and isinstance(value.get(key), dict):
            value = value[key]
            break
    tensors = {}
    if isinstance(value, dict):
        tensors = {k: v for k, v in value.items() if isinstance(k, str) and isinstance(v, _Tensor)}
    if not tensors:
        raise _PickleError("it holds no state dict: no dictionary of tensors by name")
    return tensors


# --- the pickle ------------------------------------------------------------------------------


def _interpret(data: memoryview) -> Any:
    """Build the value that a pickle describes, out of plain values, `_Tensor` and `_Global`."""
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(bytes(data))):
            if count >= _MAX_INSTRUCTIONS:
                raise _PickleError(f"its pickle has more than {_MAX_INSTRUCTIONS} instructions")
            machine.step(opcode.name, argument)
        return machine.pop()
    except _PickleError:
        raise
    except (IndexError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise _PickleError(f"its pickle is damaged ({type(error).__name__}: {error})") from error


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
        *("BINBYTES", "SHORT_BINBYTES"),
    )
)
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))
_NOTHING = frozenset(("PROTO", "FRAME", "STOP"))


class _Machine:
    """The stack and the memo of a pickle, and the instructions that are allowed."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise _PickleError("its pickle is damaged (a mark is out of place)")
        return value

    def step(self, name: str, argument: Any) -> None:
        """Execute one instruction."""
        if name in _LITERALS:
            self._stack.append(argument)
        elif name in _PUTS:
            self._memo[int(argument)] = self._stack[-1]
        elif name in _GETS:
            self._stack.append(self._memo[int(argument)])
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self._stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            items = [self.pop() for _ in range(_TUPLES[name])]
            self._stack.append(tuple(reversed(items)))
        elif name in _NOTHING:
            pass
        else:
            self._step_rarer(name, argument)

    def _step_rarer(self, name: str, argument: Any) -> None:
        match name:
            case "MARK":
                self._stack.append(_MARK)
            case "TUPLE":
                self._stack.append(tuple(self._pop_to_mark()))
            case "LIST":
                self._stack.append(self._pop_to_mark())
            case "DICT":
                self._stack.append(_pairs(self._pop_to_mark()))
            case "APPEND":
                value = self.pop()
                _expect(self._stack[-1], list).append(value)
            case "APPENDS":
                values = self._pop_to_mark()
                _expect(self._stack[-1], list).extend(values)
            case "SETITEM":
                items = [self.pop(), self.pop()]
                _expect(self._stack[-1], dict).update(_pairs(items[::-1]))
            case "SETITEMS":
                values = self._pop_to_mark()
                _expect(self._stack[-1], dict).update(_pairs(values))
            case "MEMOIZE":
                self._memo[len(self._memo)] = self._stack[-1]
            case "GLOBAL":
                self._stack.append(_look_up(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                attribute, module = self.pop(), self.pop()
                self._stack.append(_look_up(_expect(module, str), _expect(attribute, str)))
            case "BINPERSID":
                self._stack.append(_make_storage(self.pop()))
            case "REDUCE":
                arguments, function = self.pop(), self.pop()
                self._stack.append(_call(_expect(function, _Global), _expect(arguments, tuple)))
            case "BUILD":
                # What torch.save hangs on a state dict (_metadata) says nothing about weights.
                self.pop()
                _expect(self._stack[-1], dict)
            case _:
                raise _PickleError(
                    f"its pickle has the instruction {name}, which plain values lack"
                )

    def _pop_to_mark(self) -> list[Any]:
        items = []
        while (item := self._stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]


def _expect(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        wanted = getattr(kind, "__name__", str(kind))
        raise _PickleError(
            f"its pickle is damaged: a {type(value).__name__} where {wanted} belongs"
        )
    return value


def _pairs(items: list[Any]) -> dict[Any, Any]:
    # Hashing a deeply nested tuple overflows the C stack, so that only plain keys may be hashed.
    for key in items[::2]:
        _expect(key, str | int | float | bytes | None)
    return dict(zip(items[::2], items[1::2], strict=True))


def _look_up(module: str, attribute: str) -> _Global:
    name = f"{module}.{attribute}"
    if name in _CALLS or (module == "torch" and attribute in _STORAGE_TYPES):
        return _Global(name)
    raise _PickleError(f"it wants {name[:100]!r}, which is no tensor, number or text")


def _make_storage(identifier: Any) -> _Storage:
    kind, storage_type, key, _, size = _expect(identifier, tuple)
    attribute = _expect(storage_type, _Global).name.removeprefix("torch.")
    if kind != "storage" or attribute not in _STORAGE_TYPES or _natural(size) is None:
        raise _PickleError("its pickle describes a storage wrongly")
    return _Storage(_expect(key, str), _STORAGE_TYPES[attribute], size)


def _natural(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _call(function: _Global, arguments: tuple[Any, ...]) -> Any:
    if function.name not in _CALLS:
        raise _PickleError(f"it calls {function.name}, which builds no tensor")
    return _CALLS[function.name](arguments)


def _make_tensor(arguments: tuple[Any, ...]) -> _Tensor:
    storage, offset, shape, strides = arguments[:4]
    shape, strides = _expect(shape, tuple), _expect(strides, tuple)
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or len(shape) > _MAX_RANK or None in map(_natural, numbers):
        raise _PickleError("its pickle describes a tensor wrongly")
    return _Tensor(_expect(storage, _Storage), offset, shape, strides)


def _make_dict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    pairs = _expect(arguments[0], list) if arguments else []
    return _pairs([item for pair in pairs for item in _expect(pair, list | tuple)])


_CALLS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "torch._utils._rebuild_tensor": _make_tensor,
    "torch._utils._rebuild_tensor_v2": _make_tensor,
    "torch._utils._rebuild_parameter": lambda arguments: _expect(arguments[0], _Tensor),
    "torch.Size": lambda arguments: tuple(_expect(arguments[0], list | tuple)),
    "torch.device": lambda arguments: None,
    "collections.OrderedDict": _make_dict,
    # A default factory says nothing about what the dictionary holds.
    "collections.defaultdict": lambda arguments: {},
    "builtins.dict": _make_dict,
    "__builtin__.dict": _make_dict,
}
