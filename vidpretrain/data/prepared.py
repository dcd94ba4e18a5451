# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Data sets that tensorflow-datasets has prepared, read without TensorFlow.

Only `array_record` files can be read so: they give any record by its number. A data set is
prepared in them by `tfds build NAME --file_format=array_record`, on any machine; the folder that
comes out is all that is needed here.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vidpretrain.data.images import still
from vidpretrain.data.lists import mirrored_labels
from vidpretrain.suggest import closest

_INFO = "dataset_info.json"
_READABLE = "array_record"


def find_prepared(folder: str) -> Path:
    """Find a prepared data set.

    Args:
        folder: Its own folder, or one above it: of the data set with its versions, of which the
            highest is taken, or of a configuration with its versions.

    Returns:
        The folder with `dataset_info.json`.

    Raises:
        ValueError: There is none, there are several data sets, or its files are of a kind that
            needs TensorFlow.
    """
    top = Path(folder).expanduser()
    found = [top] if (top / _INFO).is_file() else []
    for depth in ("*", "*/*"):
        found = found or [path.parent for path in sorted(top.glob(f"{depth}/{_INFO}"))]
    if not found:
        near = sorted(map(str, top.parent.glob("*"))) if top.parent.is_dir() else []
        raise ValueError(
            f"{folder} holds no data set prepared by tensorflow-datasets (no {_INFO}); "
            f"{closest(str(top), near)}"
        )
    if len({path.parent for path in found}) > 1:
        names = ", ".join(str(path.relative_to(top)) for path in found)
        raise ValueError(f"{folder} holds several data sets ({names}); name one of them")
    chosen = max(found, key=_version)
    stored_as = json.loads((chosen / _INFO).read_text()).get("fileFormat", "tfrecord")
    if stored_as != _READABLE:
        raise ValueError(
            f"{chosen} is stored as {stored_as}, which needs TensorFlow; prepare it again with "
            f"`tfds build NAME --file_format={_READABLE}`, on any machine"
        )
    return chosen


def _version(folder: Path) -> tuple[int, ...]:
    parts = folder.name.split(".")
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """The records of one split, by number; can be sent to worker processes.

    Attributes:
        folder: Of the data set, with `dataset_info.json`.
        split: Name of a split, or a part of one, such as "train[:10%]".
        encoded: Features that are left encoded, such as images.
    """

    folder: Path
    split: str
    encoded: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        splits = self._builder.info.splits
        if self.split.split("[")[0] not in splits:
            raise ValueError(
                f"split {self.split!r} of {self.folder}; {closest(self.split, splits)}"
            )
        for name in self.encoded:
            if name not in self.features:
                raise ValueError(
                    f"feature {name!r} of {self.folder}; {closest(name, self.features)}"
                )

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, example: int) -> dict[str, Any]:
        """Return a record, by feature."""
        return self._source[example]

    @property
    def features(self) -> Any:
        """Return the features by name, as tensorflow-datasets describes them."""
        return self._builder.info.features

    def class_names(self, label: str) -> tuple[str, ...]:
        """Return the names of the classes that a feature numbers.

        Raises:
            ValueError: There is no such feature, or it does not number classes.
        """
        labels = [name for name, feature in self.features.items() if hasattr(feature, "names")]
        if label not in labels:
            raise ValueError(f"class feature {label!r} of {self.folder}; {closest(label, labels)}")
        return tuple(self.features[label].names)

    @functools.cached_property
    def _builder(self) -> Any:
        # Here, for it takes half a second to import.
        import tensorflow_datasets as tfds

        return tfds.builder_from_directory(os.fspath(self.folder))

    @functools.cached_property
    def _source(self) -> Any:
        import tensorflow_datasets as tfds

        decoders = {name: tfds.decode.SkipDecoding() for name in self.encoded}
        return self._builder.as_data_source(self.split, decoders=decoders)

    def __getstate__(self) -> dict[str, Any]:
        # Open files stay here; every process opens its own.
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedImages:
    """Images of a prepared data set; a source (see `vidpretrain.data.source`).

    Attributes:
        records: Where they are.
        image: Name of the feature that is the image.
        label_name: Name of the feature that is the class.
        short_side_px: Larger images are shrunk so that their shorter side has this length; 0
            keeps them.
    """

    records: Records
    image: str = "image"
    label_name: str = "label"
    short_side_px: int = 0

    @property
    def num_classes(self) -> int:
        """Return the number of classes."""
        return len(self.class_names)

    @functools.cached_property
    def class_names(self) -> tuple[str, ...]:
        """Return the classes' names, by label."""
        return self.records.class_names(self.label_name)

    @functools.cached_property
    def flip_labels(self) -> tuple[int, ...] | None:
        """Return the label of an image's mirror image, by label of the image."""
        return mirrored_labels(self.class_names)

    def __len__(self) -> int:
        return len(self.records)

    def num_frames(self, example: int) -> int:
        """Return 1."""
        return 1

    def label(self, example: int) -> int:
        """Return an image's label."""
        return int(latest(self.records, example)[self.label_name])

    def frames(self, example: int, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Decode an image, uint8 `[T, H, W, 3]`.

        Args:
            example: Position of the image, from 0.
            indices: Zeros, for an image has only frame 0.

        Raises:
            BadInput: The record's image cannot be decoded.
            IndexError: Another frame than the first is asked for.
        """
        name = f"{self.records.split} record {example} of {self.records.folder}"
        data = latest(self.records, example)[self.image]
        return still(name, data, indices, self.short_side_px)


@functools.lru_cache(maxsize=2)
def latest(records: Records, example: int) -> dict[str, Any]:
    """Return a record, without reading it again for the label after the frames."""
    return records[example]


def prepared_images(
    split: str,
    seed: int = 0,
    *,
    folder: str,
    train: str = "train",
    test: str = "validation",
    image: str = "image",
    label: str = "label",
    short_side_px: int = 0,
) -> PreparedImages:
    """Make a source of images that tensorflow-datasets has prepared, such as `imagenet2012`.

    Args:
        split: "train" or "test".
        seed: Not used; nothing is random.
        folder: Of the data set: `~/tensorflow_datasets/imagenet2012`, or one version of it.
        train: The split that is trained on, or a part of one, such as "train[:10%]".
        test: The split that is tested on.
        image: Name of the feature that is the image.
        label: Name of the feature that is the class.
        short_side_px: Larger images are shrunk to this shorter side when they are decoded.

    Raises:
        ValueError: There is no such data set, split or feature, or it is not stored as
            array_record.
    """
    records = Records(find_prepared(folder), choose_split(split, train=train, test=test), (image,))
    records.class_names(label)
    return PreparedImages(records, image, label, short_side_px)


def choose_split(split: str, **names: str) -> str:
    """Return what a data set calls the split that we call "train" or "test"."""
    if split not in names:
        raise ValueError(f"split {split!r}; {closest(split, names)}")
    return names[split]
