# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Open weights wherever they come from: a checkpoint's folder, or a file of ours or others'."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from vidpretrain.convert import files, folder, names, tree
from vidpretrain.convert.folder import Card, CheckpointError, PathLike, VerifyLevel
from vidpretrain.convert.name_tables import TABLES
from vidpretrain.suggest import closest

OURS = "vidpretrain"


@dataclasses.dataclass(frozen=True)
class Source:
    """Weights that were opened.

    Attributes:
        path: where they lie; the step found in a folder of steps.
        card: what network they are; None for files of other codebases.
        readings: variables of ours by whose names the file was read; several where codebases
            share names, and then the network to fill decides.
    """

    path: str
    card: Card | None
    readings: Mapping[str, tree.Nested]

    @property
    def variables(self) -> tree.Nested:
        """The variables, by the first reading."""
        return next(iter(self.readings.values()))

    def num_classes(self) -> int:
        """Return the length of the classifier's logits.

        Raises:
            CheckpointError: there is no classifier.
        """
        head = self.variables.get("params", {}).get("head", {})
        if "kernel" not in head:
            raise CheckpointError(f"{self.path} has no classifier; say how many classes there are.")
        return int(head["kernel"].shape[-1])


def open_source(
    path: PathLike,
    *,
    which: str | int = "latest",
    ema: bool | None = None,
    named_by: str | None = None,
    level: VerifyLevel = "hash",
) -> Source:
    """Open weights.

    Args:
        path: a checkpoint's folder, a folder of steps, a stage's or a working folder, or a file
            that ends in one of `files.READABLE`; local or remote.
        which: among steps: `latest`, `best`, or a number.
        ema: moving averages in place of weights, see `folder.read_variables`.
        named_by: whose names a file has: a key of `name_tables.TABLES` or its first part
            (`mmaction2`); None finds out.
        level: how hard to verify a checkpoint's folder.

    Raises:
        CheckpointError: nothing sound is there, or nobody's names fit.
    """
    if not files.is_file_name(path):
        return _open_folder(path, which, ema, level)
    arrays, card = files.read_file(path)
    if all(name.startswith(("params/", "batch_stats/")) for name in arrays):
        return Source(str(path), card, {OURS: tree.nest(arrays)})
    return Source(str(path), card, _read_foreign(str(path), arrays, named_by))


def _open_folder(path: PathLike, which: str | int, ema: bool | None, level: VerifyLevel) -> Source:
    # Remote bytes come over the wire once, and are hashed here.
    quick: VerifyLevel = "size" if folder.is_remote(path) else level
    checkpoint = folder.find_checkpoint(path, which, quick)
    with folder.fetched(checkpoint) as local:
        if quick != level:
            folder.verify(local, level)
        variables = folder.read_variables(local, ema)
        return Source(str(checkpoint), folder.read_card(local), {OURS: variables})


def find_card(path: PathLike, which: str | int = "latest") -> Card:
    """Read the card of what `open_source` would open.

    Raises:
        CheckpointError: nothing sound is there, or it has no card.
    """
    if not files.is_file_name(path):
        return folder.read_card(folder.find_checkpoint(path, which))
    card = files.read_file(path)[1]
    if card is None:
        raise CheckpointError(f"{path} has no card: it is not a file of ours.")
    return card


def _read_foreign(
    path: str, arrays: Mapping[str, np.ndarray], named_by: str | None
) -> dict[str, tree.Nested]:
    # What DataParallel puts before every name.
    if all(name.startswith("module.") for name in arrays):
        arrays = {name.removeprefix("module."): array for name, array in arrays.items()}
    keys = names.recognise(arrays) if named_by is None else table_keys(named_by)
    readings, errors = {}, []
    for key in keys:
        try:
            readings[key] = names.to_ours(TABLES[key], arrays)
        except names.NamesError as error:
            errors.append(f"As {key}: {error}")
    if readings:
        return readings
    some = ", ".join(list(arrays)[:5])
    reason = " ".join(errors) or f"Nobody known names weights so: {some}, ..."
    raise CheckpointError(
        f"The arrays of {path} cannot be read. {reason} Known are: {', '.join(TABLES)}."
    )


def table_keys(codebase: str) -> list[str]:
    """List the tables of a codebase, or the one table named whole.

    Raises:
        ValueError: there is none.
    """
    keys = [key for key in TABLES if codebase in (key, key.split("/")[0])]
    if not keys:
        known = sorted({*TABLES, *(key.split("/")[0] for key in TABLES)})
        raise ValueError(
            f"nothing is known of the names of {codebase!r}; {closest(codebase, known)}"
        )
    return keys


def rename(variables: tree.Nested, codebase: str, network: str) -> dict[str, np.ndarray]:
    """Give variables of ours the names and layouts of another codebase.

    Args:
        variables: `{'params': ..., 'batch_stats': ...}`.
        codebase: as in `table_keys`.
        network: what network they are; decides where several of the codebase's would do.

    Raises:
        vidpretrain.convert.names.NamesError: it has no names for this network.
        ValueError: several of its networks would do.
    """
    renamed, errors = {}, []
    for key in table_keys(codebase):
        try:
            renamed[key] = names.to_theirs(TABLES[key], variables)
        except names.NamesError as error:
            errors.append(f"{key}: {error}")
    if not renamed:
        raise names.NamesError(f"{codebase} has no names for {network}. " + "\n".join(errors))
    first = next(iter(renamed.values()))
    if all(other.keys() == first.keys() for other in renamed.values()):
        return first
    # The key mmaction2/csn_ir is that of csn50, for example.
    alike = [key for key in renamed if network.startswith(key.split("/")[1].split("_")[0])]
    if len(alike) != 1:
        raise ValueError(f"{network} could be any of {', '.join(renamed)}: say which.")
    return renamed[alike[0]]
