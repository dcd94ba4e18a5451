# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""`data beam LIST --root DIR --out DIR`: packing on a cluster, as a tensorflow-datasets builder.

Apache Beam runs it on Flink, Spark or Dataflow, or on this machine. Beam and our other libraries
want other versions of the same ones, so it has an environment of its own:
`requirements-beam.txt`.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from vidpretrain.data import list_flags
from vidpretrain.data.bad_input import BadInput
from vidpretrain.data.pack_command import add_packing, what_to_pack
from vidpretrain.data.packed import (
    NAME,
    VERSION,
    encode_clip,
    features,
    from_example,
    to_example,
    write_index,
)
from vidpretrain.data.packing import PackError, Plan, manifest_path
from vidpretrain.data.prepared import Records, find_prepared
from vidpretrain.data.source import Source

_DESCRIPTION = """\
Pack the videos of a list as `pack` does, by Apache Beam. Every machine must see the files and the
folder. Arguments that are not listed here go to Beam's pipeline.

  pip install -r requirements-beam.txt
  python -m vidpretrain.data beam train.txt --test val.txt --root /data/k400 \\
      --out /data/k400_packed --runner FlinkRunner --flink_master HOST:8081 --parallelism 64
"""


class PackedVideos(tfds.core.GeneratorBasedBuilder):
    """A packed data set, made by a Beam pipeline."""

    # A module without packages: of others, tensorflow-datasets looks for documentation files.
    __module__ = NAME
    name = NAME
    VERSION = tfds.core.Version(VERSION)

    def __init__(self, *, parts: Sequence[tuple[Source, Plan]], **options: Any) -> None:
        """Prepare to pack.

        Args:
            parts: For every split what is packed, which is sent to every worker, and how. The
                plans' shards are not used, for Beam makes its own.
            **options: Those of every builder, such as `data_dir`.

        Raises:
            PackError: The splits have not the same classes.
        """
        if len({plan.class_names for _, plan in parts}) != 1:
            raise PackError("the lists have other classes; give both the same --classes FILE")
        self._parts = parts
        super().__init__(file_format="array_record", **options)

    def _info(self) -> tfds.core.DatasetInfo:
        class_names = self._parts[0][1].class_names
        return tfds.core.DatasetInfo(builder=self, features=features(class_names))

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {plan.split: self._generate_examples(source, plan) for source, plan in self._parts}

    def _generate_examples(self, source: Source, plan: Plan) -> Any:
        import apache_beam as beam

        return (
            f"examples of {plan.split}" >> beam.Create(range(len(plan.paths)))
            | f"share of {plan.split}" >> beam.Reshuffle()
            | f"encode {plan.split}" >> beam.FlatMap(functools.partial(keyed_record, source, plan))
        )


def keyed_record(source: Source, plan: Plan, example: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield an example's number and record, or nothing if it cannot be used."""
    try:
        clip = encode_clip(source, example, plan.paths[example], plan.encoding)
    except BadInput:
        return
    yield example, to_example(clip)


def main(arguments: Sequence[str]) -> int:
    """Pack what the arguments name; return the exit code."""
    from apache_beam.options.pipeline_options import PipelineOptions

    parser = list_flags.list_parser("beam", _DESCRIPTION)
    add_packing(parser)
    parser.add_argument("--test", default="", metavar="LIST", help="a list of the split test, too")
    flags, of_beam = parser.parse_known_args(arguments)
    parts = [what_to_pack(flags)]
    if flags.test:
        of_test = {**vars(flags), "list": flags.test, "split": "test"}
        parts.append(what_to_pack(argparse.Namespace(**of_test)))
    builder = PackedVideos(parts=parts, data_dir=flags.out)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(beam_options=PipelineOptions(of_beam))
    )
    folder = find_prepared(os.fspath(flags.out))
    for _, plan in parts:
        packed = note_records(folder, plan)
        print(f"{folder}: packed {packed} of {len(plan.paths)} clips as {plan.split}")
    return 0


def note_records(folder: Path, plan: Plan) -> int:
    """Write what training and people want to know of a split's records, by reading them all.

    Args:
        folder: Of the data set.
        plan: How it was packed.

    Returns:
        Number of records.
    """
    records = Records(folder, plan.split)
    clips = [from_example(records[number]) for number in range(len(records))]
    write_index(
        folder,
        plan.split,
        [clip.label for clip in clips],
        [clip.index.num_frames for clip in clips],
    )
    packed = {clip.path for clip in clips}
    content = {
        "split": plan.split,
        "listed": len(plan.paths),
        "packed": len(clips),
        "failures": [{"path": path} for path in plan.paths if path not in packed],
        "origin": plan.origin,
        "fingerprint": plan.fingerprint,
    }
    manifest_path(folder, plan.split).write_text(json.dumps(content, indent=1))
    return len(clips)
