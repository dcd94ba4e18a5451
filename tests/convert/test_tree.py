# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Trees of arrays on disk: names, diffs, and every kind of leaf."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from etils import epath

from vidpretrain.convert import tree


def test_leaves_are_named_by_their_path():
    state = {"params": {"head": {"bias": np.ones(2)}}, "opt": optax.sgd(0.1, 0.9).init(np.ones(2))}
    assert tree.leaf_names(state) == ["opt/0/trace", "params/head/bias"]


def test_nest_undoes_flatten():
    nested = {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    assert tree.flatten(nested) == {"a/b": 1, "a/c/d": 2, "e": 3}
    assert tree.nest(tree.flatten(nested)) == nested


def test_two_leaves_of_one_name_are_an_error():
    with pytest.raises(ValueError, match="share a name: a/0"):
        tree.flatten({"a": {"0": 1}, "a/0": 2})


def test_a_diff_lists_each_side():
    given = {"same": "float32[1]", "shape": "float32[2]", "left": "int32[]"}
    wanted = {"same": "float32[1]", "shape": "float32[3]", "more": "int32[]"}
    assert tree.diff(given, wanted).splitlines() == [
        "- left: int32[]",
        "+ more: int32[]",
        "- shape: float32[2]",
        "+ shape: float32[3]",
    ]
    assert tree.diff(given, given) == ""
    assert tree.diff({str(n): "" for n in range(100)}, {}).endswith("and 60 more")


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_every_kind_of_leaf_comes_back(tmp_path, impl):
    state = {
        "number": 3,
        "fraction": 0.1,
        "flag": True,
        "numpy": np.arange(3),
        "scalar": np.float64(0.1),
        "bfloat16": jnp.ones(3, jnp.bfloat16),
        "empty": np.zeros((0, 2)),
        "keys": jax.random.split(jax.random.key(0, impl=impl), 3),
    }
    path = epath.Path(tmp_path / "tree")
    tree.write_tree(path, state)
    restored = tree.restore_tree(path, state)
    assert (restored["number"], restored["fraction"], restored["flag"]) == (3, 0.1, True)
    assert type(restored["flag"]) is bool
    assert isinstance(restored["numpy"], np.ndarray)
    assert restored["scalar"] == 0.1
    assert isinstance(restored["bfloat16"], jax.Array)
    assert restored["empty"].shape == (0, 2)
    same = jax.random.key_data(restored["keys"]) == jax.random.key_data(state["keys"])
    assert same.all()
    assert restored["keys"].dtype == state["keys"].dtype


def test_parts_are_read_alone(tmp_path):
    path = epath.Path(tmp_path / "tree")
    tree.write_tree(path, {"params": {"w": np.ones(2)}, "opt": {"m": np.ones(3)}})
    assert tree.stored_leaves(path) == {"opt/m": "float64[3]", "params/w": "float64[2]"}
    part = tree.read_tree(path, keep=lambda name: name.startswith("params/"))
    assert tree.leaf_names(part) == ["params/w"]
    assert tree.read_tree(path, keep=lambda name: False) == {}


def test_another_type_does_not_fit(tmp_path):
    path = epath.Path(tmp_path / "tree")
    tree.write_tree(path, {"w": np.ones(2, np.float32)})
    with pytest.raises(tree.MismatchError, match=r"- w: float32\[2\]\n\+ w: float64\[2\]"):
        tree.restore_tree(path, {"w": np.ones(2)})
