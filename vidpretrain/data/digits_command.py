# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""`data digits --out DIR`: the embedded moving digits as files, to try everything on."""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from vidpretrain.data import list_flags
from vidpretrain.data.digits import SPLIT_SHARES, Digits, Scene, moving_digits
from vidpretrain.data.encode import CONTAINERS, encode_jpeg, encode_video
from vidpretrain.data.isolated import map_isolated

_JPEG = "jpeg"
FRAME_TEMPLATE = "img_{:05d}.jpg"
# Usual rates are made for large pictures. At 32 pixels they freeze the noise between frames, and
# with it small motions.
_FINE = {
    "mp4": {"crf": "8"},
    "mkv": {"crf": "8"},
    "webm": {"crf": "8", "b": "0"},
    "avi": {"b": "4000000"},
}
_JPEG_QUALITY = 95
_DESCRIPTION = """\
Write moving digits as real files: one video a clip, or a folder of JPEG frames, below a folder
a class; and lists of the splits with numbers (train.txt) and the names of classes (classes.txt).

  python -m vidpretrain.data digits --out digits
  python -m vidpretrain.data digits --out digits_jpeg --format jpeg
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m vidpretrain.data digits",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    parser.add_argument("--format", default="mp4", choices=[*CONTAINERS, _JPEG])
    parser.add_argument("--clips", type=int, default=0, help="of each split; 0: all")
    parser.add_argument(
        "--clip-frames", type=int, default=24, help="frames of a clip (%(default)s)"
    )
    for name, default in dataclasses.asdict(Scene()).items():
        several = isinstance(default, tuple)
        parser.add_argument(
            "--" + name.replace("_", "-"),
            type=type(default[0] if several else default),
            nargs=2 if several else None,
            default=default,
            help="of the scene (%(default)s)",
        )
    parser.add_argument("--seed", type=int, default=0)
    list_flags.add_workers(parser)
    flags = parser.parse_args(arguments)
    chosen = {field.name: getattr(flags, field.name) for field in dataclasses.fields(Scene)}
    scene = {name: tuple(v) if isinstance(v, list) else v for name, v in chosen.items()}
    for split in SPLIT_SHARES:
        source = moving_digits(
            split,
            flags.seed,
            clip_frames=flags.clip_frames,
            num_clips=flags.clips or None,
            **scene,  # type: ignore[arg-type]
        )
        write_clips(source, flags.out, flags.format, num_workers=flags.workers)
    (flags.out / "classes.txt").write_text("".join(f"{name}\n" for name in source.class_names))
    print(f"{flags.out}: train.txt, validation.txt, test.txt, classes.txt")
    return 0


def write_clips(source: Digits, out: Path, form: str, *, num_workers: int = 0) -> None:
    """Write all clips of a source, and their list, `SPLIT.txt`.

    Args:
        source: Moving digits.
        out: Folder; made if it is missing.
        form: A name in `encode.CONTAINERS`, or "jpeg" for folders of frames, whose list is in
            TSN's format.
        num_workers: Processes; 0 for this one.
    """
    paths = [clip_path(source, example, form) for example in range(len(source))]
    for folder in {(out / path).parent for path in paths}:
        folder.mkdir(parents=True, exist_ok=True)
    work = map_isolated(
        functools.partial(_write_clip, source, out, form),
        range(len(source)),
        num_workers=num_workers,
    )
    for _, failed in tqdm(work, total=len(source), desc=source.split, unit="clip", disable=None):
        if failed is not None:
            raise OSError(str(failed))
    frames = f" {source.clip_frames}" if form == _JPEG else ""
    lines = [f"{path}{frames} {source.label(example)}\n" for example, path in enumerate(paths)]
    (out / f"{source.split}.txt").write_text("".join(lines))


def clip_path(source: Digits, example: int, form: str) -> str:
    """Return where a clip lies below the folder that is written."""
    name = source.class_names[source.label(example)].replace(" ", "_")
    suffix = "" if form == _JPEG else f".{form}"
    return f"{source.split}/{name}/{example:05d}{suffix}"


def _write_clip(source: Digits, out: Path, form: str, example: int) -> None:
    path = out / clip_path(source, example, form)
    clip = source.frames(example, range(source.clip_frames))
    if form != _JPEG:
        path.write_bytes(encode_video(clip, extension=form, options=_FINE[form]))
        return
    path.mkdir(exist_ok=True)
    for number, frame in enumerate(clip, 1):
        (path / FRAME_TEMPLATE.format(number)).write_bytes(
            encode_jpeg(frame, quality=_JPEG_QUALITY)
        )
