# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""STH convolutions and attentive integration."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.reference import sth as reference
from tests.reference.gradients import assert_matches
from vidpretrain import ops


def operands(size=(3, 5, 4), channels=8, features=8, groups=4):
    rng = np.random.default_rng(3)
    width = channels // groups
    return (
        rng.normal(size=(2, *size, channels)),
        rng.normal(size=(1, 3, 3, channels - width, features)),
        rng.normal(size=(3, 1, 1, width, features)),
    )


@pytest.mark.parametrize(
    ("groups", "merge", "strides", "dilation"),
    [
        (2, False, (1, 1, 1), (1, 1, 1)),
        (4, False, (1, 2, 2), (1, 1, 1)),
        (4, True, (1, 2, 2), (2, 1, 1)),
        (8, False, (1, 1, 1), (2, 3, 3)),
    ],
)
def test_equals_the_reference(groups, merge, strides, dilation):
    arguments = {"groups": groups, "merge": merge, "strides": strides, "dilation": dilation}
    x, spatial, temporal = operands(groups=groups)

    # Each part is linear in its own kernel.
    def temporal_part(parts, x, kernel):
        return parts(x, spatial.astype(x.dtype), kernel, **arguments)[0]

    def spatial_part(parts, x, kernel):
        return parts(x, kernel, temporal.astype(x.dtype), **arguments)[1]

    for part, kernel in ((temporal_part, temporal), (spatial_part, spatial)):
        assert_matches(
            functools.partial(part, ops.sth_parts),
            functools.partial(part, reference.sth_parts),
            (x, kernel),
        )


def test_the_convolution_is_the_sum_of_its_parts():
    arrays = [jnp.asarray(a, jnp.float32) for a in operands()]
    temporal, spatial = ops.sth_parts(*arrays, groups=4)
    assert jnp.array_equal(ops.sth_conv(*arrays, groups=4), temporal + spatial)


def test_hybrid_by_hand():
    # Two groups of one channel: output 0 sees channel 0 in time and channel 1 in space.
    x = jnp.stack([jnp.array([1.0, 2.0, 3.0]), jnp.array([10.0, 20.0, 30.0])], axis=-1)
    x = x.reshape(1, 3, 1, 1, 2)
    spatial = jnp.zeros((1, 3, 3, 1, 2)).at[0, 1, 1, 0].set(jnp.array([1.0, 5.0]))
    temporal = jnp.zeros((3, 1, 1, 1, 2)).at[0, 0, 0, 0].set(100.0)
    hybrid = ops.sth_conv(x, spatial, temporal, groups=2)
    assert hybrid[0, :, 0, 0, 0].tolist() == [10, 120, 230]
    assert hybrid[0, :, 0, 0, 1].tolist() == [5, 1010, 2015]
    merge = ops.sth_conv(x, spatial, temporal, groups=2, merge=True)
    assert merge[0, :, 0, 0, 1].tolist() == [50, 200, 350]


@pytest.mark.parametrize(
    ("channels", "groups", "message"),
    [(8, 3, "p = 1/3 needs at least 2 groups"), (8, 1, "p = 0 is the plain")],
)
def test_groups_that_do_not_divide_are_an_error(channels, groups, message):
    x = jnp.ones((1, 2, 4, 4, channels))
    with pytest.raises(ValueError, match=message):
        ops.sth_conv(x, jnp.ones((1, 3, 3, 6, 8)), jnp.ones((3, 1, 1, 2, 8)), groups=groups)


@pytest.mark.parametrize(
    ("spatial", "temporal", "message"),
    [
        ((1, 3, 3, 8, 8), (3, 1, 1, 2, 8), r"spatial kernel .* must be \[KT, KH, KW, 6, 8\]"),
        ((1, 3, 3, 6, 8), (3, 1, 1, 8, 8), r"temporal kernel .* must be \[KT, KH, KW, 2, 8\]"),
        ((3, 3, 3, 6, 8), (3, 1, 1, 2, 8), "1xKHxKW spatial and a KTx1x1 temporal"),
    ],
)
def test_kernels_that_do_not_fit_are_an_error(spatial, temporal, message):
    with pytest.raises(ValueError, match=message):
        ops.sth_conv(jnp.ones((1, 2, 4, 4, 8)), jnp.ones(spatial), jnp.ones(temporal), groups=4)


def test_attentive_integration_equals_the_reference():
    rng = np.random.default_rng(4)
    temporal, spatial = rng.normal(size=(2, 2, 3, 4, 5, 6))
    kernel, bias = rng.normal(size=(6, 6)), rng.normal(size=6)
    arrays = [jnp.asarray(a, jnp.float32) for a in (temporal, spatial, kernel, bias)]
    integrated, coefficients = ops.attentive_integration(*arrays)
    expected = reference.attentive_integration(temporal, spatial, kernel, bias)
    np.testing.assert_allclose(integrated, expected, rtol=0, atol=1e-5)
    assert coefficients.shape == (2, 3, 1, 1, 6)
    assert 0 < coefficients.min() < coefficients.max() < 1


def test_attentive_integration_differentiates():
    rng = np.random.default_rng(5)
    shapes = ((1, 2, 2, 2, 3), (1, 2, 2, 2, 3), (3, 3), (3,))
    arrays = [rng.normal(size=shape) for shape in shapes]
    cotangent = rng.normal(size=shapes[0])

    def loss(*arrays):
        return jnp.sum(ops.attentive_integration(*arrays)[0] * cotangent)

    gradients = jax.jit(jax.grad(loss, (0, 1, 2)))(*[jnp.asarray(a, jnp.float32) for a in arrays])
    for i, gradient in enumerate(gradients):
        for index in list(np.ndindex(shapes[i]))[::3]:
            step = np.zeros(shapes[i])
            step[index] = 1e-5
            up, down = (
                np.vdot(
                    cotangent,
                    reference.attentive_integration(
                        *arrays[:i], arrays[i] + sign * step, *arrays[i + 1 :]
                    ),
                )
                for sign in (1, -1)
            )
            np.testing.assert_allclose(gradient[index], (up - down) / 2e-5, atol=1e-4)


def test_sth_counts_as_the_paper_does():
    arrays = [jnp.asarray(a, jnp.float32) for a in operands()]
    jaxpr = jax.make_jaxpr(functools.partial(ops.sth_conv, groups=4))(*arrays)
    (call,) = [e for e in jaxpr.eqns if e.params.get("name") == "sth_conv"]
    x, spatial, temporal = (v.aval.shape for v in call.invars)
    assert (len(x), spatial, temporal) == (5, (1, 3, 3, 6, 8), (3, 1, 1, 2, 8))
