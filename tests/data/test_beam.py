# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Packing by Apache Beam, on its local runner, in the environment that it needs for itself."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vidpretrain.data import make_source
from vidpretrain.data.digits import moving_digits
from vidpretrain.data.encode import encode_video

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def beam_python(tmp_path_factory):
    """The Python of a new environment with `requirements-beam.txt`."""
    folder = tmp_path_factory.mktemp("beam")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    requirements = ROOT / "requirements-beam.txt"
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", requirements], check=True)
    return python


@pytest.mark.long
def test_beam_packs_what_pack_packs(beam_python, tmp_path):
    digits = moving_digits("test", num_clips=6, canvas_px=64, noise=0.0)
    lines = []
    for example in range(6):
        data = encode_video(digits.frames(example, range(24)))
        (tmp_path / f"{example}.mp4").write_bytes(data)
        lines.append(f"{example}.mp4 class{digits.label(example)}")
    (tmp_path / "train.txt").write_text("\n".join([*lines, f"missing.mp4 class{digits.label(0)}"]))
    (tmp_path / "test.txt").write_text("\n".join(lines))
    for command in ("pack train.txt --out local --workers 0", "beam train.txt --test test.txt"):
        name, *arguments = command.split()
        python, out = (beam_python, ["--out", "beam"]) if name == "beam" else (sys.executable, [])
        done = subprocess.run(
            [python, "-m", "vidpretrain.data", name, *arguments, *out, "--short-side", "32"],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "packed 6 of 7 clips as train" in done.stdout
    local, train, test = (
        make_source("packed", split=split, folder=str(tmp_path / folder))
        for split, folder in (("train", "local"), ("train", "beam"), ("test", "beam"))
    )
    assert local.class_names == train.class_names
    # Beam writes records in an order of its own.
    for source in (train, test):
        assert sorted(map(fingerprint(source), range(6))) == sorted(
            map(fingerprint(local), range(6))
        )


def fingerprint(source):
    """Return what tells a source's examples apart, bit for bit."""

    def of_example(example: int) -> tuple[int, int, bytes]:
        frames = source.frames(example, range(source.num_frames(example)))
        return (
            source.label(example),
            source.num_frames(example),
            np.ascontiguousarray(frames).tobytes(),
        )

    return of_example
