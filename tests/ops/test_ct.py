# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Channel tensorization: splits, transpositions, and convolutions along one sub-dimension."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from tests.reference import ct as reference
from tests.reference.gradients import assert_matches
from vidpretrain import ops


@pytest.mark.parametrize(
    ("channels", "num_dims", "expected"),
    [
        (64, 2, (8, 8)),
        (128, 2, (8, 16)),
        (256, 2, (16, 16)),
        (512, 2, (16, 32)),
        (64, 1, (64,)),
        (64, 3, (4, 4, 4)),
        (128, 3, (8, 4, 4)),
        (256, 3, (8, 8, 4)),
        (512, 3, (8, 8, 8)),
        (64, 4, (4, 4, 2, 2)),
        (128, 4, (4, 4, 4, 2)),
        (512, 4, (8, 4, 4, 4)),
        (96, 2, (8, 12)),
        (960, 2, (16, 60)),
    ],
)
def test_default_split(channels, num_dims, expected):
    assert ops.channel_dims(channels, num_dims) == expected


@pytest.mark.parametrize(("channels", "num_dims"), [(35, 2), (144, 3), (0, 2), (64, 0)])
def test_a_split_that_does_not_exist_is_an_error(channels, num_dims):
    with pytest.raises(ValueError, match=r"sub-dimensions"):
        ops.channel_dims(channels, num_dims)


def test_transposition_by_hand():
    # Channel i * 3 + j of a 2 x 3 grid becomes channel j * 2 + i.
    x = jnp.array([0.0, 1.0, 2.0, 10.0, 11.0, 12.0])
    assert ops.transpose_channels(x, (2, 3)).tolist() == [0, 10, 1, 11, 2, 12]
    assert ops.transpose_channels(ops.transpose_channels(x, (2, 3)), (3, 2)).tolist() == x.tolist()


@pytest.mark.parametrize("dims", [(12,), (3, 4), (2, 3, 2), (2, 3, 2, 2)])
def test_as_many_rotations_as_dimensions_lead_back(dims):
    x = jnp.arange(np.prod(dims))
    rotated = x
    for k in range(len(dims)):
        rotated = ops.transpose_channels(rotated, dims[len(dims) - k :] + dims[: len(dims) - k])
    assert jnp.array_equal(rotated, x)


@pytest.mark.parametrize("dims", [(8,), (2, 4), (2, 3, 2)])
@pytest.mark.parametrize("taps", [(1, 3, 3), (3, 1, 1)])
def test_every_sub_dimension_equals_the_reference(dims, taps):
    rng = np.random.default_rng(6)
    channels = int(np.prod(dims))
    x = rng.normal(size=(1, 3, 4, 3, channels))
    for axis in range(len(dims)):
        weights = rng.normal(size=(*taps, dims[axis], channels))
        turns = (len(dims) - 1 - axis) % len(dims)
        rotated = dims[len(dims) - turns :] + dims[: len(dims) - turns]

        def op(x, kernel, turns=turns, rotated=rotated):
            for k in range(turns):
                x = ops.transpose_channels(x, dims[len(dims) - k :] + dims[: len(dims) - k])
                kernel = ops.transpose_channels(
                    kernel, dims[len(dims) - k :] + dims[: len(dims) - k]
                )
            y = ops.conv3d(x, kernel, groups=math.prod(rotated[:-1]))
            for k in range(turns, len(dims)):
                y = ops.transpose_channels(y, dims[len(dims) - k :] + dims[: len(dims) - k])
            return y

        def slow(x, kernel, axis=axis):
            return reference.ct_conv(x, kernel.reshape(*kernel.shape[:4], *dims), dims, axis)

        assert_matches(op, slow, (x, weights))


def test_dimensions_of_another_product_are_an_error():
    with pytest.raises(ValueError, match="must be the 12 channels, got 3 x 5 = 15"):
        ops.transpose_channels(jnp.ones((2, 12)), (3, 5))
