# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""STH, CT, TSM and separable convolutions, plugged into every backbone."""

import dataclasses
import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import golden
from tests.models.test_networks import (
    assert_trains_in_bfloat16,
    clips_of,
    shapes_of,
    train,
)
from vidpretrain import models, ops
from vidpretrain.convert import names
from vidpretrain.convert.name_tables import TABLES
from vidpretrain.models import layers, plugin
from vidpretrain.models.ct import ChannelTensorization
from vidpretrain.models.layers import ConvSite, Replacement
from vidpretrain.models.separable import Separable
from vidpretrain.models.shift import TemporalShift
from vidpretrain.models.sth import SpatioTemporalHybrid

# Every convolution that can be plugged in, by a ResNet-50 that has it.
VARIANTS = (
    "tsm50",
    "sth50",
    "sth50:mode=merge,attention=true,dilation=1+2+3",
    "sth50:conv=2plus1d_sequential",
    "sth50:conv=2plus1d_parallel",
    "ct50",
    "ct50:dims=3,kernels=1+3+5,arrangement=serial,excitation=se",
    "ct50:dims=1,arrangement=coupling,excitation=none",
    "ct50:split=4,blocks=12",
    "ct50:conv=c3d",
    "ct50:conv=r2plus1d",
    "ct50:conv=csn",
)
# Every backbone beside it, by the networks that it makes.
OTHER_BACKBONES = (
    "sth18",
    "ct18",
    *(name for name in plugin.NETWORKS if "_" in name and not name.startswith("tsn")),
)


def small(spec: str, **options) -> nn.Module:
    """Return a ResNet of one narrow block that has the convolution of a ResNet-50."""
    model = models.make_model(spec, num_classes=5, **options)
    (replacement,) = model.replacements
    return model.clone(
        depths=(1,),
        temporal_strides=(1,),
        width=16,
        stem=dataclasses.replace(model.stem, features=8),
        replacements=(dataclasses.replace(replacement, blocks=((1, 0),)),),
    )


@pytest.mark.parametrize(
    "network", ["ct50", pytest.param("ct101", marks=pytest.mark.long)], ids=str
)
def test_released_ct_networks(network):
    expected = golden.read(network)
    model = models.make_model(network, num_classes=expected.num_classes)
    shapes = jax.eval_shape(model.init, jax.random.key(0), expected.clips)
    table = TABLES["ctnet/ct"]
    variables = names.to_ours(table, expected.state_dict, like=shapes)
    logits = np.asarray(jax.jit(model.apply)(variables, expected.clips))
    wanted = expected.logits["plain"]
    assert np.abs(logits - wanted).max() < 1e-4 * np.abs(wanted).max()
    back = names.to_theirs(table, variables)
    assert back.keys() == expected.state_dict.keys()
    for name, array in back.items():
        np.testing.assert_array_equal(array, expected.state_dict[name])


@pytest.mark.parametrize(
    ("spec", "parameters"),
    [
        # The image networks of torchvision (VGG's without the biases of its convolutions).
        ("tsn18", 11_689_512),
        ("tsn34", 21_797_672),
        ("tsn101", 44_549_160),
        ("tsn_mobilenet_v2", 3_504_872),
        ("tsn_vgg16", 138_365_992 - 4_224),
        ("tsn_inception_v3", 23_834_568),
    ],
)
def test_backbones_are_the_published_ones(spec, parameters):
    params = shapes_of(spec, 1000, size=96)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == parameters


@pytest.mark.parametrize("name", OTHER_BACKBONES)
def test_takes_frames_of_any_size(name):
    model = models.make_model(name, num_classes=5)
    clips = jax.ShapeDtypeStruct((2, 3, 107, 111, 3), jnp.float32)
    logits, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), clips)
    assert logits.shape == (2, 5)


@pytest.mark.parametrize("name", ["ct50", "sth50:attention=true", "tsm50"])
def test_takes_clips_of_any_length(name):
    model = small(name)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 16, 16, 3)))
    for frames in (1, 2, 12, 24):
        clips = jax.ShapeDtypeStruct((2, frames, 16, 16, 3), jnp.float32)
        assert jax.eval_shape(model.apply, variables, clips).shape == (2, 5)


@pytest.mark.parametrize("name", [*VARIANTS, *OTHER_BACKBONES])
def test_the_image_twin_is_the_plain_image_network(name):
    plain = re.sub(r"^[a-z]+(?=\d|_)", "tsn", name.partition(":")[0])
    assert shapes_of(models.image_twin(name), 5, size=96) == shapes_of(plain, 5, size=96)


@pytest.mark.parametrize(
    "name",
    [
        "ct50",
        "sth50:mode=merge,attention=true,dilation=1+2+3",
        *(pytest.param(name, marks=pytest.mark.long) for name in (*VARIANTS[:2], *VARIANTS[3:])),
    ],
)
def test_bfloat16_trains_without_nan(name):
    assert_trains_in_bfloat16(small(name, dtype="bfloat16"), size=16)


@pytest.mark.long
@pytest.mark.parametrize("name", [*VARIANTS, *OTHER_BACKBONES])
def test_bfloat16_trains_whole_networks_without_nan(name):
    model = models.make_model(f"{name}{',' if ':' in name else ':'}dtype=bfloat16", num_classes=5)
    _, losses = train(model, clips_of(2, size=96), steps=20)
    assert np.isfinite(losses).all()


def fill(builder, x, features=None, **site):
    """Build a convolution on a place of its own and return its module, variables and output."""
    place = ConvSite(features or x.shape[-1], **site)
    module = builder.build(place, None)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    rng = np.random.default_rng(1)
    # Positive, as variances are.
    variables = jax.tree.map(lambda leaf: rng.uniform(0.1, 0.3, leaf.shape).astype("f"), shapes)
    return module, variables, np.asarray(jax.jit(module.apply)(variables, x))


@pytest.fixture
def clip():
    return np.random.default_rng(0).normal(size=(2, 5, 8, 8, 16)).astype(np.float32)


def test_sth_is_the_function_and_dilations_take_turns(clip):
    builder = SpatioTemporalHybrid(p=0.25, dilation=(1, 2, 3))
    for index, dilation in enumerate((1, 2, 3, 1)):
        _, variables, y = fill(builder, clip, features=8, strides=(1, 2, 2), index=index)
        params = variables["params"]
        wanted = ops.sth_conv(
            clip,
            params["spatial"]["kernel"],
            params["temporal"]["kernel"],
            groups=4,
            strides=(1, 2, 2),
            dilation=(dilation, 1, 1),
        )
        np.testing.assert_allclose(y, wanted, atol=1e-5)


def test_sth_without_temporal_kernels_is_the_plain_convolution(clip):
    hybrid = SpatioTemporalHybrid(p=0).build(ConvSite(8), "conv")
    plain = layers.Convolution().build(ConvSite(8), "conv")
    assert jax.eval_shape(hybrid.init, jax.random.key(0), clip) == jax.eval_shape(
        plain.init, jax.random.key(0), clip
    )


def test_attention_coefficients_can_be_read(clip):
    module, variables, _ = fill(SpatioTemporalHybrid(attention=True), clip, strides=(1, 2, 2))
    apply = jax.jit(functools.partial(module.apply, mutable=["intermediates"]))
    _, sown = apply(variables, clip)
    (coefficients,) = sown["intermediates"]["coefficients"]
    assert coefficients.shape == (2, 5, 1, 1, 16)
    assert 0 < coefficients.min() < coefficients.max() < 1


def test_channelwise_sth_is_temporal_in_the_first_group_and_spatial_in_the_others(clip):
    _, variables, y = fill(SpatioTemporalHybrid(p=0.25), clip, groups=16)
    spatial = variables["params"]["spatial"]["kernel"]
    temporal = variables["params"]["temporal"]["kernel"]
    assert spatial.shape == (1, 3, 3, 1, 12)
    assert temporal.shape == (3, 1, 1, 1, 4)
    np.testing.assert_allclose(y[..., :4], ops.conv3d(clip[..., :4], temporal, groups=4), atol=1e-5)
    np.testing.assert_allclose(y[..., 4:], ops.conv3d(clip[..., 4:], spatial, groups=12), atol=1e-5)


def relu_norm(y: jax.Array, params: dict, stats: dict) -> jax.Array:
    norm, statistics = params["norm"], stats["norm"]
    y = ops.batch_norm(
        y, statistics["mean"], statistics["var"], norm["scale"], norm["bias"], eps=1e-5
    )
    return jnp.maximum(y, 0)


def test_ct_mixes_one_sub_dimension_after_the_other(clip):
    builder = ChannelTensorization(split=(2,), kernels=(3, 1), pointwise=False, excitation="none")
    assert builder.dims(16) == (2, 8)
    _, variables, y = fill(builder, clip)
    params, stats = variables["params"], variables["batch_stats"]
    x = clip
    for step, dims in (("step1", (2, 8)), ("step2", (8, 2))):
        parts = [
            relu_norm(
                ops.conv3d(x, params[step][part]["conv"]["kernel"], groups=dims[0]),
                params[step][part],
                stats[step][part],
            )
            for part in ("spatial", "temporal")
        ]
        x = ops.transpose_channels(parts[0] + parts[1], dims)
    np.testing.assert_allclose(y, x, atol=1e-4)
    assert params["step1"]["spatial"]["conv"]["kernel"].shape == (1, 3, 3, 8, 16)
    assert params["step2"]["temporal"]["conv"]["kernel"].shape == (1, 1, 1, 2, 16)


def test_ct_carries_strides_in_its_first_step(clip):
    for arrangement in ("parallel", "serial", "coupling"):
        builder = ChannelTensorization(arrangement=arrangement)
        *_, y = fill(builder, clip, strides=(1, 2, 2))
        assert y.shape == (2, 5, 4, 4, 16)


def test_ct_takes_channels_that_are_no_power_of_two():
    clip = np.ones((1, 4, 8, 8, 144), np.float32)
    _, variables, _ = fill(ChannelTensorization(), clip)
    reduce = variables["params"]["step1"]["spatial_excitation"]["reduce"]["conv"]["kernel"]
    assert reduce.shape == (1, 3, 3, 18, 32)


def test_excitations_gate_what_they_average(clip):
    """The temporal gate of a frame sees its neighbours alone, the spatial gate all frames."""
    module, variables, y = fill(ChannelTensorization(num_dims=1), clip)
    changed = clip.copy()
    changed[:, 4] += 1
    z = np.asarray(jax.jit(module.apply)(variables, changed))
    assert not np.allclose(y[:, 0], z[:, 0])  # through the spatial gate
    without = ChannelTensorization(num_dims=1, excitation="none")
    module, variables, y = fill(without, clip)
    z = np.asarray(jax.jit(module.apply)(variables, changed))
    np.testing.assert_allclose(y[:, :3], z[:, :3], atol=1e-6)


def test_shifted_convolution_sees_the_shifted_clip(clip):
    _, variables, y = fill(TemporalShift(1 / 4), clip, features=8)
    shifted = ops.temporal_shift(clip, 1 / 4)
    np.testing.assert_allclose(y, ops.conv3d(shifted, variables["params"]["kernel"]), atol=1e-5)


def test_separable_convolutions_strided(clip):
    for arrangement in ("sequential", "parallel"):
        _, variables, y = fill(Separable(arrangement), clip, features=8, strides=(2, 2, 2))
        kernels = {name: leaf["kernel"] for name, leaf in variables["params"].items()}
        if arrangement == "parallel":
            wanted = ops.conv3d(clip, kernels["spatial"], strides=(2, 2, 2))
            wanted = wanted + ops.conv3d(clip, kernels["temporal"], strides=(2, 2, 2))
        else:
            wanted = ops.conv3d(clip, kernels["spatial"], strides=(1, 2, 2))
            wanted = ops.conv3d(wanted, kernels["temporal"], strides=(2, 1, 1))
        np.testing.assert_allclose(y, wanted, atol=1e-5)


def test_convolutions_with_a_padding_of_their_own_are_left_alone():
    anywhere = Replacement(TemporalShift(), ("conv",), ((1, 0),))
    for padding, builder in ((None, TemporalShift()), ((0, 0, 0), layers.Convolution())):
        unit = layers.place_unit(ConvSite(8, padding=padding), (anywhere,), 1, 0, "conv")
        assert unit.conv == builder


@pytest.mark.parametrize(
    ("blocks", "stages"), [(1, "0001"), (4, "0031"), (6, "0231"), (7, "1231"), (12, "2352")]
)
def test_ct_replaces_so_many_blocks(blocks, stages):
    (replacement,) = models.make_model(f"ct50:blocks={blocks}").replacements
    assert len(replacement.blocks) == blocks
    assert [sum(s == stage for s, _ in replacement.blocks) for stage in range(1, 5)] == [
        *map(int, stages)
    ]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("st50", "did you mean 'sth50'"),
        ("sth50:prop=0.5", "sth50 takes no option 'prop'; .*attention, conv, .*dilation"),
        ("sth50:p=0.3", "p=0.3: the temporal proportion must be 0 or 1/g"),
        ("sth50:dilation=0", "every rate must be at least 1"),
        ("sth50:mode=merg", "did you mean 'merge'"),
        ("sth50:conv=2plus1d_parallel,p=0.5", "drop them or conv=2plus1d_parallel"),
        ("ct50:blocks=5", "give 1 or 4 or 6 or 7 or 11 or 12"),
        ("ct50:conv=c3d,dims=3", "drop them or conv=c3d"),
        ("ct50:dims=3,split=4", "give dims=2"),
        ("ct50:dims=0", "at least 1 sub-dimension"),
        ("ct50:kernels=2", "give one odd size"),
        ("ct50:kernels=3+5+3", "one for each of the 2 sub-dimensions"),
        ("tsm50:fraction=0.7", "from 0 to 0.5"),
        ("ct_vgg16:drop_path=0.1", "vgg16 has no residual branches"),
    ],
)
def test_options_that_cannot_be(spec, message):
    with pytest.raises(ValueError, match=message):
        models.make_model(spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sth50:p=0.3333", "stage1/block0/conv2/conv: .* 64 input"),
        ("sth_mobilenet_v2:attention=true", "stage1/block0/depthwise/conv: .* set attention=false"),
        ("ct50:split=3", "stage1/block1/conv2/conv: split=.* 64 channels are not divisible by 3"),
        ("ct50:remat=5", "stage 5 does not exist"),
    ],
)
def test_errors_name_the_layer_and_what_would_do(spec, message):
    with pytest.raises(ValueError, match=message):
        shapes_of(spec)


def test_ct_keeps_the_number_of_channels():
    module = ChannelTensorization().build(ConvSite(8), "conv")
    with pytest.raises(ValueError, match=r"ct keeps the number of channels, .* 16 inputs and 8"):
        jax.eval_shape(module.init, jax.random.key(0), np.ones((1, 2, 4, 4, 16)))
