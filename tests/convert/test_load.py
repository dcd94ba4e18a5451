# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""`vidpretrain.load`: any checkpoint of ours, from any place, without its config."""

import pathlib
import subprocess
import sys

import fsspec
import jax
import numpy as np
import optax
import pytest
import safetensors.numpy
from fsspec.implementations.memory import MemoryFileSystem

import vidpretrain
from vidpretrain import convert, models
from vidpretrain.convert import files, source, tree
from vidpretrain.convert.folder import Card, CheckpointError
from vidpretrain.convert.transfer import Target
from vidpretrain.train.checkpoint import CheckpointStore
from vidpretrain.train.state import create_state

NETWORK = "resnet:block=bottleneck,depths=1+1,width=4,kernel=3x1x1,conv=sts"
CARD = Card(NETWORK, num_classes=5, mean=(0.5,), std=(0.25,), frames=4, size=16)


@pytest.fixture(scope="module")
def variables():
    shapes = Target(NETWORK, 5, CARD.clip_shape).wanted
    rng = np.random.default_rng(0)
    # Positive, as variances must be.
    return tree.nest({k: rng.uniform(size=v.shape).astype("f4") for k, v in shapes.items()})


@pytest.fixture(scope="module")
def checkpoint(variables, tmp_path_factory):
    path = tmp_path_factory.mktemp("load") / "checkpoint"
    convert.write_checkpoint(path, variables, CARD)
    return path


def assert_same(left, right):
    left, right = tree.flatten(left), tree.flatten(right)
    assert left.keys() == right.keys()
    for name, leaf in left.items():
        np.testing.assert_array_equal(leaf, right[name])


def test_a_checkpoint_opens_without_a_config(checkpoint, variables):
    model, loaded = vidpretrain.load(checkpoint)
    assert_same(loaded, variables)
    assert vidpretrain.read_card(checkpoint) == CARD
    clips = np.random.default_rng(0).normal(size=(2, *CARD.clip_shape)).astype(np.float32)
    logits = jax.jit(model.apply)(loaded, clips)
    assert logits.shape == (2, 5)
    wanted = jax.jit(models.make_model(NETWORK, num_classes=5).apply)(variables, clips)
    np.testing.assert_array_equal(logits, wanted)


def test_a_training_opens_with_its_averages(variables, tmp_path):
    state = create_state(variables, optax.sgd(0.1, momentum=0.9), ema=True)
    state = state.replace(ema=jax.tree.map(lambda leaf: leaf + 1, state.ema))
    store = CheckpointStore(tmp_path / "stage" / "checkpoints")
    store.save(3, state, CARD)
    store.wait()
    assert_same(vidpretrain.load(tmp_path)[1], state.ema)
    assert_same(vidpretrain.load(tmp_path / "stage", ema=False)[1], variables)
    assert vidpretrain.read_card(tmp_path).step == 3


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.npz"])
def test_files_of_ours_open_alike(variables, tmp_path, name):
    files.write_file(tmp_path / name, tree.flatten(variables), CARD)
    assert_same(vidpretrain.load(tmp_path / name)[1], variables)
    assert vidpretrain.read_card(tmp_path / name) == CARD
    assert list(tmp_path.iterdir()) == [tmp_path / name]


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.npz"])
def test_every_flipped_bit_of_a_file_is_noticed_or_harmless(variables, tmp_path, name):
    file = tmp_path / name
    flat = tree.flatten(variables)
    files.write_file(file, flat, CARD)
    good = file.read_bytes()
    rng = np.random.default_rng(0)
    noticed = 0
    for _ in range(100):
        bad = bytearray(good)
        bad[rng.integers(len(bad))] ^= 1 << rng.integers(8)
        file.write_bytes(bad)
        try:
            arrays, card = files.read_file(file)
        except CheckpointError:
            noticed += 1
            continue
        # Zip archives have bytes that nobody reads, such as dates.
        assert card == CARD
        assert_same(tree.nest(arrays), tree.nest(flat))
    assert noticed > 50


def test_a_file_under_other_names_opens_when_told_what_it_is(variables, tmp_path):
    renamed = source.rename(variables, "mmaction2/slowonly", NETWORK)
    safetensors.numpy.save_file(
        {f"module.{name}": np.ascontiguousarray(array) for name, array in renamed.items()},
        tmp_path / "theirs.safetensors",
    )
    with pytest.raises(CheckpointError, match="network='NAME'"):
        vidpretrain.load(tmp_path / "theirs.safetensors")
    with pytest.raises(CheckpointError, match="no card"):
        vidpretrain.read_card(tmp_path / "theirs.safetensors")
    with pytest.raises(convert.MismatchError, match="does not fit"):
        vidpretrain.load(tmp_path / "theirs.safetensors", network="resnet50")


def test_bfloat16_files_open(tmp_path, variables):
    flat = {
        name: np.asarray(leaf, jax.numpy.bfloat16) for name, leaf in tree.flatten(variables).items()
    }
    files.write_file(tmp_path / "half.safetensors", flat, CARD)
    _, loaded = vidpretrain.load(tmp_path / "half.safetensors")
    kernel = loaded["params"]["stem"]["conv"]["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, flat["params/stem/conv/kernel"].astype(np.float32))


def test_arrays_of_nobody_known_are_an_error(tmp_path):
    np.savez(tmp_path / "a.npz", **{"layer.weight": np.ones(3)})
    with pytest.raises(CheckpointError, match=r"Nobody known names weights so: layer\.weight"):
        vidpretrain.load(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(b"no archive")
    with pytest.raises(CheckpointError, match="Cannot read"):
        vidpretrain.load(tmp_path / "b.npz")
    with pytest.raises(CheckpointError, match="There is no file"):
        vidpretrain.load(tmp_path / "c.safetensors")


class Bucket(MemoryFileSystem):
    """A remote store, in memory."""

    protocol = "s3"

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol(path.removeprefix("s3://"))


def test_remote_checkpoints_open(checkpoint, variables):
    fsspec.register_implementation("s3", Bucket, clobber=True)
    remote = fsspec.filesystem("s3")
    for step in (1, 2):
        remote.put(f"{checkpoint}/", f"s3://bucket/run/stage/checkpoints/{step}/", recursive=True)
    assert_same(vidpretrain.load("s3://bucket/run")[1], variables)
    remote.pipe("s3://bucket/run/stage/checkpoints/2/card.json", b"{}")
    assert vidpretrain.read_card("s3://bucket/run") == CARD
    assert_same(vidpretrain.load("s3://bucket/run")[1], variables)
    # The same size with other bytes shows when they are fetched.
    card = CARD.to_json().replace("174", "175").replace("5", "6").encode()
    remote.pipe("s3://bucket/run/stage/checkpoints/1/card.json", card)
    with pytest.raises(CheckpointError, match="other bytes"):
        vidpretrain.load("s3://bucket/run")


IMPORT = """
import sys, time
import jax
start = time.perf_counter()
import vidpretrain
seconds = time.perf_counter() - start
print(seconds, *(name for name in ("flax", "orbax", "optax") if name in sys.modules))
"""


def test_the_package_alone_imports_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-c", IMPORT],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, *heavy = done.stdout.split()
    assert heavy == []
    assert float(seconds) < 1
