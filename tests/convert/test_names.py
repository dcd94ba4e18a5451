# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Other codebases' names: there and back is the identity, and nothing is left out in silence."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import golden
from vidpretrain import models
from vidpretrain.convert import names, tree
from vidpretrain.convert.name_tables import CONV, TABLES, NamesTable, Rule

RELEASED = {
    "slowonly50": "mmaction2/slowonly",
    "csn50": "mmaction2/csn_ir",
    "r2plus1d34": "mmaction2/r2plus1d",
    "slowfast50_4x16": "mmaction2/slowfast",
    "x3d_s": "mmaction2/x3d",
    "resnet50": "ctnet/resnet",
}


def shapes_of(spec: str) -> Any:
    model = models.make_model(spec, num_classes=11)
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 64, 64, 3)))


def blank(spec: str) -> Any:
    """Return variables of a network that cost no memory."""
    return jax.tree.map(lambda like: np.broadcast_to(np.float32(0), like.shape), shapes_of(spec))


@pytest.mark.parametrize("network", RELEASED)
def test_released_names_there_and_back(network):
    table = TABLES[RELEASED[network]]
    state_dict = golden.read(network).state_dict
    variables = names.to_ours(table, state_dict, like=shapes_of(network))
    back = names.to_theirs(table, variables)
    assert back.keys() == state_dict.keys()
    for name, array in state_dict.items():
        np.testing.assert_array_equal(back[name], array)
    assert names.recognise(state_dict) == (RELEASED[network],)


@pytest.mark.parametrize(
    ("table", "spec", "examples"),
    [
        ("mmaction2/csn_ip", "csn50:mode=ip", ["backbone.layer1.0.conv2.0.bn.running_var"]),
        ("sts_image/slowonly", "slowonly50", ["get_feature.layer3.0.conv1.conv.weight"]),
        ("sts_image/csn_ir", "csn50", ["get_feature.layer1.0.conv2.0.conv.weight"]),
        ("sts_image/r2plus1d", "r2plus1d34", ["get_feature.conv1.conv.bn_s.weight"]),
        ("sts_image/slowfast", "slowfast50_8x8", ["classifier.weight", "classifier.bias"]),
        ("sts_image/x3d", "x3d_s:projection_bias=true", ["fc1.weight", "fc1.bias"]),
        ("torchvision/resnet", "resnet50", ["layer1.0.downsample.0.weight", "fc.bias"]),
        ("torchvision/resnet", "resnet18", ["layer4.1.bn2.num_batches_tracked"]),
        ("torchvision/resnet", "slowonly50:image=true", ["layer3.5.conv3.weight"]),
    ],
)
def test_our_names_there_and_back(table, spec, examples):
    variables = blank(spec)
    state_dict = names.to_theirs(TABLES[table], variables)
    assert set(examples) <= state_dict.keys()
    assert names.recognise(state_dict) == (table,)
    back = names.to_ours(TABLES[table], state_dict, like=variables)
    assert jax.tree.map(np.shape, back) == jax.tree.map(np.shape, variables)


def test_layouts_are_pytorch_s():
    rng = np.random.default_rng(0)
    table = TABLES["mmaction2/slowonly"]
    weight = rng.normal(size=(8, 4, 3, 1, 1))
    ours = names.to_ours(table, {"backbone.layer3.0.conv1.conv.weight": weight})
    kernel = ours["params"]["stage3"]["block0"]["conv1"]["conv"]["kernel"]
    assert kernel.shape == (3, 1, 1, 4, 8)
    assert kernel[2, 0, 0, 1, 5] == weight[5, 1, 2, 0, 0]

    weight = rng.normal(size=(8, 4, 3, 5))
    ours = names.to_ours(TABLES["torchvision/resnet"], {"conv1.weight": weight})
    kernel = ours["params"]["stem"]["conv"]["kernel"]
    assert kernel.shape == (1, 3, 5, 4, 8)
    assert kernel[0, 2, 4, 1, 5] == weight[5, 1, 2, 4]


def test_slowfast_heads_are_ordered_differently_in_the_image_code():
    weight = np.arange(2304.0)[None]  # one class; [slow 2048 | fast 256] in the image code
    image = names.to_ours(TABLES["sts_image/slowfast"], {"classifier.weight": weight})
    video = names.to_ours(TABLES["mmaction2/slowfast"], {"cls_head.fc_cls.weight": weight})
    expected = [*range(2048, 2304), *range(2048)]
    assert image["params"]["head"]["kernel"][:, 0].tolist() == expected
    assert video["params"]["head"]["kernel"][:, 0].tolist() == list(range(2304))
    back = names.to_theirs(TABLES["sts_image/slowfast"], image)
    np.testing.assert_array_equal(back["classifier.weight"], weight)


def test_unknown_names_are_listed():
    state_dict = {"conv1.weight": np.zeros((8, 3, 7, 7)), "layer5.0.x": np.zeros(1)}
    with pytest.raises(names.NamesError, match=r"(?s)1 arrays are not named .*layer5\.0\.x"):
        names.to_ours(TABLES["torchvision/resnet"], state_dict)
    with pytest.raises(names.NamesError, match=r"(?s)unknown to torchvision.*params/extra/kernel"):
        names.to_theirs(TABLES["torchvision/resnet"], {"params": {"extra": {"kernel": 0}}})


def test_missing_and_misshapen_arrays_are_listed():
    state_dict = dict(golden.read("resnet50").state_dict)
    del state_dict["base_model.bn1.running_mean"]
    state_dict["new_fc.bias"] = np.zeros(12, np.float32)
    table = TABLES["ctnet/resnet"]
    with pytest.raises(tree.MismatchError) as error:
        names.to_ours(table, state_dict, like=shapes_of("resnet50"))
    message = str(error.value)
    assert "+ batch_stats/stem/norm/mean: [64]" in message
    assert "- params/head/bias: [12]\n+ params/head/bias: [11]" in message


def test_one_array_named_twice_is_refused():
    rules = (Rule("a", "stem/conv", CONV), Rule("b", "stem/conv", CONV))
    state_dict = {"a.bias": np.zeros(1), "b.bias": np.zeros(1)}
    with pytest.raises(names.NamesError, match="Two arrays of the file mean params/stem/conv/bias"):
        names.to_ours(NamesTable("a test", rules), state_dict)


def test_temporal_kernels_have_no_2d_form():
    kernel = {"params": {"stem": {"conv": {"kernel": np.zeros((3, 7, 7, 3, 64))}}}}
    with pytest.raises(names.NamesError, match="3 temporal taps has no 2D form"):
        names.to_theirs(TABLES["torchvision/resnet"], kernel)
    with pytest.raises(names.NamesError, match=r"conv1\.weight \[8, 3, 7\]"):
        names.to_ours(TABLES["torchvision/resnet"], {"conv1.weight": np.zeros((8, 3, 7))})
