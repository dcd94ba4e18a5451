# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a network says of a test set: the measures taken of it, and the file that keeps it."""

from __future__ import annotations

import collections
import dataclasses
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vidpretrain.suggest import closest

AVERAGES = ("softmax", "logits")
"""What is averaged over the views of an example."""

_FORMAT = 1
_ARRAYS = {"scores": np.float32, "label": np.int32, "loss": np.float32, "example": np.int64}
_TEXTS = ("name", "class_name", "network", "average")
_NUMBERS = ("expected", "views", "format")


class ScoresError(ValueError):
    """A file of scores cannot be read or written, or scores do not fit; the message says why."""


@dataclasses.dataclass(frozen=True)
class Scores:
    """What a network says of the examples of a test set that could be read.

    Attributes:
        values: mean over an example's views of the softmax or of the logits, float32
            `[N, classes]`.
        label: true classes, int32 `[N]`.
        loss: mean cross-entropy over an example's views, float32 `[N]`; NaN where it is not known.
        example: positions in the test set, rising, int64 `[N]`.
        expected: examples in the set; more than `N` where some cannot be read. Nothing takes their
            place.
        names: what the examples are called, each differently, `[N]`.
        class_names: by label; may be fewer than there are scores.
        network: the network, as `vidpretrain.models.make_model` takes it; several, if fused.
        average: one of `AVERAGES`, what `values` are means of.
        views: of an example.
    """

    values: np.ndarray
    label: np.ndarray
    loss: np.ndarray
    example: np.ndarray
    expected: int
    names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    network: str = ""
    average: str = "softmax"
    views: int = 1

    @property
    def num_classes(self) -> int:
        """Number of scores of an example."""
        return self.values.shape[1]

    def hits(self, k: int) -> np.ndarray:
        """Return whether each example's class is among the k likeliest, bool `[N]`.

        Ties count against the network, so that constant scores earn nothing; so do scores that are
        not numbers.
        """
        true = np.take_along_axis(self.values, self.label[:, None], axis=1)
        rank = np.sum(~(self.values < true), axis=1) - 1
        return rank < k

    def top(self, k: int) -> float:
        """Return the share of examples whose class is among the k likeliest, in percent."""
        return float(np.mean(self.hits(k)) * 100.0)

    def mean_class(self) -> float:
        """Return the mean over the classes of the share of theirs that is right, in percent.

        Classes of which the set has no example have no share.
        """
        matrix = self.confusion()
        counts = matrix.sum(axis=1)
        present = counts > 0
        return float(np.mean(np.diag(matrix)[present] / counts[present]) * 100.0)

    def predicted(self) -> np.ndarray:
        """Return the likeliest class of each example, int64 `[N]`; ties count as in `hits`."""
        lowest = float(np.finfo(np.float32).min)
        rivals = np.nan_to_num(self.values, nan=lowest, neginf=lowest)
        np.put_along_axis(rivals, self.label[:, None], -np.inf, axis=1)
        return np.where(self.hits(1), self.label, np.argmax(rivals, axis=1))

    def confusion(self) -> np.ndarray:
        """Count examples by true class (row) and likeliest class (column), int64 `[K, K]`."""
        matrix = np.zeros((self.num_classes, self.num_classes), np.int64)
        np.add.at(matrix, (self.label, self.predicted()), 1)
        return matrix

    def metrics(self) -> dict[str, float]:
        """Return accuracies in percent, `loss`, and how many `examples` were `expected`.

        The accuracies are `top1`, `top5` and `mean_class`.
        """
        return {
            "top1": self.top(1),
            "top5": self.top(5),
            "mean_class": self.mean_class(),
            "loss": float(self.loss.mean()),
            "examples": float(len(self.label)),
            "expected": float(self.expected),
        }

    def summary(self) -> str:
        """Return accuracy in words, and what was left out, if anything."""
        left_out = self.expected - len(self.label)
        note = f" ({left_out} of {self.expected} examples could not be read)" if left_out else ""
        return f"test top-1 {self.top(1):.2f} %{note}"

    def class_name(self, label: int) -> str:
        """Return a class's name; its number if it has none."""
        return self.class_names[label] if label < len(self.class_names) else str(label)

    def save(self, path: Path) -> None:
        """Write the scores as `.npz`, whole or not at all.

        Raises:
            ScoresError: the file cannot be written.
        """
        arrays: dict[str, Any] = {
            "scores": self.values,
            "label": self.label,
            "loss": self.loss,
            "example": self.example,
            "name": np.array(self.names, np.str_),
            "class_name": np.array(self.class_names, np.str_),
            "network": np.array(self.network),
            "average": np.array(self.average),
            "views": np.array(self.views),
            "expected": np.array(self.expected),
            "format": np.array(_FORMAT),
        }
        temporary = path.with_name(path.name + ".tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                np.savez_compressed(file, **arrays)
            os.replace(temporary, path)
        except OSError as error:
            raise ScoresError(f"{path} cannot be written: {error.strerror or error}") from error

    @classmethod
    def load(cls, path: Path) -> Scores:
        """Read what `save` wrote. Nothing in the file is unpickled.

        Raises:
            ScoresError: there is no such file, it is damaged, or it is none of ours.
        """
        arrays = _read_arrays(path)
        wanted = (*_ARRAYS, *_TEXTS, *_NUMBERS)
        missing = [name for name in wanted if name not in arrays]
        if missing:
            raise ScoresError(
                f"{path} holds no scores of ours: {', '.join(missing)} missing. "
                "`test.save_scores=true` and `python -m vidpretrain.analyze test` write them"
            )
        problem = _problem(arrays)
        if problem:
            raise ScoresError(f"{path}: {problem}")
        return cls(
            values=arrays["scores"].astype(np.float32),
            label=arrays["label"].astype(np.int32),
            loss=arrays["loss"].astype(np.float32),
            example=arrays["example"].astype(np.int64),
            expected=int(arrays["expected"]),
            names=tuple(arrays["name"].tolist()),
            class_names=tuple(arrays["class_name"].tolist()),
            network=str(arrays["network"]),
            average=str(arrays["average"]),
            views=int(arrays["views"]),
        )


def check_average(average: str) -> None:
    """Raise unless it is one of `AVERAGES`.

    Raises:
        ValueError: it is none; names the closest.
    """
    if average not in AVERAGES:
        raise ValueError(f"test.average={average!r}; {closest(average, AVERAGES)}")


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, those that come several times with their positions behind."""
    counts = collections.Counter(names)
    return tuple(
        f"{name}#{place}" if counts[name] > 1 else name for place, name in enumerate(names)
    )


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ScoresError(f"{path} is one array, not an .npz of scores")
            with archive:
                return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise ScoresError(f"there is no file {path}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, ScoresError):
            raise
        if "pickle" in str(error):
            raise ScoresError(
                f"{path} holds pickled objects, which could run any code; they are not read. "
                "Files of scores hold plain arrays only"
            ) from error
        raise ScoresError(f"{path} cannot be read as .npz: {error}") from error


def _problem(arrays: Mapping[str, np.ndarray]) -> str:
    """Return what is wrong with the arrays of a file, or nothing."""
    if any(arrays[name].shape or arrays[name].dtype.kind not in "iu" for name in _NUMBERS):
        return f"{', '.join(_NUMBERS)} must be whole numbers"
    if int(arrays["format"]) != _FORMAT:
        return f"it has the format {arrays['format']}; this version reads {_FORMAT}"
    if any(arrays[name].dtype.kind != "U" for name in _TEXTS if arrays[name].size):
        return f"{', '.join(_TEXTS)} must be text"
    if any(arrays[name].dtype != dtype for name, dtype in _ARRAYS.items()):
        return "the types of its arrays are not those of scores"
    scores, label = arrays["scores"], arrays["label"]
    if scores.ndim != 2 or 0 in scores.shape:
        return f"scores must be [examples, classes], got {list(scores.shape)}"
    for name in ("label", "loss", "example", "name"):
        if arrays[name].shape != scores.shape[:1]:
            return f"{name} has the shape {list(arrays[name].shape)} for {len(scores)} examples"
    if label.min() < 0 or label.max() >= scores.shape[1]:
        return f"labels go from {label.min()} to {label.max()} of {scores.shape[1]} classes"
    if str(arrays["average"]) not in AVERAGES:
        return f"average={str(arrays['average'])!r} is none of {', '.join(AVERAGES)}"
    if len(set(arrays["name"].tolist())) != len(scores):
        return "several examples have the same name"
    return ""
