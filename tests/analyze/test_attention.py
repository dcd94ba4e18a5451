# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Attention coefficients: by hand on one layer, over a test set by command."""

import csv
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.runs import MICRO
from vidpretrain import models
from vidpretrain.analyze import attention
from vidpretrain.analyze.__main__ import main
from vidpretrain.convert import Card, write_checkpoint

SIZE = "depths=1+1+1+1,width=8"
LAYERS = [f"stage{stage}/block0/conv2/conv" for stage in (1, 2, 3, 4)]


def network(p, attentive=True):
    name = f"sth50:p={p},attention={str(attentive).lower()},{SIZE}"
    model = models.make_model(name, num_classes=40)
    clip = jax.ShapeDtypeStruct((1, 4, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), clip)
    rng = np.random.default_rng(0)

    def draw(leaf):
        low = -0.1 if len(leaf.shape) > 1 else 0.5
        return rng.uniform(low, low + 0.2, leaf.shape).astype(np.float32)

    return name, model, jax.tree.map(draw, shapes)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sth")
    for label, p, attentive in (("half", 0.5, True), ("quarter", 0.25, True), ("no", 0.25, False)):
        name, _, variables = network(p, attentive)
        card = Card(name, 40, (0.5,) * 3, (0.5,) * 3, frames=4, size=32)
        write_checkpoint(folder / label, variables, card)
    return folder


def test_coefficients_are_means_over_frames_and_channels():
    _, model, variables = network(0.25)
    clips = jax.random.normal(jax.random.key(1), (2, 4, 32, 32, 3))

    @jax.jit
    def both(variables):
        _, sown = model.apply(variables, clips, mutable=["intermediates"])
        return attention.layer_coefficients(model, variables, clips), sown["intermediates"]

    measured, sown = both(variables)
    assert list(measured) == LAYERS
    (coefficients,) = sown["stage2"]["block0"]["conv2"]["conv"]["coefficients"]
    expected = np.asarray(coefficients).mean((1, 2, 3, 4))
    np.testing.assert_allclose(measured[LAYERS[1]], expected, rtol=1e-6)

    def without_kernel(path, leaf):
        is_kernel = "attention/kernel" in jax.tree_util.keystr(path, simple=True, separator="/")
        return jnp.zeros_like(leaf) if is_kernel else leaf

    # Then both parts have the same logit, and none is preferred.
    even = jax.tree_util.tree_map_with_path(without_kernel, variables)
    for mean in both(even)[0].values():
        np.testing.assert_array_equal(mean, 0.5)


def test_networks_without_attention_have_no_layers():
    _, model, variables = network(0.25, attentive=False)
    clips = jax.ShapeDtypeStruct((1, 2, 32, 32, 3), jnp.float32)
    assert (
        jax.eval_shape(functools.partial(attention.layer_coefficients, model), variables, clips)
        == {}
    )


def run(checkpoints, out, *names, batch_size=5):
    flags = [
        *("--config", f"{MICRO}:stages=scratch", "--out", str(out)),
        f"--config.scratch.test.batch_size={batch_size}",
        "--config.scratch.views.size_px=16",
        "--config.scratch.views.test_clips=2",
    ]
    return main(["attention", *(str(checkpoints / name) for name in names), *flags])


def test_the_command_writes_a_table_and_a_chart(checkpoints, tmp_path, capsys):
    assert run(checkpoints, tmp_path, "half", "quarter") == 0
    with (tmp_path / "attention.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["layer"] for row in rows] == LAYERS * 2
    assert [row["p"] for row in rows] == ["0.5000"] * 4 + ["0.2500"] * 4
    assert {(row["data set"], row["modality"]) for row in rows} == {("moving_digits", "rgb")}
    for row in rows:
        assert 0 < float(row["temporal"]) < 1
        assert float(row["temporal"]) + float(row["spatial"]) == pytest.approx(1, abs=2e-4)
        # 12 videos, 2 clips each; the rows that fill the last batch up do not count.
        assert row["views"] == "24"
    assert "p=0.5" in capsys.readouterr().out
    assert (tmp_path / "attention.png").read_bytes().startswith(b"\x89PNG")
    assert run(checkpoints, tmp_path / "other", "half", batch_size=16) == 0
    with (tmp_path / "other" / "attention.csv").open(newline="") as file:
        others = list(csv.DictReader(file))
    assert [float(row["temporal"]) for row in others] == pytest.approx(
        [float(row["temporal"]) for row in rows[:4]], abs=1.1e-4
    )


def test_a_network_without_attention_is_refused(checkpoints, tmp_path, capsys):
    assert run(checkpoints, tmp_path / "out", "no") == 2
    assert "sth50:attention=true" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_checkpoints_are_named_by_what_sets_them_apart():
    def one(p, modality):
        return attention.Attention("path" + str(p), "n", p, "d", modality, 1, ())

    assert attention.labels([one(0.5, "rgb"), one(0.25, "rgb")]) == ["p=0.5", "p=0.25"]
    assert attention.labels([one(0.5, "rgb"), one(0.5, "flow")]) == ["rgb", "flow"]
    assert attention.labels([one(0.5, "rgb")]) == ["path0.5"]
