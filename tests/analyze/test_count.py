# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Counts worked out by hand, and every figure of the papers."""

import json

import flax.linen as nn
import jax
import pytest

from vidpretrain import models, ops
from vidpretrain.analyze import count, papers, tables
from vidpretrain.analyze.__main__ import main
from vidpretrain.analyze.papers import Figures
from vidpretrain.models import layers
from vidpretrain.models.layers import ConvNorm, Convolution, ConvSite


class Tiny(nn.Module):
    """Something of everything that is counted."""

    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        stem = ConvSite(8, (3, 3), (1, 2, 2))
        x = ConvNorm(stem, Convolution(temporal=3), name="stem")(x, train)
        x = ops.max_pool(x, (1, 2, 2), strides=(1, 2, 2))
        stage = nn.remat(ConvNorm, static_argnums=(2,)) if self.remat else ConvNorm
        x = stage(ConvSite(8, groups=8), activation="swish", name="stage1")(x, train)
        x = layers.SqueezeExcite(2, name="se")(x, train)
        x = ops.adaptive_avg_pool(x) + ops.functional_avg_pool(x)
        return layers.Classifier(5, name="head")(x, train)


# On 2 frames of 8 x 8: the stem's output is 2 x 4 x 4 x 8, behind the pool it is 2 x 2 x 2 x 8.
STEM = 256 * 27 * 3  # 3x3x3 kernels on RGB
STAGE = 64 * 9
SE = 2 * 8 + 8 * 2
HEAD = 5 * 8


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize(
    ("rule", "stem", "between", "stage1", "se"),
    [
        ("macs", STEM, 0, STAGE, SE),
        ("fvcore", STEM + 2 * 256, 0, STAGE + 2 * 64, SE),
        ("thop", STEM + 2 * 256, 64, STAGE + 2 * 64, SE + 64),
        ("mmcv", STEM + 3 * 256, 256 + 64, STAGE + 2 * 64, SE + 64 + 2),
    ],
)
def test_counts_by_hand(rule, stem, between, stage1, se, remat):
    network = count.trace(Tiny(remat), frames=2, size=8)
    parts = {name: part.operations for name, part in network.by_stage(count.RULES[rule]).items()}
    wanted = {"stem": stem, "between": between, "stage1": stage1, "se": se, "head": HEAD}
    assert parts == {name: operations for name, operations in wanted.items() if operations}
    assert network.total(count.RULES[rule]).operations == sum(wanted.values())


def test_parameters_by_hand():
    stages = count.trace(Tiny(), frames=2, size=8).by_stage(count.RULES["macs"])
    assert {name: part.parameters for name, part in stages.items()} == {
        "stem": 81 * 8 + 16,
        "stage1": 72 + 16,
        "se": 16 + 2 + 16 + 8,
        "head": 45,
    }


def test_sth_counts_both_its_kernels():
    plain, hybrid = (
        count.trace(models.make_model(f"sth18:p={p}"), 2, 32).total(count.RULES["macs"])
        for p in (0, 0.25)
    )
    # Every 3x3 keeps 3/4 of its 9 taps and gets 1/4 of 3.
    kernels = 9 * (64 * 64 * 4 + 64 * 128 + 128 * 128 * 3 + 128 * 256 + 256 * 256 * 3)
    kernels += 9 * (256 * 512 + 512 * 512 * 3)
    assert plain.parameters - hybrid.parameters == kernels // 6
    assert hybrid.operations < plain.operations


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("stem/conv", "stem"),
        ("stage2/block0/conv1/conv", "stage2"),
        ("slow/stage3/block5/conv2/norm", "slow/stage3"),
        ("lateral_stage2/conv", "lateral_stage2"),
        ("head", "head"),
    ],
)
def test_stages(path, stage):
    assert count.stage_of(path.split("/")) == stage


def test_what_a_network_does_between_its_modules():
    assert count.stage_of([]) == count.BETWEEN


def test_pathways_are_stages_of_their_own():
    network = count.trace(models.make_model("slowfast50_4x16"), 8, 64)
    stages = network.by_stage(count.RULES["macs"])
    assert {"slow/stem", "fast/stage4", "lateral_stage1", "head"} <= stages.keys()
    assert all(part.parameters and part.operations for part in stages.values())


@pytest.mark.parametrize(("frames", "size"), [(0, 8), (2, 0)])
def test_an_empty_clip_is_an_error(frames, size):
    with pytest.raises(ValueError, match=f"{frames} frames of {size} x {size}"):
        count.trace(Tiny(), frames, size)


@pytest.mark.parametrize(
    ("printed", "operations", "parameters", "agrees"),
    [
        ("54.860 / 31,991,022", 54_860_400_000, 31_991_022, True),
        ("54.860 / 31,991,022", 54_860_600_000, 31_991_022, False),
        ("54.860 / 31,991,022", 54_860_000_000, 31_991_023, False),
        ("54.9 / 32.0M", 54_850_000_000, 31_950_000, True),
        ("54.9", 54_849_000_000, 0, False),
        # 36.285 in three decimals, which is as near to 36.29 as to 36.28.
        ("36.29", 36_284_600_000, 0, True),
        ("36.29", 36_284_400_000, 0, False),
        ("27.63797632", 27_637_976_320, 0, True),
        ("27.63797632", 27_637_976_330, 0, False),
        ("25.557M", 0, 25_557_032, True),
        ("213", 212_565_000_000, 1, True),
        ("", 1, 1, True),
    ],
)
def test_agreement_is_half_a_unit_of_the_last_digit(printed, operations, parameters, agrees):
    assert tables.agrees(Figures.parse(printed), count.Count(parameters, operations)) is agrees


ROWS = [row for table in papers.TABLES for row in table.rows]
# What our networks are known to differ from: figures that do not follow from their own formulas.
PRINTED_OTHERWISE = {
    "mmaction2 irCSN-152",
    "p = 0",
    "p = 1/8",
    "p = 1/2",
    "TSN baseline",
    "kernels (1, 3)",
    "R101, released rule",
    "InceptionV3",
}
# One row of each kind; the others are as slow and run with the long tests.
QUICK = {
    *("SlowOnly-50", "SlowFast-50 4x16", "R(2+1)D-34", "irCSN-50", "X3D-S"),
    *("p = 1/4, hybrid", "p = 1/4 + attention", "(2+1)D parallel", "TSN baseline", "K = 4"),
    *("CT module", "+ PWConv + TE", "C3D module", "CSN module", "C2 = 4", "kernels (1, 5)"),
}


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(
            row,
            id=f"{row.label}, {row.frames} x {row.size}, {row.classes} classes, {row.rule}",
            marks=[] if row.label in QUICK else [pytest.mark.long],
        )
        for row in ROWS
    ],
)
def test_figures_of_the_papers(row):
    ours = tables.count_row(row)
    assert tables.agrees(row.by_hand, ours)
    assert tables.agrees(row.printed, ours) == (row.label not in PRINTED_OTHERWISE)
    assert bool(row.note) == (row.label in PRINTED_OTHERWISE)


@pytest.mark.parametrize("name", ["slowonly50", "csn50", "r2plus1d34", "slowfast50_4x16", "x3d_s"])
def test_sts_costs_what_the_plain_convolution_costs(name):
    plain, sts = (
        tables.trace(f"{name}{option}", 8, 64, 5).total(count.RULES["macs"])
        for option in ("", ":conv=sts")
    )
    assert sts == plain


def run(capsys, *arguments):
    code = main(["count", *arguments])
    return code, capsys.readouterr().out


def test_command_prints_json(capsys):
    arguments = "--model slowonly50 --frames 8 --size 256 --classes 174 --rule mmcv --json"
    code, out = run(capsys, *arguments.split())
    printed = json.loads(out)
    assert code == 0
    assert printed["parameters"] == 31_991_022
    assert printed["gflops"] == pytest.approx(54.860, abs=5e-4)
    assert list(printed["stages"])[:3] == ["stem", "stage1", "stage2"]
    for figure in ("parameters", "gflops"):
        total = sum(stage[figure] for stage in printed["stages"].values())
        assert total == pytest.approx(printed[figure])


def test_command_prints_a_table(capsys):
    code, out = run(capsys, "--model", "tsm18:fraction=0.25", "--size", "64")
    assert code == 0
    assert out.splitlines()[0] == (
        "tsm18:fraction=0.25: 8 frames of 64 x 64, 400 classes, counted as macs"
    )
    assert out.splitlines()[-1].split() == ["total", "11,381,712", "1.186"]


def test_command_prints_the_papers_tables(capsys, monkeypatch):
    monkeypatch.setattr(papers, "TABLES", (papers.Table("A table", papers.TABLES[4].rows[4:6]),))
    code, text = run(capsys, "--tables")
    assert code == 0
    title, header, agreeing, differing, note = text.splitlines()
    assert title == "A table"
    assert header.split()[:3] == ["row", "network", "frames"]
    assert agreeing.split().count("=") == 2
    assert differing.split().count("differs") == 1
    assert note.startswith("(p = 0: ")
    rows = json.loads(run(capsys, "--tables", "--json")[1])
    assert [row["agrees_with_printed"] for row in rows] == [True, False]
    assert all(row["agrees_with_by_hand"] for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cuont"], "did you mean 'count'"),
        ([], "required: COMMAND"),
        (["count"], "give either --model NAME or --tables"),
        (["count", "--model", "st50"], "did you mean 'sth50'"),
        (["count", "--model", "sth50:pp=1"], "sth50 takes no option 'pp'"),
        (["count", "--model", "sth50", "--rule", "mcs"], "invalid choice: 'mcs'"),
        (["count", "--model", "sth50", "--frames", "0"], "0 frames of 224 x 224"),
        (["count", "--model", "csn50:conv=sts", "--size", "72"], "stage3/block0/conv2/conv: "),
    ],
)
def test_command_explains_what_it_cannot_do(capsys, arguments, message):
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["count", "--help"]])
def test_help(capsys, arguments):
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == 0
    assert "count" in capsys.readouterr().out
