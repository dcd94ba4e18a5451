# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Who may import whom: the arrows of the house point one way."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vidpretrain"

# Rooms of ours that a room may import, itself aside; all may import `suggest` and `commands`.
ROOMS = {
    "ops": set(),
    "models": {"ops"},
    "convert": {"models"},
    "data": set(),
    "parallel": set(),
    "train": {"models", "convert", "data", "parallel"},
    "analyze": {"ops", "models", "convert", "data", "parallel", "train", "config"},
    "config": set(),
    "suggest": set(),
    "commands": set(),
    "main": {"analyze", "config", "convert", "data", "parallel", "train"},
    "__init__": {"convert", "models"},
}
FORBIDDEN = {
    "data": {"jax", "flax", "optax", "orbax"},
    "convert": {"torch", "pickle"},
    "": {"tensorflow", "torch", "pickle"},
}
ONLY_IN = {"ml_collections": {"config"}}


def imports(path: Path) -> set[str]:
    """Return the dotted names of everything that a file imports, within functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import by full name"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_follow_the_arrows(path):
    room = room_of(path)
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "vidpretrain" and rest:
            target = rest[0]
            assert target in ROOMS, f"{name}: no such room"
            assert target in {room, "suggest", "commands"} | ROOMS[room], (
                f"{room} may not import {target}"
            )
        for where, modules in FORBIDDEN.items():
            assert not (where in ("", room) and top in modules), f"{room} may not import {name}"
        if top in ONLY_IN:
            assert room in ONLY_IN[top], f"only {ONLY_IN[top]} may import {top}"


def test_recipes_import_nothing_of_ours_but_config():
    for path in (ROOT / "configs").glob("*.py"):
        ours = {name for name in imports(path) if name.startswith("vidpretrain")}
        assert all(name.startswith("vidpretrain.config") for name in ours), path


def test_rooms_are_all_known():
    assert {room_of(path) for path in FILES} == set(ROOMS)


def test_every_import_is_required():
    """What is imported at run time is in requirements.txt, under its distribution's name."""
    distribution = {
        "cv2": "opencv-python-headless",
        "sklearn": "scikit-learn",
        "orbax": "orbax-checkpoint",
        "absl": "absl-py",
        "ml_collections": "ml-collections",
        "ml_dtypes": "ml-dtypes",
        "tree": "dm-tree",
        "tensorflow_datasets": "tensorflow-datasets",
        "array_record": "array-record",
        "apache_beam": "apache-beam",
    }

    def required_by(file: str) -> set[str]:
        return set(re.findall(r"^([A-Za-z0-9-]+)", (ROOT / file).read_text(), re.MULTILINE))

    for path in FILES:
        # Beam has an environment of its own.
        of_beam = path == PACKAGE / "data" / "beam_command.py"
        required = required_by("requirements-beam.txt" if of_beam else "requirements.txt")
        for name in imports(path):
            top = name.split(".")[0]
            if top != "vidpretrain" and top not in sys.stdlib_module_names:
                assert distribution.get(top, top) in required, f"{path} imports {top}"
