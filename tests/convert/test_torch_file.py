# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""PyTorch's files: weights come out exactly, and nothing that a file says is run."""

import io
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from tests.convert import torch_writer as writer
from tests.convert.torch_writer import Call, Raw, Storage, name, tensor
from vidpretrain.convert import torch_file
from vidpretrain.convert.torch_file import RefusedError

RNG = np.random.default_rng(0)
ARRAYS = {
    "conv.weight": RNG.normal(size=(4, 3, 3, 2, 2)).astype(np.float32),
    "bn.running_mean": RNG.normal(size=4).astype(np.float64),
    "bn.half": RNG.normal(size=(2, 3)).astype(np.float16),
    "bn.num_batches_tracked": np.array(7),
}

WRAPPINGS = {
    "bare": lambda tensors: tensors,
    "ordered": lambda tensors: Call(name("collections", "OrderedDict"), ([*tensors.items()],)),
    "with metadata": lambda tensors: Raw(
        writer.instructions(tensors)
        + writer.instructions({"_metadata": {"": {"version": 1}}})
        + b"b"
    ),
    "a training checkpoint": lambda tensors: {
        "epoch": 3,
        "best": 71.5,
        "meta": {"classes": ("a", "b"), "config": None, "time": "now"},
        "state_dict": tensors,
    },
    "parameters": lambda tensors: {
        "model": {
            key: Call(name("torch._utils", "_rebuild_parameter"), (value, True, {}))
            for key, value in tensors.items()
        }
    },
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_state_dicts_come_out_exactly(tmp_path, wrapping):
    path = tmp_path / "weights.pth"
    writer.save(path, ARRAYS, WRAPPINGS[wrapping])
    arrays = torch_file.read(path)
    assert list(arrays) == list(ARRAYS)
    for key, array in arrays.items():
        assert array.dtype == ARRAYS[key].dtype
        np.testing.assert_array_equal(array, ARRAYS[key])


def test_views_of_a_storage_are_cut_out_of_it(tmp_path):
    values = np.arange(24, dtype=np.float32)
    storage = Storage("0", "FloatStorage", 24)
    tensors = {
        "transposed": tensor(storage, 0, (3, 8), (1, 3)),
        "part": tensor(storage, 5, (2, 2), (6, 1)),
        "odd stride": tensor(storage, 23, (1, 1), (10**30, 7)),
        "empty": tensor(storage, 0, (0, 3), (3, 1)),
    }
    path = tmp_path / "weights.pt"
    path.write_bytes(writer.archive(tensors, {"0": values.tobytes()}))
    arrays = torch_file.read(path)
    np.testing.assert_array_equal(arrays["transposed"], values.reshape(8, 3).T)
    np.testing.assert_array_equal(arrays["part"], [[5, 6], [11, 12]])
    np.testing.assert_array_equal(arrays["odd stride"], [[23]])
    assert arrays["empty"].shape == (0, 3)


def test_bfloat16(tmp_path):
    path = tmp_path / "weights.pth"
    storage = Storage("0", "BFloat16Storage", 2)
    path.write_bytes(
        writer.archive({"w": tensor(storage, 0, (2,), (1,))}, {"0": b"\x80\x3f\x20\xc0"})
    )
    np.testing.assert_array_equal(torch_file.read(path)["w"].astype(np.float32), [1.0, -2.5])


# --- files that are refused -------------------------------------------------------------------


def one_tensor(offset=0, shape=(4,), strides=(1,), key="0", kind="FloatStorage", stored=4, **more):
    value = {"w": tensor(Storage(key, kind, 4), offset, shape, strides)}
    return writer.archive(value, {"0": bytes(4 * stored)}, **more)


def call(module, attribute, *arguments):
    return writer.archive({"w": Call(name(module, attribute), arguments)})


def stack_call(module, attribute, *arguments):
    function = Raw(writer.instructions(module) + writer.instructions(attribute) + b"\x93")
    return writer.archive(b"\x80\x04" + writer.instructions(Call(function, arguments)) + b".")


def code(instructions):
    return writer.archive(b"\x80\x04" + instructions + b".")


def patched(data, old, new, count=-1):
    assert old in data
    return data.replace(old, new, count)


def deflated():
    """64 megabytes of zeros, packed into 64 kilobytes."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", writer.pickle({}))
        with file.open("archive/data/0", "w") as member:
            for _ in range(64):
                member.write(bytes(1 << 20))
    return data.getvalue()


def overlapping():
    """Every entry of the directory tells of the same bytes."""
    data = writer.archive(
        {}, {str(index): bytes(100_000 if not index else 0) for index in range(50)}
    )
    end = data.rfind(b"PK\x05\x06")
    directory = bytearray(data[struct.unpack_from("<I", data, end + 16)[0] : end])
    position = 0
    while position < len(directory):
        struct.pack_into("<2I", directory, position + 20, 100_000, 100_000)
        position += 46 + sum(struct.unpack_from("<3H", directory, position + 28))
    return data[: end - len(directory)] + bytes(directory) + data[end:]


def million_entries():
    entry = struct.pack(
        "<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0
    )
    directory = (entry + b"archive/a") * 1_000_000
    size, offset = len(directory), 4
    end64 = (b"PK\x06\x06", 44, 45, 45, 0, 0, 1_000_000, 1_000_000, size, offset)
    locator = (b"PK\x06\x07", 0, offset + size, 1)
    end = (b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return b"".join(
        (
            b"PK\x03\x04" + directory,
            struct.pack("<4sQ2H2I4Q", *end64),
            struct.pack("<4sIQI", *locator),
            struct.pack("<4s4H2IH", *end),
        )
    )


def nested_key():
    """Hashing such a tuple overflows C's stack."""
    return code(b"}(" + b")" + b"\x85" * 50_000 + b"K\x01u")


LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."

HOSTILE = {
    "a call of os.system": (call("posix", "system", "touch MARKER"), "posix.system"),
    "a call of eval": (stack_call("builtins", "eval", "open('MARKER', 'w')"), "builtins.eval"),
    "getattr": (call("builtins", "getattr", "a", "b"), "builtins.getattr"),
    "an attribute chain": (
        stack_call("torch._utils", "_rebuild_tensor_v2.__globals__"),
        "__globals__",
    ),
    "torch.load inside": (call("torch", "load", "MARKER"), "torch.load"),
    "a lookup without a call": (
        writer.archive({"w": name("subprocess", "Popen")}),
        "subprocess.Popen",
    ),
    "an object made": (code(b"ccollections\nOrderedDict\n)\x81"), "NEWOBJ"),
    "an instance by name": (code(b"(S'touch MARKER'\niposix\nsystem\n"), "INST"),
    "a set state": (code(b"ccollections\nOrderedDict\n}b"), "a _Global where dict belongs"),
    "an extension code": (code(b"\x82\x01"), "EXT1"),
    "a text as persistent id": (code(b"PMARKER\n"), "PERSID"),
    "a storage called": (call("torch", "FloatStorage", 4), "builds no tensor"),
    "strides out of bounds": (one_tensor(shape=(2, 2), strides=(3, 1)), "beyond its storage"),
    "an offset out of bounds": (one_tensor(offset=1), "beyond its storage"),
    "a negative offset": (one_tensor(offset=-1), "wrongly"),
    "a negative stride": (one_tensor(strides=(-1,)), "wrongly"),
    "an expanded tensor": (one_tensor(shape=(10**12,), strides=(0,)), "beyond its storage"),
    "an axis of 2^64": (one_tensor(shape=(2**64,)), "beyond its storage"),
    "an empty tensor too big": (one_tensor(shape=(0, 2**70), strides=(1, 1)), "refused"),
    "a true as length": (one_tensor(shape=(True,)), "wrongly"),
    "a storage that is missing": (one_tensor(key="../../etc/passwd"), "is missing"),
    "a storage that is shorter": (one_tensor(stored=3), "not the size"),
    "a storage of unknown type": (one_tensor(kind="QInt8Storage"), "QInt8Storage"),
    "compressed members": (deflated(), "compressed"),
    "members that overlap": (overlapping(), "zip bomb"),
    "a member above": (writer.archive({}, **{"archive/../../MARKER": b""}), "outside its folder"),
    "a member at the root": (writer.archive({}, **{"/MARKER": b""}), "outside its folder"),
    "two folders": (writer.archive({}, **{"other/data.pkl": b""}), "one folder"),
    "a million members": (million_entries(), "1000000 entries"),
    "the format before 1.6": (LEGACY_MAGIC + b"\x80\x02}q\x00.", "before 1.6"),
    "the first format, a tar": (b"sys_info".ljust(257, b"\0") + b"ustar".ljust(300), "before 1.6"),
    "a TorchScript program": (
        writer.archive({}, **{"archive/code/__torch__.py": b"import os"}),
        "TorchScript",
    ),
    "big-endian numbers": (one_tensor(byteorder=b"big"), "little-endian"),
    "an HDF5 file": (b"\x89HDF\r\n\x1a\n" + bytes(100), "no zip archive"),
    "nothing": (b"", "no zip archive"),
    "half a file": (one_tensor()[:200], "zip directory"),
    "a member that is not where it should be": (
        patched(one_tensor(), b"PK\x03\x04", b"PK\x03\x05").replace(
            b"PK\x03\x05", b"PK\x03\x04", 1
        ),
        "does not lie where",
    ),
    "a flipped bit in the weights": (
        patched(one_tensor(), bytes(16), b"\x01" + bytes(15), 1),
        "checksum does not hold",
    ),
    "no tensors": (writer.archive({"epoch": 3}), "no state dict"),
    "a pickle cut short": (writer.archive(writer.pickle({})[:-2]), "damaged"),
    "a flood of instructions": (code(b"N" * 260_000), "instructions"),
    "a pickle too big": (writer.archive(bytes(5 << 20)), "bytes"),
    "a key nested too deeply": (nested_key(), "a tuple where"),
    "a number too long": (code(b"I" + b"9" * 1_000_000 + b"\n"), "damaged"),
    "a list on top of nothing": (code(b"a"), "damaged"),
}


@pytest.fixture(scope="module", params=HOSTILE)
def hostile(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    data, reason = HOSTILE[request.param]
    (folder / "weights.pth").write_bytes(data)
    return folder / "weights.pth", reason


def test_hostile_files_are_refused_with_a_reason(hostile, monkeypatch):
    path, reason = hostile
    monkeypatch.chdir(path.parent)
    start = time.perf_counter()
    with pytest.raises(RefusedError, match=reason) as error:
        torch_file.read(path)
    assert time.perf_counter() - start < 2
    assert "torch.save(torch.load(" in str(error.value)
    assert [child.name for child in path.parent.iterdir()] == ["weights.pth"]


def test_hostile_files_take_little_memory(hostile):
    tracemalloc.start()
    with pytest.raises(RefusedError):
        torch_file.read(hostile[0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6


def test_every_prefix_and_random_damage_is_refused_or_read_right(tmp_path):
    writer.save(tmp_path / "good.pth", ARRAYS)
    good = (tmp_path / "good.pth").read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "bad.pth"
    damaged = [good[:length] for length in rng.integers(0, len(good), 100)]
    for _ in range(300):
        data = bytearray(good)
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        damaged.append(bytes(data))
    for data in damaged:
        path.write_bytes(data)
        try:
            arrays = torch_file.read(path)
        except RefusedError:
            continue
        # Bits that say nothing of the weights, such as dates, may flip.
        for key, array in arrays.items():
            np.testing.assert_array_equal(array, ARRAYS[key])
