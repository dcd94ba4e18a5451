# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The pieces of networks: values by hand, statistics, and errors that name the layer."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.reference import norm as reference
from vidpretrain.models import layers
from vidpretrain.models.layers import STS, BatchNorm, Conv, DropPath, Norm, select_blocks

CLIPS = np.random.default_rng(0).normal(2, 3, (4, 2, 3, 3, 5)).astype(np.float32)


def normalise(module, x, **kwargs):
    variables = module.init(jax.random.key(0), x)
    return module.apply(variables, x, True, mutable=["batch_stats"], **kwargs)


def test_batch_norm_in_training_takes_the_batch_s_statistics():
    y, updates = normalise(BatchNorm(Norm(momentum=0.9)), CLIPS)
    mean, var = CLIPS.mean((0, 1, 2, 3)), CLIPS.var((0, 1, 2, 3))
    np.testing.assert_allclose(y, (CLIPS - mean) / np.sqrt(var + 1e-5), atol=1e-5)
    stats = updates["batch_stats"]
    count = CLIPS.size // CLIPS.shape[-1]
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * var * count / (count - 1), rtol=1e-5)


@pytest.mark.parametrize("group", [1, 2, 4])
def test_grouped_batch_norm_is_each_group_normalised_alone(group):
    y, updates = normalise(BatchNorm(Norm(group_size=group)), CLIPS)
    expected, mean, var = reference.grouped_batch_norm(
        np.float64(CLIPS), group, np.ones(5), np.zeros(5), 1e-5
    )
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(updates["batch_stats"]["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(updates["batch_stats"]["var"], 0.9 + 0.1 * var, rtol=1e-5)


def test_groups_must_divide_the_batch():
    with pytest.raises(ValueError, match="4 clips cannot be cut into groups of 3"):
        normalise(BatchNorm(Norm(group_size=3)), CLIPS)


def test_frozen_batch_norm_keeps_its_statistics():
    module = BatchNorm(Norm(frozen=True))
    y, updates = normalise(module, CLIPS)
    np.testing.assert_allclose(y, CLIPS / np.sqrt(1 + 1e-5), rtol=1e-5)
    np.testing.assert_array_equal(updates["batch_stats"]["mean"], np.zeros(5))


def test_bfloat16_keeps_parameters_and_statistics_in_float32():
    y, updates = normalise(BatchNorm(dtype="bfloat16"), CLIPS)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype("float32")}
    conv = Conv(8, (3, 1, 1), dtype="bfloat16")
    y, variables = conv.init_with_output(jax.random.key(0), CLIPS)
    assert y.dtype == jnp.bfloat16
    assert variables["params"]["kernel"].dtype == jnp.float32


def test_drop_path_drops_whole_clips_and_keeps_the_expectation():
    x = jnp.ones((1000, 2, 1, 1, 3))
    module = DropPath(0.25)
    y = np.asarray(module.apply({}, x, True, rngs={"dropout": jax.random.key(0)}))
    values = y.reshape(1000, -1)
    assert (values == values[:, :1]).all()
    assert set(np.unique(values)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs(values.mean() - 1) < 0.05
    np.testing.assert_array_equal(module.apply({}, x, False), x)


def test_drop_path_drops_residual_branches_not_shortcuts():
    from vidpretrain.models.resnet import BasicBlock

    x = jnp.asarray(np.abs(CLIPS))
    block = BasicBlock(features=5, drop_path=1 - 1e-9)
    variables = block.init(jax.random.key(0), x)
    y, _ = block.apply(
        variables, x, True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(1)}
    )
    np.testing.assert_array_equal(y, x)


def test_drop_path_keeps_a_branch_at_its_scale_or_drops_it():
    """What a block adds to a clip is nothing, or 1 / (1 - rate) of what it adds in tests."""
    from vidpretrain.models.resnet import BasicBlock

    x = jnp.repeat(jnp.abs(jnp.asarray(CLIPS[:1])), 40, axis=0) + 5.0
    block = BasicBlock(features=5, drop_path=0.25, norm=layers.Norm(frozen=True))
    # A branch so small that the block's last ReLU lets everything through.
    variables = jax.tree.map(lambda leaf: leaf / 2, block.init(jax.random.key(0), x))
    branch = block.apply(variables, x)[0] - x[0]
    y = block.apply(variables, x, True, rngs={"dropout": jax.random.key(1)})
    kept = np.array([not np.array_equal(clip, x[0]) for clip in y])
    assert 0.5 < kept.mean() < 0.95
    for clip in y[kept]:
        np.testing.assert_allclose(clip - x[0], branch / 0.75, atol=1e-5)


def test_initialisers_are_the_released_ones():
    variables = Conv(256, (3, 3, 3), groups=64).init(jax.random.key(0), jnp.zeros((1, 1, 4, 4, 64)))
    kernel = variables["params"]["kernel"]
    assert kernel.shape == (3, 3, 3, 1, 256)
    assert abs(float(kernel.std()) / np.sqrt(2 / (27 * 256)) - 1) < 0.05
    variables = layers.Classifier(10).init(jax.random.key(0), jnp.zeros((1, 4096)))
    assert abs(float(variables["params"]["kernel"].std()) / 0.01 - 1) < 0.05
    assert not variables["params"]["bias"].any()


@pytest.mark.parametrize(
    ("conv", "shape", "message"),
    [
        (Conv(8, (3, 1, 1), (2, 1, 1), sts=STS()), (1, 4, 4, 4, 4), "temporal stride of 1"),
        (Conv(6, (3, 1, 1), sts=STS()), (1, 4, 4, 4, 4), "6 channels do not divide"),
        (
            Conv(4, (3, 3, 3), (1, 2, 2), groups=4, sts=STS()),
            (1, 4, 5, 5, 4),
            "static 'axis' for other sizes",
        ),
        (Conv(8, (1, 3, 3), groups=4), (1, 1, 4, 4, 6), "4 groups"),
        (Conv(8, (3, 3, 3), sts=STS()), (1, 4, 4, 4, 4), "sts takes a temporal kernel"),
    ],
)
def test_errors_name_the_layer_and_what_would_do(conv, shape, message):
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            return conv.clone(name="conv1", parent=self)(x)

    with pytest.raises(ValueError, match=rf"conv1: .*{message}"):
        jax.eval_shape(Network().init, jax.random.key(0), jnp.zeros(shape))


def test_selects_blocks():
    depths = (3, 4, 6, 3)
    assert len(select_blocks(depths)) == 16
    odd = ((1, 1), (2, 1), (2, 3), (3, 1), (3, 3), (3, 5), (4, 1))
    assert select_blocks(depths, "odd") == odd
    assert select_blocks(depths, "odd", stages=(4,)) == ((4, 1),)
    assert len(select_blocks(depths, "rest")) == 12
    with pytest.raises(ValueError, match="not one of all, odd, rest"):
        select_blocks(depths, "even")
    with pytest.raises(ValueError, match="stage 0 does not exist"):
        select_blocks(depths, stages=(0,))


def test_replacements_count_blocks_first():
    replacement = layers.Replacement(layers.Convolution(), ("conv1", "conv2"), ((1, 0), (2, 1)))
    assert replacement.index(1, 0, "conv2") == 1
    assert replacement.index(2, 1, "conv1") == 2
    assert replacement.index(2, 0, "conv1") is None
    assert replacement.index(2, 1, "shortcut") is None
