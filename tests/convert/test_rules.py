# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What STH, CT and separable networks take from an image network."""

import collections

import jax
import numpy as np
import pytest

from tests.models.test_networks import shapes_of
from vidpretrain import models, ops
from vidpretrain.convert import tree
from vidpretrain.convert.inflate import inflate
from vidpretrain.convert.rules import leaf_rules, spatial_part
from vidpretrain.models.layers import ConvSite
from vidpretrain.models.sth import SpatioTemporalHybrid


def zeros_like(shapes):
    """Return arrays of the shapes given that take no memory."""
    return {
        name: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape)
        for name, leaf in tree.flatten(shapes).items()
    }


def convert(source, target):
    wanted = tree.flatten(shapes_of(target, 5, frames=2, size=96))
    drawn = []

    def draw(names):
        drawn.extend(names)
        return {name: np.zeros(wanted[name].shape, np.float32) for name in names}

    given = zeros_like(shapes_of(source, 5, frames=2, size=96))
    values, report = inflate(given, wanted, draw, rules=leaf_rules(target))
    assert values.keys() == wanted.keys()
    return report, drawn


@pytest.mark.parametrize(
    ("network", "actions"),
    [
        ("sth18", {"copied": 86, "spatial part": 16, "new": 16}),
        ("sth18:mode=merge,attention=true", {"copied": 86, "spatial part": 16, "new": 48}),
        ("sth18:conv=2plus1d_sequential", {"copied": 102, "new": 16}),
        ("ct18", {"copied": 82, "new": 244, "unused": 20}),
        ("ct18:conv=c3d", {"copied": 98, "centre-initialised": 4}),
        ("ct18:conv=r2plus1d", {"copied": 102, "new": 20}),
        ("ct18:conv=csn", {"copied": 98, "new": 24, "unused": 4}),
        ("sth_mobilenet_v2", {"copied": 245, "spatial part": 17, "new": 17}),
        ("tsm18", {"copied": 102}),
    ],
)
def test_every_leaf_is_explained(network, actions):
    report, drawn = convert(models.image_twin(network), network)
    assert collections.Counter(leaf.action for leaf in report.leaves) == actions
    assert len(drawn) == actions.get("new", 0)


@pytest.mark.parametrize("network", ["sth18:attention=true", "ct18", "ct18:conv=csn"])
def test_a_network_of_the_same_kind_gives_all_it_has(network):
    report, drawn = convert(network, network)
    assert {leaf.action for leaf in report.leaves} == {"copied"}
    assert not drawn


@pytest.mark.parametrize("mode", ["hybrid", "merge"])
def test_spatial_part_is_the_kernel_without_the_temporal_groups(mode):
    kernel = np.random.default_rng(0).normal(size=(1, 3, 3, 8, 12)).astype(np.float32)
    kept = spatial_part(kernel, (1, 3, 3, 6, 12), mode=mode)
    for output in range(12):
        temporal = output // 3 if mode == "hybrid" else 0
        inputs = [channel for channel in range(8) if channel // 2 != temporal]
        np.testing.assert_array_equal(kept[..., output], kernel[..., inputs, output])


def test_an_sth_network_of_images_does_what_the_image_network_does_without_its_temporal_part():
    """With the image kernel's temporal group zero, nothing is lost."""
    plain = np.random.default_rng(0).normal(size=(1, 3, 3, 8, 8)).astype(np.float32)
    for group in range(4):
        plain[..., 2 * group : 2 * group + 2, 2 * group : 2 * group + 2] = 0
    clip = np.random.default_rng(1).normal(size=(1, 2, 6, 6, 8)).astype(np.float32)
    hybrid = SpatioTemporalHybrid().build(ConvSite(8), "conv")
    shapes = jax.eval_shape(hybrid.init, jax.random.key(0), clip)["params"]
    params = {
        "spatial": {
            "kernel": spatial_part(plain, shapes["spatial"]["kernel"].shape, mode="hybrid")
        },
        "temporal": {"kernel": np.zeros(shapes["temporal"]["kernel"].shape, np.float32)},
    }
    y = hybrid.apply({"params": params}, clip)
    np.testing.assert_allclose(y, ops.conv3d(clip, plain), atol=1e-5)


def test_image_twins_and_other_networks_need_no_rules():
    for network in ("sth50:image=true", "csn50:conv=sts", "slowfast50_8x8"):
        assert leaf_rules(network) == ()
