# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The claims' benchmark, but for its training: what it would run, and what it makes of results."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.claims import __main__ as command
from benchmarks.claims import protocol, report, run
from benchmarks.claims.claims import CLAIMS, Claim, Row
from vidpretrain.train import stages
from vidpretrain.train.scores import Scores

COMMITTED = Path(command.__file__).parent

CLAIM = Claim(
    "A title",
    "A paper, Table 1",
    "clips",
    (Row("first", "the first", "70.0"), Row("other", "the other"), Row("third", "not run")),
    paper_column="SSv2",
)


def runs_of(**scores):
    return {
        name: {
            seed: run.Run(
                training=name,
                seed=seed,
                network="net",
                top1=top1,
                digit=None,
                motion=None,
                images=10,
                cpu_sec=60.0,
                wall_sec=120.0,
            )
            for seed, top1 in by_seed.items()
        }
        for name, by_seed in scores.items()
    }


RUNS = runs_of(first={0: 50.0, 1: 60.0, 2: 70.0}, other={0: 55.0, 2: 69.0})


def scores_of(label, predicted, classes):
    return Scores(
        values=np.eye(classes, dtype=np.float32)[predicted],
        label=np.array(label, np.int32),
        loss=np.zeros(len(label), np.float32),
        example=np.arange(len(label)),
        expected=len(label),
        names=tuple(map(str, range(len(label)))),
        class_names=tuple(map(str, range(classes))),
    )


def test_parts_of_a_class():
    # "2 up" as itself, as "2 left", as "3 up"; "9 down" as "0 left".
    scores = scores_of([10, 10, 10, 39], [10, 8, 14, 0], classes=40)
    assert run.parts(scores) == (50.0, 50.0)
    assert run.parts(scores_of([3, 1], [3, 2], classes=4)) == (None, None)


def test_table():
    assert report.table(CLAIM, RUNS).splitlines() == [
        "| top-1 %, clips | seed 0 | seed 1 | seed 2 | mean | s.d. | difference | paper: SSv2 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| the first | 50.0 | 60.0 | 70.0 | 60.0 | 10.0 |  | 70.0 |",
        # Against the first over seeds 0 and 2: +5 and -1.
        "| the other | 55.0 |  | 69.0 | 62.0 | 9.9 | +2.0 from *the first*; above in 1 of 2 |  |",
        "| not run |  |  |  |  |  |  |  |",
    ]


def test_table_tells_parts_of_classes_where_there_are_any():
    scores = {"digit": 90.0, "motion": 75.0}
    runs = {
        name: {seed: dataclasses.replace(result, **scores) for seed, result in by_seed.items()}
        for name, by_seed in runs_of(first={0: 50.0}).items()
    }
    assert report.table(CLAIM, runs).splitlines()[2:4] == [
        "| the first | 50.0 | 50.0 |  |  | 90.0 | 75.0 | 70.0 |",
        "| the other |  |  |  |  |  |  |  |",
    ]


def test_chart(tmp_path):
    report.draw(CLAIM, RUNS, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_costs_count_pretraining_and_what_claims_share_once():
    claims = {name: CLAIMS[name] for name in ("budget", "init")}
    runs = runs_of(stills={0: 90.0}, plain_center={0: 80.0}, plain_average={0: 80.0})
    assert report.cost_table(claims, runs).splitlines()[2:] == [
        "| budget | 2 | 2.0 | 4.0 |",
        "| init | 3 | 3.0 | 6.0 |",
        "| all, shared ones once | 3 | 3.0 | 6.0 |",
    ]


def test_every_claim_names_trainings_and_every_training_has_a_claim():
    wanted = report.trainings_of(CLAIMS.values())
    assert set(wanted) == set(protocol.all_trainings(seed=0))


def test_budgets_are_equal():
    plans = stages.plan_stages(
        {
            name: config.to_dict()
            for name, config in protocol.all_trainings(seed=0).items()
            if name in ("stills", "plain_center", "plain_scratch")
        }
    )
    images = {plan.name: plan.budget.images(plan.cadence.total) for plan in plans}
    assert images["stills"] + images["plain_center"] == images["plain_scratch"]


def test_every_training_can_be_planned():
    configs = protocol.all_trainings(seed=1)
    assert {config.seed for config in configs.values()} == {1}
    plans = stages.plan_stages({name: config.to_dict() for name, config in configs.items()})
    assert {plan.num_classes for plan in plans} == {4, 10, 40}


def test_finished_trainings_are_gathered_and_not_run_again(tmp_path, monkeypatch):
    for name in ("stills", "plain_center"):
        folder = tmp_path / "seed0" / name
        folder.mkdir(parents=True)
        result = stages.Result(
            name=name,
            network="net",
            top1=81.234,
            top5=99.0,
            images_seen=100,
            images_pretrained=0,
            seconds=1.0,
            steps=2,
            seed=0,
            examples=3,
            expected=3,
        )
        (folder / stages.RESULT).write_text(json.dumps(dataclasses.asdict(result)))
        scores_of([0, 1], [0, 1], classes=10).save(folder / stages.SCORES)
        (folder / "cost.json").write_text(json.dumps({"cpu_sec": 5.04, "wall_sec": 9.0}))
    # The compilation cache must not move for the tests that follow.
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(stages, "run_stages", lambda *_: pytest.fail("runs again"))
    claim = dataclasses.replace(CLAIM, rows=(Row("plain_center", "plain"),))
    run.run_claims([claim], num_seeds=1, workdir=tmp_path)
    runs = report.read_runs(run.gather(tmp_path))
    assert runs["plain_center"][0] == run.Run(
        "plain_center", 0, "net", 81.23, None, None, images=100, cpu_sec=5.0, wall_sec=9.0
    )


def test_committed_tables_and_charts_are_those_of_the_committed_results(
    tmp_path, monkeypatch, capsys
):
    results = str(COMMITTED / "results.json")
    arguments = ["claims", "--results", results, "--workdir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert command.main() == 0
    readme = (COMMITTED / "README.md").read_text()
    for part in capsys.readouterr().out.split("\n\n"):
        if part.startswith("|"):
            assert part.strip() in readme
    for chart in tmp_path.glob("*.png"):
        assert (COMMITTED / chart.name).is_file()
