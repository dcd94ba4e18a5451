# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Recipes, their arguments, and overrides from the command line."""

import re

import pytest

from vidpretrain import config as recipes

RECIPE = """
from vidpretrain.config import base, pipeline, recipe_args

def get_config(argument=""):
    args = recipe_args(argument, frames=8, model="csn50", smoke=False)
    config = base()
    config.views.frames = args.frames
    config.model.name = args.model
    return pipeline(only=config)
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.py"
    path.write_text(RECIPE)
    return str(path)


def test_arguments_and_overrides_reach_their_fields(recipe):
    config = recipes.load_recipe(
        f"{recipe}:frames=32,model=x3d_s",
        ["only.schedule.base_lr=1", "only.views.flip=true", "only.pixels.mean=(0.5,0.5,0.5)"],
    )
    assert config.stages == ("only",)
    assert config.only.views.frames == 32
    assert config.only.model.name == "x3d_s"
    assert config.only.schedule.base_lr == 1.0
    assert config.only.views.flip is True
    assert config.only.pixels.mean == (0.5, 0.5, 0.5)


def test_a_bare_argument_is_true():
    assert recipes.recipe_args("smoke", smoke=False).smoke is True


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("frame=8", "unknown recipe argument 'frame'; did you mean 'frames'?"),
        ("frames=many", "recipe argument frames='many' must be int, such as 8"),
        ("frames=1.5", "must be int"),
        ("frames", "must be int"),
    ],
)
def test_bad_arguments_are_named(recipe, argument, message):
    with pytest.raises(recipes.ConfigError, match=re.escape(message)):
        recipes.load_recipe(f"{recipe}:{argument}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("only.schedule.base_rl=1", "did you mean config.only.schedule.base_lr?"),
        ("onli.seed=1", "did you mean config.only.seed?"),
        ("only.seed.x=1", "is a value, not a section"),
        ("only.schedule=1", "is a section; set one of"),
        ("only.seed=x", "config.only.seed='x' must be int"),
        ("only.seed", "has no value"),
        ("only.zzz=1", "unknown field config.only.zzz"),
    ],
)
def test_bad_overrides_are_named(recipe, override, message):
    with pytest.raises(recipes.ConfigError, match=re.escape(message)):
        recipes.load_recipe(recipe, [override])


def test_a_missing_recipe_names_the_closest(recipe):
    with pytest.raises(recipes.ConfigError, match=r"did you mean .*recipe\.py"):
        recipes.load_recipe(recipe.replace("recipe.py", "recipes.py"))


def test_a_recipe_without_get_config_says_so(tmp_path):
    path = tmp_path / "empty.py"
    path.write_text("")
    with pytest.raises(recipes.ConfigError, match="has no get_config"):
        recipes.load_recipe(str(path))


@pytest.mark.parametrize("argument", ["--confg.a=1", "--config.a", "x"])
def test_stray_arguments_are_refused(argument):
    with pytest.raises(recipes.ConfigError, match="unknown argument"):
        recipes.overrides_of([argument])


def test_base_is_locked_and_documented():
    config = recipes.base()
    with pytest.raises(AttributeError):
        config.nonsense = 1
    assert config.is_locked


def test_options_of_a_network_may_follow_its_name():
    args = recipes.recipe_args(
        "frames=4,model=ct50:dims=3,pointwise=false,conv=sts,split=4+4", model="", frames=8, conv=""
    )
    assert args.model == "ct50:dims=3,pointwise=false,split=4+4"
    assert (args.frames, args.conv) == (4, "sts")
    for argument in ("model=ct50,dims=3", "frmes=4", "model=ct50:dims=3,smok", "dims=3"):
        with pytest.raises(recipes.ConfigError, match="unknown recipe argument"):
            recipes.recipe_args(argument, model="", frames=8, smoke=False)


def test_options_are_added_to_a_spec():
    assert recipes.with_options("csn50") == "csn50"
    assert recipes.with_options("csn50", conv="", norm_group=0) == "csn50"
    assert recipes.with_options("csn50", conv="sts", norm_group=8) == "csn50:conv=sts,norm_group=8"
    # Its own options win.
    assert recipes.with_options("csn50:ratio=1:2,norm_group=4", conv="sts", norm_group=8) == (
        "csn50:ratio=1:2,norm_group=4,conv=sts"
    )


def test_a_paper_that_there_is_not():
    with pytest.raises(recipes.ConfigError, match="did you mean"):
        recipes.published("stss")
    assert [recipes.paper_of(n) for n in ("csn50", "sth50:p=0", "ct101", "tsn50", "x3d_s")] == [
        "sts",
        "sth",
        "ct",
        "ct",
        "sts",
    ]
