# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Network specs: reading, writing, and errors that say what to do."""

import typing

import pytest

from vidpretrain import models
from vidpretrain.models.spec import fit_option, format_spec, parse_spec


@pytest.mark.parametrize(
    ("spec", "name", "options"),
    [
        ("csn50", "csn50", {}),
        ("csn50:conv=sts,ratio=1:2", "csn50", {"conv": "sts", "ratio": (1, 2)}),
        ("sth50:p=0.25,attention=true", "sth50", {"p": 0.25, "attention": True}),
        ("resnet:depths=1+2,kernel=2plus1d", "resnet", {"depths": (1, 2), "kernel": "2plus1d"}),
        ("a:x=-3,y=1e-3,z=1/9", "a", {"x": -3, "y": 1e-3, "z": "1/9"}),
    ],
)
def test_reads_specs(spec, name, options):
    assert parse_spec(spec) == (name, options)
    assert parse_spec(format_spec(name, options)) == (name, options)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "not a network spec"),
        ("csn50:", "not a network spec"),
        ("csn 50", "not a network spec"),
        ("csn50:conv", "'conv' in the network spec"),
        ("csn50:conv=", "'conv=' in the network spec"),
        ("csn50:conv=sts,conv=sts", "gives conv twice"),
    ],
)
def test_refuses_what_is_no_spec(spec, message):
    with pytest.raises(ValueError, match=message):
        parse_spec(spec)


@pytest.mark.parametrize(
    ("value", "kind", "fitted"),
    [
        (True, bool, True),
        (1, float, 1.0),
        (3, tuple[int, ...], (3,)),
        ([1, 2], tuple[int, int], (1, 2)),
        (None, float | None, None),
        ("sts", typing.Literal["conv3d", "sts"], "sts"),
    ],
)
def test_fits_values_to_types(value, kind, fitted):
    result = fit_option("option", value, kind)
    assert result == fitted
    assert type(result) is type(fitted)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (1, bool, "option=1 does not fit: give true or false"),
        (True, int, "option=true does not fit: give an integer"),
        ("x", float | None, "option=x does not fit: give a number"),
        ((1, 2, 3), tuple[int, int], r"option=1\+2\+3 does not fit: give an integer \+ an integer"),
        (("a",), tuple[int, ...], r"give items joined by \+ \(an integer each\)"),
        ("stz", typing.Literal["conv3d", "sts"], "did you mean 'sts'"),
    ],
)
def test_refuses_values_of_other_types(value, kind, message):
    with pytest.raises(ValueError, match=message):
        fit_option("option", value, kind)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("slowonly5", {}, "no network 'slowonly5'; did you mean 'slowonly50'"),
        ("csn50:ratios=1:2", {}, "csn50 takes no option 'ratios'; did you mean 'ratio'"),
        ("csn50:depth=101", {}, "csn50 takes no option 'depth'"),
        ("csn50:conv=stz", {}, "conv='stz' is not known; did you mean 'sts'"),
        ("csn50:ratio=1:2", {}, "add conv=sts"),
        ("csn50:conv=sts", {"conv": "conv3d"}, "give it once"),
        ("csn50", {"dtype": "bfloat"}, "did you mean 'bfloat16'"),
        ("csn50", {"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ("csn50", {"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ("resnet:block=basic,kernel=3x1x1", {}, "with block=basic take kernel=2plus1d"),
        ("resnet:kernel=1x1x1,conv=sts", {}, "kernel=1x1x1 has none"),
        ("resnet:temporal_stages=5", {}, "stage 5 does not exist: stages are 1 to 4"),
        ("resnet:temporal_strides=1+2", {}, "2 numbers for the 4 stages"),
    ],
)
def test_refuses_impossible_networks(spec, options, message):
    with pytest.raises(ValueError, match=message):
        models.make_model(spec, **options)


def test_the_image_twin_is_a_spec_like_any_other():
    assert models.image_twin("csn50") == "csn50:image=true"
    assert models.image_twin("csn50:ratio=1:2,conv=sts") == "csn50:conv=sts,image=true,ratio=1+2"
    assert models.image_twin("csn50:image=true") == "csn50:image=true"
    models.make_model(models.image_twin("csn50:ratio=1:2,conv=sts"))
    with pytest.raises(ValueError, match="did you mean 'csn50'"):
        models.image_twin("csn5")


def test_every_network_is_made_by_its_name_alone():
    for name in models.model_names():
        assert models.make_model(name, num_classes=7).num_classes == 7
        assert {"num_classes", "dtype", "image"} <= set(models.model_options(name))
