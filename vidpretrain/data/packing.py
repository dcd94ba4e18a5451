# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Packing: from a source to `array_record` shards that tensorflow-datasets can read.

Clips are encoded by many processes, and written in the list's order to shards of a fixed number
of clips. A shard is written to the side and renamed when it is whole, with a note of what is in
it; a run that was stopped goes on with the shards that have no note. Several machines that see
the same folder can share the work; whoever finishes last writes what makes a data set of the
shards.

A file that cannot be used is left out and entered in the manifest.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
from tqdm import tqdm

import vidpretrain
from vidpretrain.data.bad_input import BadInput
from vidpretrain.data.isolated import map_isolated
from vidpretrain.data.packed import (
    NAME,
    VERSION,
    Encoding,
    PackedClip,
    encode_clip,
    features,
    to_example,
    write_index,
)
from vidpretrain.data.source import Source

_CLIP_LIMIT_SEC = 300.0


class PackError(ValueError):
    """A data set that cannot be packed; the message says why."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is packed into which shards.

    Attributes:
        split: Name of the split.
        paths: What the records are called, one for each of the source's examples.
        class_names: By label.
        encoding: How clips are stored.
        origin: What a manifest says of the source: its lists and their hashes.
        clips_per_shard: Examples of a shard, the last one's excepted.
    """

    split: str
    paths: tuple[str, ...] = dataclasses.field(repr=False)
    class_names: tuple[str, ...] = dataclasses.field(repr=False)
    encoding: Encoding
    origin: dict[str, Any]
    clips_per_shard: int = 64

    def __post_init__(self) -> None:
        if not self.split.isidentifier():
            raise PackError(f"split {self.split!r}; it must be a word such as train")
        if self.clips_per_shard < 1:
            raise PackError(f"clips_per_shard is {self.clips_per_shard}; it must be at least 1")
        if not self.paths:
            raise PackError("there is nothing to pack")

    @property
    def num_shards(self) -> int:
        """Return the number of shards."""
        return math.ceil(len(self.paths) / self.clips_per_shard)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Return a hash of everything that decides what is in the shards."""
        return hashlib.sha256(json.dumps(dataclasses.asdict(self)).encode()).hexdigest()

    def examples(self, shard: int) -> range:
        """Return the examples of a shard."""
        start = shard * self.clips_per_shard
        return range(start, min(start + self.clips_per_shard, len(self.paths)))

    def shard_path(self, out: Path, shard: int) -> Path:
        """Return a shard's file, named as tensorflow-datasets expects it."""
        return out / f"{NAME}-{self.split}.array_record-{shard:05d}-of-{self.num_shards:05d}"

    def note_path(self, out: Path, shard: int) -> Path:
        """Return the file that says that a shard is whole, and what is in it."""
        return out / "shards" / f"{self.split}-{shard:05d}-of-{self.num_shards:05d}.json"


@dataclasses.dataclass
class ShardNote:
    """What is in a shard.

    Attributes:
        fingerprint: Of the plan that it belongs to.
        labels: Of its records.
        lengths: Of its records, in frames.
        record_bytes: Of all records together.
        failures: What could not be used: path, fault, detail.
        sha256: Hash of the file.
    """

    fingerprint: str
    labels: list[int] = dataclasses.field(default_factory=list)
    lengths: list[int] = dataclasses.field(default_factory=list)
    record_bytes: int = 0
    failures: list[dict[str, str]] = dataclasses.field(default_factory=list)
    sha256: str = ""


def pack(source: Source, plan: Plan, out: Path, *, shards: Sequence[int], num_workers: int) -> bool:
    """Write shards, and the data set's description once all are there.

    Args:
        source: What is packed.
        plan: Into which shards.
        out: Folder of the data set; made if it is missing. Other splits may be in it.
        shards: Which shards this call is to write; those that are whole already are not touched.
        num_workers: Processes that encode; 0 for this one.

    Returns:
        Whether the split is complete.

    Raises:
        PackError: The folder has shards of another plan, or a split with other classes.
    """
    (out / "shards").mkdir(parents=True, exist_ok=True)
    _check_same_classes(out, plan)
    missing = [shard for shard in shards if read_note(out, plan, shard) is None]
    examples = [example for shard in missing for example in plan.examples(shard)]
    # `map_isolated` calls with one argument: everything else is bound, and sent once.
    work = functools.partial(_encode, source, plan)
    outcomes = _in_order(
        map_isolated(work, examples, num_workers=num_workers, limit_sec=_CLIP_LIMIT_SEC)
    )
    with tqdm(
        total=sum(len(plan.examples(shard)) for shard in shards),
        initial=sum(len(plan.examples(shard)) for shard in shards) - len(examples),
        unit="clip",
        desc=f"pack {plan.split}",
    ) as progress:
        for shard in missing:
            _write_shard(out, plan, shard, outcomes, progress)
    return describe(out, plan)


def _encode(source: Source, plan: Plan, example: int) -> PackedClip:
    return encode_clip(source, example, plan.paths[example], plan.encoding)


def _in_order(
    outcomes: Iterator[tuple[int, PackedClip | BadInput]],
) -> Iterator[PackedClip | BadInput]:
    """Yield outcomes by position; those that come early wait."""
    waiting: dict[int, PackedClip | BadInput] = {}
    expected = 0
    for position, outcome in outcomes:
        waiting[position] = outcome
        while expected in waiting:
            yield waiting.pop(expected)
            expected += 1


def _write_shard(
    out: Path,
    plan: Plan,
    shard: int,
    outcomes: Iterator[PackedClip | BadInput],
    progress: tqdm,
) -> None:
    from array_record.python import array_record_module
    from tensorflow_datasets.core.example_serializer import ExampleSerializer

    of_record = features(plan.class_names)
    serializer = ExampleSerializer(of_record.get_serialized_info())
    path, note = plan.shard_path(out, shard), ShardNote(plan.fingerprint)
    part = path.with_name(path.name + ".tmp")
    # Groups of one record: any of them can be read without the others. Videos and pictures are
    # compressed already.
    writer = array_record_module.ArrayRecordWriter(os.fspath(part), "group_size:1,uncompressed")
    for _ in plan.examples(shard):
        outcome = next(outcomes)
        if isinstance(outcome, BadInput):
            failure = {"path": outcome.path, "fault": outcome.fault, "detail": outcome.detail}
            note.failures.append(failure)
        else:
            record = serializer.serialize_example(of_record.encode_example(to_example(outcome)))
            writer.write(record)
            note.labels.append(outcome.label)
            note.lengths.append(outcome.index.num_frames)
            note.record_bytes += len(record)
        progress.update()
    writer.close()
    note.sha256 = _hash_and_sync(part)
    part.replace(path)
    _write_json(plan.note_path(out, shard), dataclasses.asdict(note))


def read_note(out: Path, plan: Plan, shard: int) -> ShardNote | None:
    """Return what is in a shard, or None if it is not whole yet.

    Raises:
        PackError: It belongs to another plan.
    """
    try:
        note = ShardNote(**json.loads(plan.note_path(out, shard).read_text()))
    except FileNotFoundError:
        return None
    if note.fingerprint != plan.fingerprint:
        raise PackError(
            f"{out} has been begun with another list or other settings; name another folder, or "
            "delete it"
        )
    return note if plan.shard_path(out, shard).is_file() else None


def describe(out: Path, plan: Plan) -> bool:
    """Make a data set of the shards, if all are there.

    Returns:
        Whether they are.
    """
    notes = [read_note(out, plan, shard) for shard in range(plan.num_shards)]
    whole = [note for note in notes if note is not None]
    if len(whole) < len(notes):
        return False
    write_index(
        out,
        plan.split,
        [label for note in whole for label in note.labels],
        [length for note in whole for length in note.lengths],
    )
    _write_json(manifest_path(out, plan.split), manifest(out, plan, whole))
    _write_description(out, plan.class_names)
    return True


def manifest(out: Path, plan: Plan, notes: Sequence[ShardNote]) -> dict[str, Any]:
    """Return what is in a split, where it came from, and how it was made."""
    return {
        "split": plan.split,
        "listed": len(plan.paths),
        "packed": sum(len(note.labels) for note in notes),
        "failures": [failure for note in notes for failure in note.failures],
        "class_names": plan.class_names,
        "origin": plan.origin,
        "encoding": dataclasses.asdict(plan.encoding),
        "fingerprint": plan.fingerprint,
        "shards": [
            {
                "file": plan.shard_path(out, shard).name,
                "sha256": note.sha256,
                "clips": len(note.labels),
                "record_bytes": note.record_bytes,
            }
            for shard, note in enumerate(notes)
        ],
        "versions": {"vidpretrain": vidpretrain.__version__, "av": av.__version__},
    }


def manifest_path(out: Path, split: str) -> Path:
    """Return where the manifest of a split lies."""
    return out / f"manifest-{split}.json"


def _write_description(out: Path, class_names: Sequence[str]) -> None:
    """Write what tensorflow-datasets needs to know, of all splits that are complete."""
    # Here, for it takes half a second to import.
    import tensorflow_datasets as tfds

    splits = []
    for path in sorted(out.glob("manifest-*.json")):
        content = json.loads(path.read_text())
        template = tfds.core.ShardedFileTemplate(
            data_dir=out,
            dataset_name=NAME,
            split=content["split"],
            filetype_suffix="array_record",
            template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        )
        splits.append(
            tfds.core.SplitInfo(
                name=content["split"],
                shard_lengths=[shard["clips"] for shard in content["shards"]],
                num_bytes=sum(shard["record_bytes"] for shard in content["shards"]),
                filename_template=template,
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=os.fspath(out),
        features=features(class_names),
        split_infos=splits,
        version=VERSION,
        check_data=False,  # That needs TensorFlow, and every shard has been read for its hash.
    )


def _check_same_classes(out: Path, plan: Plan) -> None:
    for path in out.glob("manifest-*.json"):
        content = json.loads(path.read_text())
        if tuple(content["class_names"]) != plan.class_names:
            raise PackError(
                f"{path} has other classes than this list; give both the same file of classes, "
                "or name another folder"
            )


def _hash_and_sync(path: Path) -> str:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    part = path.with_name(path.name + ".tmp")
    with part.open("w") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
