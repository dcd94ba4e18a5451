# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Targets, and the names that operations have in a jaxpr."""

import jax
import jax.numpy as jnp
import pytest

from vidpretrain import ops

ONES = jnp.ones((1, 2, 4, 4, 8))
VECTOR = jnp.ones(8)


def test_the_target_is_the_backend_unless_told_otherwise():
    assert ops.target_platform() == jax.default_backend()
    with ops.compile_for("tpu"):
        assert ops.target_platform() == "tpu"
        with ops.compile_for("gpu"):
            assert ops.target_platform() == "gpu"
        assert ops.target_platform() == "tpu"
    assert ops.target_platform() == jax.default_backend()


def test_an_unknown_platform_is_an_error():
    with (
        pytest.raises(ValueError, match="'cpu', 'gpu' or 'tpu', got 'cuda'"),
        ops.compile_for("cuda"),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "op"),
    [
        ("conv3d", lambda x: ops.conv3d(x, jnp.ones((3, 3, 3, 8, 4)))),
        ("sts_conv", lambda x: ops.sts_conv(x, jnp.ones((3, 1, 1, 8, 4)))),
        (
            "sth_conv",
            lambda x: ops.sth_conv(
                x, jnp.ones((1, 3, 3, 6, 8)), jnp.ones((3, 1, 1, 2, 8)), groups=4
            ),
        ),
        ("dense", lambda x: ops.dense(x, jnp.ones((8, 2)))),
        ("batch_norm", lambda x: ops.batch_norm(x, *[VECTOR] * 4, eps=1.0)),
        ("relu", ops.relu),
        ("relu6", ops.relu6),
        ("swish", ops.swish),
        ("sigmoid", ops.sigmoid),
        ("max_pool", lambda x: ops.max_pool(x, (1, 2, 2))),
        ("avg_pool", lambda x: ops.avg_pool(x, (1, 2, 2))),
        ("adaptive_avg_pool", ops.adaptive_avg_pool),
        ("functional_avg_pool", ops.functional_avg_pool),
        ("temporal_shift", ops.temporal_shift),
    ],
)
def test_operations_are_one_named_equation(name, op):
    calls = [e for e in jax.make_jaxpr(op)(ONES).eqns if "jaxpr" in e.params]
    assert [call.params["name"] for call in calls] == [name]
    assert calls[0].invars[0].aval.shape == ONES.shape
