# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Linear probes: three networks cut out, of which only the classifier learns; table and chart."""

import jax
import numpy as np
import pytest

from tests.runs import MICRO
from vidpretrain import models
from vidpretrain.analyze.__main__ import main
from vidpretrain.config import load_recipe
from vidpretrain.convert import Card, read_variables, tree, write_checkpoint
from vidpretrain.train.plan import PlanError, make_plan

NETWORK = "resnet:depths=1,width=4,stem_kernel=3,conv=conv3d"
RECIPE = f"{MICRO}:stages=pretrained,steps=3"


@pytest.fixture
def leave_the_compilation_cache_as_it_was():
    before = jax.config.jax_compilation_cache_dir
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "checkpoint"
    model = models.make_model(NETWORK, num_classes=40)
    variables = model.init(jax.random.key(3), np.zeros((1, 4, 16, 16, 3), np.float32))
    card = Card(NETWORK, 40, (0.5,) * 3, (0.5,) * 3, frames=4, size=16)
    write_checkpoint(path, jax.tree.map(np.asarray, variables), card)
    return path


def test_each_tap_is_cut_and_only_the_classifier_learns(
    checkpoint, tmp_path, capsys, leave_the_compilation_cache_as_it_was
):
    flags = ["--config", RECIPE, "--workdir", str(tmp_path / "probe")]
    assert main(["probe", str(checkpoint), *flags]) == 0
    shown = capsys.readouterr().out
    assert [cell.strip() for cell in shown.splitlines()[0].split("|")[2:5]] == ["t1", "t2", "t3"]
    whole = tree.flatten(read_variables(checkpoint))
    several = [name for name, leaf in whole.items() if leaf.ndim == 5 and leaf.shape[0] == 3]
    assert several
    for tap, stage in enumerate(("t1", "t2", "t3")):
        steps = tmp_path / "probe" / stage / "checkpoints"
        after = tree.flatten(read_variables(steps / "3"))
        for name, leaf in after.items():
            if name.startswith("params/head"):
                continue
            expected = whole[name][tap : tap + 1] if name in several else whole[name]
            np.testing.assert_array_equal(leaf, expected, err_msg=f"{stage} {name}")
        assert after["params/head/kernel"].shape[-1] == 10
        assert np.abs(after["params/head/bias"]).max() > 0
    assert (tmp_path / "probe" / "probe.png").read_bytes().startswith(b"\x89PNG")
    assert NETWORK in (tmp_path / "probe" / "probe.md").read_text()
    # Finished, it is shown again at once; and beside another one.
    assert main(["probe", str(checkpoint), *flags, "--beside", str(tmp_path / "probe")]) == 0
    assert len(capsys.readouterr().out.split("\n\n")[0].splitlines()) == 4


def test_what_cannot_be_probed_is_told(checkpoint, tmp_path, capsys):
    flags = ["--workdir", str(tmp_path / "probe"), "--config", RECIPE]
    assert main(["probe", str(checkpoint), *flags, "--stage", "pretraned"]) == 2
    assert "did you mean 'pretrained'" in capsys.readouterr().err
    assert main(["probe", str(tmp_path), *flags]) == 1
    assert main(["probe", str(checkpoint), *flags, "--beside", str(tmp_path)]) == 2
    assert "no finished probe" in capsys.readouterr().err
    assert not (tmp_path / "probe").exists()


@pytest.mark.parametrize(
    ("init", "message"),
    [({"tap": 3}, "init.tap=3"), ({"tap": 1}, "cuts a network out of init.source, which is empty")],
)
def test_impossible_taps_are_refused_in_planning(init, message):
    config = load_recipe(RECIPE).to_dict()["pretrained"]
    config["init"] |= init
    with pytest.raises(PlanError, match=message):
        make_plan("pretrained", config)
