# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""`data show LIST --root DIR`: a contact sheet of training clips, as the network sees them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from vidpretrain.data import list_flags
from vidpretrain.data.bad_log import BadInputLog
from vidpretrain.data.batch import Batch
from vidpretrain.data.catalog import make_source, source_names
from vidpretrain.data.clips import listed_clips
from vidpretrain.data.pipeline import train_batches
from vidpretrain.data.source import Source
from vidpretrain.data.views import make_views

_DESCRIPTION = """\
Draw training clips, sampled, cropped and flipped as the network sees them: one clip a row, with
its class. LIST may also be the name of an embedded data set, such as moving_digits.

  python -m vidpretrain.data show train.txt --root /data/k400 --stride 8 --out clips.png
"""
_BAR_PX = 14
_GAP_PX = 2
_TEXT_SCALE = 0.4


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    parser = list_flags.list_parser("show", _DESCRIPTION)
    parser.add_argument("--classes", default="", metavar="FILE", help="names of the classes")
    parser.add_argument("--clips", type=int, default=8, help="rows (%(default)s)")
    parser.add_argument("--sampling", default="dense", help="dense or segments (%(default)s)")
    parser.add_argument("--num-frames", type=int, default=8, help="of a clip (%(default)s)")
    parser.add_argument("--stride", type=int, default=8, help="dense only (%(default)s)")
    parser.add_argument("--crop", default="resized", help="as in a recipe's views.crop")
    parser.add_argument("--size-px", type=int, default=112, help="side of a clip (%(default)s)")
    parser.add_argument("--flip", action="store_true", help="mirror half of the clips")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="clips.png", metavar="FILE", help="PNG (%(default)s)")
    flags = parser.parse_args(arguments)
    source: Source
    if flags.list in source_names():
        source = make_source(flags.list, split=flags.split)
    else:
        source = listed_clips(
            "train",
            list_flags.reader_of(flags),
            train=flags.list,
            root=flags.root,
            list_format=flags.list_format,
            template=flags.template,
            classes=flags.classes,
        )
    views = make_views(
        source,
        sampling=flags.sampling,
        frames=flags.num_frames,
        stride=flags.stride,
        crop=flags.crop,
        size_px=flags.size_px,
        flip=flags.flip,
    )
    log = BadInputLog(None, most=sys.maxsize)
    with train_batches(
        source,
        views.sampling,
        views.augmentation,
        batch_size=flags.clips,
        seed=flags.seed,
        read_ahead=0,
        log=log,
    ) as batches:
        sheet = contact_sheet(next(batches), source.class_names)
    _, data = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    Path(flags.out).write_bytes(data.tobytes())
    for incident in log.incidents:
        print(f"replaced {incident.path}: {incident.fault}: {incident.detail}", file=sys.stderr)
    print(f"{flags.out}: {flags.clips} clips of {flags.num_frames} frames")
    return 0


def contact_sheet(batch: Batch, class_names: Sequence[str]) -> np.ndarray:
    """Draw a batch: a row a clip, a column a frame, the class above.

    Args:
        batch: Of clips with 3 channels.
        class_names: By label.

    Returns:
        uint8 `[H, W, 3]`, RGB.
    """
    rows = []
    for clip, label, example in zip(batch.video, batch.label, batch.example, strict=True):
        frames = np.pad(clip, ((0, 0), (0, 0), (0, _GAP_PX), (0, 0)), constant_values=255)
        strip = np.concatenate(frames, axis=1)
        bar = np.full((_BAR_PX, strip.shape[1], 3), 255, np.uint8)
        # OpenCV's letters are ASCII only.
        text = f"{class_names[label]} ({example})".encode("ascii", "replace").decode()
        cv2.putText(
            bar, text, (2, _BAR_PX - 4), cv2.FONT_HERSHEY_SIMPLEX, _TEXT_SCALE, (0, 0, 0), 1,
            cv2.LINE_AA,
        )  # fmt: skip
        rows += [bar, strip]
    return np.concatenate(rows)
