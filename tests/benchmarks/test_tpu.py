# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The table of recipes on TPUs is of recipes that there are, and is what its file says."""

import pytest

from benchmarks import tpu
from tests.test_recipes import load
from vidpretrain.config import load_recipe


@pytest.mark.parametrize("recipe", tpu.RECIPES)
def test_recipes_load_with_their_overrides(recipe, monkeypatch):
    name, *overrides = recipe.split()
    whole = load(name)
    if overrides:
        fields = [one.removeprefix("--config.") for one in overrides]
        monkeypatch.chdir(tpu.RESULTS.parents[1])
        assert load_recipe(f"configs/{name}", fields).to_dict() != whole.to_dict()


def test_every_row_is_of_a_recipe_and_in_the_table():
    known = tpu.load()
    names = {f"{recipe} @ {topology}" for recipe in tpu.RECIPES for topology in tpu.TOPOLOGIES}
    assert set(known) <= names
    written = tpu.RESULTS.with_suffix(".md").read_text()
    for name, report in known.items():
        recipe = name.partition(" @ ")[0]
        assert f"| {' | '.join(tpu.cells(recipe, report))} |" in written, name
