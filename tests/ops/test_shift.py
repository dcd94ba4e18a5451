# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The temporal shift."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from tests.reference import shift as reference
from tests.reference.gradients import assert_matches
from vidpretrain import ops


def test_by_hand():
    # Channels hold 10, 20, ... plus the frame's number.
    x = 10 * jnp.arange(1.0, 9.0)[None, :] + jnp.arange(1.0, 4.0)[:, None]
    y = ops.temporal_shift(x.reshape(1, 3, 1, 1, 8))[0, :, 0, 0]
    assert y[:, 0].tolist() == [12, 13, 0]
    assert y[:, 1].tolist() == [0, 21, 22]
    assert jnp.array_equal(y[:, 2:], x[:, 2:])


@pytest.mark.parametrize(("frames", "fraction"), [(1, 1 / 8), (4, 1 / 4), (2, 1 / 2), (3, 0.0)])
def test_equals_the_reference(frames, fraction):
    x = np.random.default_rng(7).normal(size=(2, frames, 2, 3, 8))
    assert_matches(
        functools.partial(ops.temporal_shift, fraction=fraction),
        functools.partial(reference.temporal_shift, num_shifted=int(8 * fraction)),
        (x,),
    )


def test_more_than_half_each_way_is_an_error():
    with pytest.raises(ValueError, match=r"0 to 1/2, got 0\.6"):
        ops.temporal_shift(jnp.ones((1, 2, 1, 1, 8)), fraction=0.6)
