# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The store of training steps: exact, atomic, and never fooled by damaged files."""

import dataclasses
import pathlib
import typing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vidpretrain.convert import tree
from vidpretrain.convert.folder import Card, CheckpointError
from vidpretrain.train.checkpoint import CheckpointStore

CARD = Card(
    name="resnet:depths=1",
    num_classes=10,
    mean=(0.5,),
    std=(0.25,),
    frames=4,
    size=16,
    stage="pretrain",
    clock_sec=1.5,
    host={"best": 0.75},
)


class State(typing.NamedTuple):
    step: jax.Array
    params: dict
    opt_state: tuple
    key: jax.Array
    ema: dict | None


def make_state(seed: int) -> State:
    rng = np.random.default_rng(seed)
    params = {
        "stem": {"kernel": jnp.asarray(rng.normal(size=(3, 3, 1, 4)), jnp.float32)},
        "head": {
            "kernel": jnp.asarray(rng.normal(size=(4, 10)), jnp.bfloat16),
            "bias": jnp.asarray([0.0, -0.0, np.nan, np.inf]),
        },
        "none": jnp.zeros((0, 4)),
    }
    optimizer = optax.sgd(0.1, momentum=0.9)
    return State(
        step=jnp.asarray(seed, jnp.int32),
        params=params,
        opt_state=optimizer.init(params),
        key=jax.random.key(seed),
        ema=None,
    )


def assert_same_bits(left, right):
    left, right = tree.flatten(left), tree.flatten(right)
    assert left.keys() == right.keys()
    for name, leaf in left.items():
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            assert jax.random.key_impl(leaf) == jax.random.key_impl(right[name])
            leaf, right[name] = jax.random.key_data(leaf), jax.random.key_data(right[name])
        assert leaf.dtype == right[name].dtype, name
        assert np.asarray(leaf).tobytes() == np.asarray(right[name]).tobytes(), name


def fill(store: CheckpointStore, steps, metrics=None):
    for step in steps:
        store.save(step, make_state(step), CARD, (metrics or {}).get(step))
    store.wait()


def steps_on_disk(path: pathlib.Path) -> set[str]:
    return {child.name for child in path.iterdir()}


def test_a_state_comes_back_bit_by_bit(tmp_path):
    store = CheckpointStore(tmp_path)
    state = make_state(7)
    assert store.save(7, state, CARD, metric=0.5)
    store.wait()
    restored, card = store.restore(make_state(0))
    assert_same_bits(restored, state)
    assert type(restored) is State
    assert card == dataclasses.replace(CARD, step=7, metric=0.5)


def test_abstract_targets_need_no_arrays(tmp_path):
    store = CheckpointStore(tmp_path)
    fill(store, [7])
    restored, _ = store.restore(jax.eval_shape(lambda: make_state(0)))
    assert_same_bits(restored, make_state(7))


def test_donated_and_overwritten_arrays_are_saved_as_they_were(tmp_path):
    store = CheckpointStore(tmp_path)
    state = {"device": jnp.arange(1_000_000.0), "host": np.arange(1_000_000)}
    store.save(1, state, CARD)
    jax.jit(lambda x: x * 0 - 1, donate_argnums=0)(state["device"]).block_until_ready()
    state["host"][:] = -1
    store.wait()
    restored, _ = store.restore({"device": jnp.zeros(1_000_000), "host": state["host"]})
    np.testing.assert_array_equal(restored["device"], np.arange(1_000_000.0, dtype=np.float32))
    np.testing.assert_array_equal(restored["host"], np.arange(1_000_000))


def test_another_tree_does_not_fit_and_the_step_stays(tmp_path):
    store = CheckpointStore(tmp_path)
    fill(store, [1])
    target = make_state(0)
    target.params["stem"]["kernel"] = jnp.zeros((3, 3, 1, 5))
    target.params["new"] = jnp.zeros(2)
    with pytest.raises(tree.MismatchError) as error:
        store.restore(target)
    assert "- params/stem/kernel: float32[3, 3, 1, 4]" in str(error.value)
    assert "+ params/stem/kernel: float32[3, 3, 1, 5]" in str(error.value)
    assert "+ params/new: float32[2]" in str(error.value)
    assert steps_on_disk(tmp_path) == {"1"}


def test_retention_keeps_last_best_and_every_nth(tmp_path):
    store = CheckpointStore(tmp_path, keep_last=2, keep_every_steps=4)
    fill(store, range(1, 10), metrics={3: 0.9, 2: 0.1, 8: 0.5})
    assert steps_on_disk(tmp_path) == {"3", "4", "8", "9"}
    assert store.latest() == 9
    assert store.best() == 3


def test_best_is_the_later_of_equals_and_none_without_metrics(tmp_path):
    store = CheckpointStore(tmp_path, keep_last=3)
    fill(store, [1, 2])
    assert store.best() is None
    fill(store, [3, 4], metrics={3: 0.5, 4: 0.5})
    assert store.best() == 4


def test_a_step_is_written_once(tmp_path):
    store = CheckpointStore(tmp_path)
    fill(store, [1])
    assert not store.save(1, make_state(5), CARD)
    assert_same_bits(store.restore(make_state(0))[0], make_state(1))


def test_two_steps_remain_whatever_is_asked(tmp_path):
    with pytest.raises(ValueError, match="at least 2"):
        CheckpointStore(tmp_path, keep_last=1)


def test_an_empty_store_has_nothing(tmp_path):
    store = CheckpointStore(tmp_path / "new")
    assert store.latest() is None
    assert store.best() is None
    with pytest.raises(CheckpointError, match="no sound checkpoint"):
        store.restore(make_state(0))
