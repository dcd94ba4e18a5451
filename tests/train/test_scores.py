# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What scores come to, by hand; and the file that keeps them."""

import dataclasses

import numpy as np
import pytest

from vidpretrain.train.scores import Scores, ScoresError, distinct


def scores(values, label, **fields):
    n = len(label)
    given = {
        "values": np.float32(values),
        "label": np.int32(label),
        "loss": np.zeros(n, np.float32),
        "example": np.arange(n, dtype=np.int64),
        "expected": n,
        "names": tuple(f"video{i}" for i in range(n)),
    }
    return Scores(**given | fields)


# Four examples of class 0, three of them right; one of class 1, wrong; none of class 2.
FIVE = scores(
    [[0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.9, 0.1, 0.0], [0.2, 0.3, 0.5], [0.2, 0.3, 0.5]],
    [0, 0, 0, 0, 1],
)


def test_top_k_by_hand():
    s = scores([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.1, 0.6, 0.3]], [0, 1, 0])
    assert [round(s.top(k), 3) for k in (1, 2, 3)] == [33.333, 66.667, 100.0]


def test_top_5_of_fewer_classes_is_everything():
    assert FIVE.top(5) == 100.0


def test_mean_class_accuracy_by_hand():
    # 3/4 of class 0 and 0/1 of class 1; class 2 has no example and no share.
    assert FIVE.top(1) == pytest.approx(60.0)
    assert FIVE.mean_class() == pytest.approx((75.0 + 0.0) / 2)
    assert FIVE.metrics()["mean_class"] == FIVE.mean_class()


def test_confusion_by_hand():
    np.testing.assert_array_equal(FIVE.confusion(), [[3, 0, 1], [0, 0, 1], [0, 0, 0]])


def test_ties_count_against_the_network():
    tied = scores(np.full((3, 3), 0.2), [0, 1, 2])
    assert tied.top(1) == 0.0
    assert tied.top(3) == 100.0
    # The others tie for the first place, too; the first of them is taken.
    np.testing.assert_array_equal(tied.predicted(), [1, 0, 0])
    assert np.trace(tied.confusion()) == 0


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_scores_that_are_no_numbers_earn_nothing(value):
    s = scores(np.full((2, 3), value), [0, 2])
    assert s.top(1) == s.mean_class() == 0.0
    assert not np.any(s.predicted() == s.label)


def test_a_nan_does_not_win_over_what_is_right():
    s = scores([[0.9, 0.1, np.nan]], [0])
    # What stands in a NaN's place is not known, so the example is not called right.
    assert s.top(1) == 0.0
    assert s.top(2) == 100.0


def test_the_diagonal_is_what_is_right():
    rng = np.random.default_rng(0)
    s = scores(rng.integers(0, 3, (200, 6)), rng.integers(0, 6, 200))
    matrix = s.confusion()
    assert np.trace(matrix) == s.hits(1).sum()
    np.testing.assert_array_equal(matrix.sum(axis=1), np.bincount(s.label, minlength=6))


def test_same_names_get_their_positions():
    assert distinct(["a", "b", "a"]) == ("a#0", "b", "a#2")


# --- files ---


def test_a_file_gives_back_what_was_saved(tmp_path):
    saved = dataclasses.replace(
        FIVE,
        loss=np.float32([np.nan, 1, 2, 3, 4]),
        expected=7,
        class_names=("läuft", "run", "sit"),
        network="tsn50",
        average="logits",
        views=30,
    )
    path = tmp_path / "deeper" / "scores.npz"
    saved.save(path)
    read = Scores.load(path)
    for field in dataclasses.fields(Scores):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(saved, field.name))
    assert [p.name for p in path.parent.iterdir()] == ["scores.npz"]
    with np.load(path, allow_pickle=False) as archive:
        assert archive["scores"].dtype == np.float32


def test_a_file_without_class_names(tmp_path):
    FIVE.save(tmp_path / "s.npz")
    assert Scores.load(tmp_path / "s.npz").class_names == ()


def rewritten(tmp_path, **changes):
    FIVE.save(tmp_path / "good.npz")
    with np.load(tmp_path / "good.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(tmp_path / "bad.npz", **arrays | changes)
    return tmp_path / "bad.npz"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": np.array([{}] * 5, object)}, "pickled objects"),
        ({"format": np.array(9)}, "format 9"),
        ({"format": np.array("x")}, "whole numbers"),
        ({"scores": np.zeros((5, 3))}, "types"),
        ({"scores": np.zeros((5, 3, 1), np.float32)}, r"\[examples, classes\]"),
        ({"label": np.zeros(4, np.int32)}, r"label has the shape \[4\] for 5"),
        ({"label": np.full(5, 3, np.int32)}, "3 of 3 classes"),
        ({"label": np.full(5, -1, np.int32)}, "from -1"),
        ({"name": np.array(["a"] * 5)}, "same name"),
        ({"name": np.arange(5)}, "must be text"),
        ({"average": np.array("median")}, "median"),
    ],
)
def test_what_does_not_hold_together_is_refused(tmp_path, changes, message):
    with pytest.raises(ScoresError, match=message):
        Scores.load(rewritten(tmp_path, **changes))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"not at all", b"\x80\x04."])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(ScoresError, match=r"x\.npz"):
        Scores.load(path)


def test_damaged_and_foreign_archives_are_refused(tmp_path):
    FIVE.save(tmp_path / "cut.npz")
    data = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(data[: len(data) // 2])
    np.save(tmp_path / "one.npy", np.zeros(3))
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    with pytest.raises(ScoresError, match="cannot be read"):
        Scores.load(tmp_path / "cut.npz")
    with pytest.raises(ScoresError, match="one array"):
        Scores.load(tmp_path / "one.npy")
    with pytest.raises(ScoresError, match="no scores of ours: scores, label"):
        Scores.load(tmp_path / "other.npz")
    with pytest.raises(ScoresError, match="there is no file"):
        Scores.load(tmp_path / "absent.npz")


def test_a_flipped_bit_is_noticed(tmp_path):
    FIVE.save(tmp_path / "s.npz")
    data = bytearray((tmp_path / "s.npz").read_bytes())
    data[60] ^= 0x10
    (tmp_path / "s.npz").write_bytes(bytes(data))
    with pytest.raises(ScoresError, match=r"s\.npz"):
        Scores.load(tmp_path / "s.npz")


def test_what_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ScoresError, match="cannot be written"):
        FIVE.save(tmp_path / "file" / "scores.npz")
