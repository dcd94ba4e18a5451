# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Fusing scores, in closed form and by command; what does not fit is refused."""

import dataclasses

import numpy as np
import pytest

from vidpretrain.analyze.__main__ import main
from vidpretrain.analyze.fusion import fuse
from vidpretrain.train.scores import Scores, ScoresError

NAMES = ("a", "b", "c")


def scores(values, label=(0, 1, 2), names=NAMES, **fields):
    n = len(label)
    given = {
        "values": np.float32(values),
        "label": np.int32(label),
        "loss": np.zeros(n, np.float32),
        "example": np.arange(n, dtype=np.int64),
        "expected": n,
        "names": tuple(names),
        "class_names": ("x", "y", "z"),
        "network": "one",
    }
    return Scores(**given | fields)


# Wrong only about b, and only about c: their mean is right about all.
ONE = scores([[0.8, 0.1, 0.1], [0.5, 0.4, 0.1], [0.1, 0.1, 0.8]])
TWO = scores([[0.6, 0.2, 0.2], [0.1, 0.8, 0.1], [0.1, 0.5, 0.4]], network="two")


def test_the_mean_of_two_by_hand():
    fused = fuse([ONE, TWO])
    expected = [[0.7, 0.15, 0.15], [0.3, 0.6, 0.1], [0.1, 0.3, 0.6]]
    np.testing.assert_allclose(fused.values, expected, atol=1e-7)
    assert (ONE.top(1), TWO.top(1), fused.top(1)) == (pytest.approx(200 / 3),) * 2 + (100.0,)
    assert fused.network == "one + two"
    assert fused.average == "softmax"
    assert np.isnan(fused.loss).all()


def test_weights_by_hand():
    fused = fuse([ONE, TWO], weights=(1, 0.5))
    np.testing.assert_allclose(fused.values[1], np.array([0.55, 0.8, 0.15]) / 1.5, atol=1e-7)
    np.testing.assert_array_equal(fuse([ONE, TWO], weights=(0, 3)).values, TWO.values)


def test_three_are_fused_alike_in_any_order():
    parts = [ONE, TWO, scores(np.eye(3), network="three")]
    np.testing.assert_allclose(fuse(parts).values, fuse(parts[::-1]).values, atol=1e-7)
    np.testing.assert_allclose(fuse([ONE, ONE, ONE]).values, ONE.values, atol=1e-7)


def test_examples_are_matched_by_name_not_by_place():
    order = [2, 0, 1]
    turned = dataclasses.replace(
        TWO,
        values=TWO.values[order],
        label=TWO.label[order],
        names=tuple(NAMES[i] for i in order),
    )
    np.testing.assert_array_equal(fuse([ONE, turned]).values, fuse([ONE, TWO]).values)
    assert fuse([ONE, turned]).names == NAMES


def test_logits_become_a_softmax_but_not_the_other_way_round():
    logits = dataclasses.replace(
        TWO, values=np.log(TWO.values) + np.float32(1000), average="logits"
    )
    np.testing.assert_allclose(fuse([ONE, logits]).values, fuse([ONE, TWO]).values, atol=1e-4)
    both = fuse([logits, logits])
    assert both.average == "logits"
    np.testing.assert_array_equal(both.values, logits.values)
    assert fuse([logits, logits], average="softmax").average == "softmax"
    with pytest.raises(ScoresError, match=r"test.average=logits"):
        fuse([logits, ONE], average="logits")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (scores([[1, 0], [0, 1], [0, 1]], (0, 1, 1), class_names=()), "3 classes apart, one 2"),
        (dataclasses.replace(TWO, class_names=("x", "u", "z")), "class 1 is 'y'.*'u'"),
        (dataclasses.replace(TWO, label=np.int32([0, 2, 2])), "1 of 3 .* b is y .* but z"),
        (scores(TWO.values[:2], (0, 1), "ab", network="two"), "two: 1 missing, such as c"),
        (dataclasses.replace(TWO, names=("d", "e", "f")), "no example in common: 'a' .* 'd'"),
    ],
)
def test_what_is_of_another_test_set_is_refused(other, message):
    with pytest.raises(ScoresError, match=message):
        fuse([ONE, other])


def test_examples_that_some_lack_can_be_left_out():
    fused = fuse([ONE, scores(TWO.values[1:], (1, 2), "bc", network="two")], common=True)
    assert fused.names == ("b", "c")
    np.testing.assert_allclose(fused.values, fuse([ONE, TWO]).values[1:], atol=1e-7)


@pytest.mark.parametrize("weights", [(1,), (1, 2, 3), (0, 0), (1, -1), (1, float("nan"))])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(ScoresError, match="weight"):
        fuse([ONE, TWO], weights=weights)


def test_one_file_is_no_ensemble():
    with pytest.raises(ScoresError, match="at least two"):
        fuse([ONE])


# --- commands ---


@pytest.fixture
def files(tmp_path):
    ONE.save(tmp_path / "one.npz")
    TWO.save(tmp_path / "two.npz")
    return tmp_path


def test_the_command_prints_each_and_all_and_writes(files, capsys):
    given = [str(files / "one.npz"), str(files / "two.npz")]
    assert main(["fuse", *given, "--weights", "1,1", "--out", str(files / "both.npz")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[3].strip() for line in lines[2:5]] == ["66.67", "66.67", "100.00"]
    np.testing.assert_allclose(Scores.load(files / "both.npz").values, fuse([ONE, TWO]).values)
    # What was fused can be fused again.
    assert main(["fuse", str(files / "both.npz"), given[0]]) == 0


def test_the_command_says_what_is_wrong(files, capsys):
    np.savez(files / "evil.npz", scores=np.array([{}], object))
    assert main(["fuse", str(files / "one.npz"), str(files / "evil.npz")]) == 1
    assert "pickled objects" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["fuse", str(files / "one.npz"), "--weights", "1;2"])
    assert "numbers with commas" in capsys.readouterr().err


def test_splits_are_averaged_by_hand(files, capsys):
    (files / "run").mkdir()
    fuse([ONE, TWO]).save(files / "run" / "scores.npz")
    runs = [str(files / "one.npz"), str(files / "two.npz"), str(files / "run")]
    assert main(["splits", *runs]) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[0] == ["run", "top-1 %", "top-5 %", "mean class %"]
    # 200/3, 200/3, 300/3: mean 700/9, standard deviation sqrt(2 (100/9)^2 + (200/9)^2) / sqrt 2.
    assert cells[-2][1:] == ["77.78", "100.00", "77.78"]
    assert cells[-1][1:] == ["19.25", "0.00", "19.25"]


def test_splits_of_working_folders(tmp_path, capsys):
    for split, top1 in enumerate((90.0, 94.0)):
        folder = tmp_path / f"split{split}"
        folder.mkdir()
        runs = [{"name": n, "top1": top1 + k, "top5": 99.0} for k, n in enumerate(("pre", "fine"))]
        (folder / "results.json").write_text(f'{{"runs": {runs}}}'.replace("'", '"'))
    given = [str(tmp_path / f"split{split}") for split in range(2)]
    assert main(["splits", *given]) == 0
    assert "93.00" in capsys.readouterr().out
    assert main(["splits", *given, "--stage", "pre"]) == 0
    assert "92.00" in capsys.readouterr().out
    assert main(["splits", *given, "--stage", "pree"]) == 1
    assert "did you mean 'pre'" in capsys.readouterr().err
    assert main(["splits", given[0], str(tmp_path)]) == 1
    assert "is the run finished" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["splits", given[0]])
