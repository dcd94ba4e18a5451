# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""One checkpoint is one folder: arrays, a card, and a manifest that vouches for both.

```
FOLDER/state/           the arrays, an orbax tree: params, batch_stats, in training all the rest
FOLDER/card.json        which network this is and what input it wants (`Card`)
FOLDER/manifest.json    size and SHA-256 of every other file; written last
```

A folder is built beside its destination and renamed when it is whole, so that no reader ever sees
half of one. A folder whose manifest is missing or does not hold is not a checkpoint.

Note:
    Orbax alone restores a checkpoint with a flipped bit, or half a file, without a word; hence
    the manifest. It has a digest of its own, so that a flipped bit in it is caught as well.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from etils import epath

from vidpretrain.convert import tree
from vidpretrain.suggest import closest

PathLike = str | os.PathLike[str]
VerifyLevel = Literal["hash", "size"]
"""`hash` reads every byte; `size` asks the file system alone, for huge remote stores."""

STATE, CARD, MANIFEST = "state", "card.json", "manifest.json"
STEPS = "checkpoints"
"""Name of the folder of steps in a stage's folder."""

# What torchvision, mmaction2 and the released networks subtract and divide by.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_FORMAT = 1
_CHUNK_BYTES = 1 << 20
_DISCARD_TRIES = 40
_DISCARD_PAUSE_SEC = 0.05


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged, or cannot be written."""


@dataclasses.dataclass(frozen=True)
class Card:
    """Say what network a checkpoint holds, what input it wants, and how far training was.

    Attributes:
        name: the network as `vidpretrain.models.make_model` takes it: `NAME[:option=value,...]`.
        num_classes: length of the logits.
        dtype: type that the network computes in.
        mean: per channel, subtracted from pixels in [0, 1].
        std: per channel, by which pixels are divided after that.
        frames: frames of a clip.
        size: height and width of a clip, pixels.
        class_names: names of the classes in the order of the logits; may be empty.
        stage: the stage of the recipe that wrote the checkpoint.
        step: training steps taken, which is the position in the data too.
        clock_sec: seconds trained, all interruptions left out.
        metric: the value by which the best checkpoint is chosen; None if not measured.
        metrics: all that was measured at this step.
    """

    name: str
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    frames: int
    size: int
    dtype: str = "float32"
    class_names: tuple[str, ...] = ()
    stage: str = ""
    step: int = 0
    clock_sec: float = 0.0
    metric: float | None = None
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def imagenet(cls, name: str, num_classes: int) -> Card:
        """Describe somebody else's network: 8 frames of 224 x 224, normalised as ImageNet is."""
        return cls(name, num_classes, IMAGENET_MEAN, IMAGENET_STD, frames=8, size=224)

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """The shape `(T, H, W, C)` of a clip."""
        return (self.frames, self.size, self.size, len(self.mean))

    def to_json(self) -> str:
        """Write the card as JSON."""
        return json.dumps({"format": _FORMAT, **dataclasses.asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Card:
        """Read a card; the inverse of `to_json`.

        Raises:
            CheckpointError: the text is no card, or one of another format.
        """
        try:
            fields = json.loads(text)
            if fields.pop("format") != _FORMAT:
                raise ValueError(f"it has not the format {_FORMAT}")
            return cls(**{key: _tuples(value) for key, value in fields.items()})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"This is no card that this version of vidpretrain reads: {error}."
            ) from error


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


# --- one folder ------------------------------------------------------------------------------


def write_checkpoint(
    path: PathLike, arrays: Any, card: Card, texts: Mapping[str, str] | None = None
) -> None:
    """Write a whole checkpoint at `path`, or nothing.

    Args:
        path: the folder to make; must not exist.
        arrays: a pytree, usually `{'params': ..., 'batch_stats': ...}`.
        card: what the arrays are.
        texts: other text files to put beside them, by name.

    Raises:
        CheckpointError: `path` exists or cannot be written.
    """
    final = as_path(path)
    refuse_existing(final)
    temporary = final.parent / f"{final.name}.tmp-{os.getpid()}"
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        tree.write_tree(temporary / STATE, arrays)
        seal(temporary, card, texts)
        publish(temporary, final)
    except Exception as error:  # orbax and TensorStore raise whatever they like
        raise CheckpointError(f"Cannot write the checkpoint {final}: {error}.") from error
    finally:
        discard(temporary)


def discard(folder: epath.Path) -> None:
    """Remove a folder, again and again for two seconds.

    After an error, threads of TensorStore may go on writing into a half-written one.

    Args:
        folder: What to remove; nothing happens if it is absent.
    """
    for _ in range(_DISCARD_TRIES):
        if not folder.exists():
            return
        with contextlib.suppress(OSError):
            folder.rmtree()
        time.sleep(_DISCARD_PAUSE_SEC)


def refuse_existing(path: PathLike) -> None:
    """Raise if something is at `path` already, for nothing is ever overwritten.

    Raises:
        CheckpointError: it exists.
    """
    if as_path(path).exists():
        raise CheckpointError(f"{path} exists already. Choose another name or move it away.")


def seal(folder: epath.Path, card: Card, texts: Mapping[str, str] | None = None) -> None:
    """Put the card and then the manifest beside arrays that are on disk.

    Args:
        folder: has `state/`; every byte of it is forced to the disk first.
        card: what the arrays are.
        texts: other text files to write, by name.
    """
    _write_durably(folder / CARD, card.to_json().encode())
    for name, text in (texts or {}).items():
        _write_durably(folder / name, text.encode())
    for path in _walk(folder):
        _sync(path)
    files = {name: _entry(folder / name) for name in _list_files(folder)}
    _write_durably(folder / MANIFEST, _manifest_bytes(files))
    _sync(folder)


def replace_card(path: PathLike, card: Card) -> None:
    """Give a checkpoint another card.

    Two files change, one right after the other: a crash just between them leaves a checkpoint that
    does not verify.

    Args:
        path: the checkpoint's folder.
        card: the new one.

    Raises:
        CheckpointError: the checkpoint has no manifest that can be trusted.
    """
    folder = as_path(path)
    files = _read_manifest(folder)
    new_card, new_manifest = (folder / f"{name}.tmp" for name in (CARD, MANIFEST))
    new_card.write_bytes(card.to_json().encode())
    new_manifest.write_bytes(_manifest_bytes({**files, CARD: _entry(new_card)}))
    _sync(new_card)
    _sync(new_manifest)
    new_card.replace(folder / CARD)
    new_manifest.replace(folder / MANIFEST)
    _sync(folder)


def publish(temporary: epath.Path, final: epath.Path) -> None:
    """Rename a sealed folder to its name, durably."""
    temporary.rename(final)
    _sync(final.parent)


def verify(path: PathLike, level: VerifyLevel = "hash") -> None:
    """Check a checkpoint against its manifest.

    Args:
        path: the checkpoint's folder.
        level: `hash` or `size`.

    Raises:
        CheckpointError: a file is missing, has another size or other bytes, or there is no
            manifest that can be trusted.
    """
    folder = as_path(path)
    for name, entry in _read_manifest(folder).items():
        try:
            _verify_file(folder / name, entry, level)
        except (OSError, CheckpointError) as error:
            raise CheckpointError(f"{folder} is damaged: {name} {error}.") from error


def _verify_file(file: epath.Path, entry: Mapping[str, Any], level: VerifyLevel) -> None:
    if not file.is_file():
        raise CheckpointError("is missing")
    size = file.stat().length
    if size != entry["size"]:
        raise CheckpointError(f"has {size} bytes instead of {entry['size']}")
    if level == "hash" and _sha256(file) != entry["sha256"]:
        raise CheckpointError("has other bytes than written")


@contextlib.contextmanager
def fetched(checkpoint: epath.Path) -> Iterator[epath.Path]:
    """Give a checkpoint's folder on a local disk: itself, or a copy of a remote one for a while.

    Raises:
        CheckpointError: a file of the remote one is missing.
    """
    if not is_remote(checkpoint):
        yield checkpoint
        return
    with tempfile.TemporaryDirectory() as temporary:
        local = epath.Path(temporary)
        try:
            for name in (*_read_manifest(checkpoint), MANIFEST):
                (local / name).parent.mkdir(parents=True, exist_ok=True)
                (local / name).write_bytes((checkpoint / name).read_bytes())
        except OSError as error:
            raise CheckpointError(f"Cannot fetch {checkpoint}: {error}.") from error
        yield local


def as_path(path: PathLike) -> epath.Path:
    """Make a path that both local and remote stores take; local ones absolute, as orbax wants."""
    return epath.Path(path if is_remote(path) else os.path.abspath(path))


def is_remote(path: PathLike) -> bool:
    """Say whether a path is in a remote store, such as `gs://bucket/folder`."""
    return "://" in os.fspath(path)


def is_checkpoint(path: PathLike) -> bool:
    """Say whether a folder claims to be one checkpoint; `verify` says whether it is right."""
    return (as_path(path) / MANIFEST).exists()


def read_card(path: PathLike) -> Card:
    """Read the card of the checkpoint folder `path`.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    file = as_path(path) / CARD
    try:
        return Card.from_json(file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"Cannot read the card {file}: {error}.") from error


def read_variables(path: PathLike, ema: bool | None = None) -> tree.Nested:
    """Read a network's variables from a checkpoint folder, as NumPy arrays.

    Args:
        path: the checkpoint's folder.
        ema: whether to take the exponential moving averages in place of the weights as trained;
            None takes them where training kept them, as its tests do.

    Returns:
        `{'params': ..., 'batch_stats': ...}`, without what else training keeps.

    Raises:
        CheckpointError: it holds no weights, or no averages of them.
    """
    state = as_path(path) / STATE
    has_ema = any(name.startswith("ema/") for name in tree.stored_leaves(state))
    if ema and not has_ema:
        raise CheckpointError(f"{path} holds no moving averages; take the weights as trained.")
    prefix = "ema/" if has_ema and ema is not False else ""
    wanted = tuple(f"{prefix}{collection}/" for collection in ("params", "batch_stats"))
    arrays = tree.read_tree(state, keep=lambda name: name.startswith(wanted))
    variables = arrays.get("ema", {}) if prefix else arrays
    if "params" not in variables:
        raise CheckpointError(f"{path} holds no weights.")
    return variables


# --- finding one -----------------------------------------------------------------------------


def find_checkpoint(
    path: PathLike, which: str | int = "latest", level: VerifyLevel = "hash"
) -> epath.Path:
    """Find the verified checkpoint that a path means.

    Args:
        path: a checkpoint's folder, a folder of steps, a stage's folder, or a working folder with
            exactly one stage in it.
        which: among steps: `latest`, `best` (by the cards' `metric`), or a step. Damaged steps
            are passed over, but for one asked for by number.
        level: how hard to look, see `verify`.

    Raises:
        CheckpointError: there is none, or there are several stages.
    """
    folder = as_path(path)
    if is_checkpoint(folder):
        verify(folder, level)
        return folder
    if not folder.is_dir():
        raise CheckpointError(f"There is no checkpoint at {folder}: no such folder.")
    return _find_step(_find_steps_folder(folder), which, level)


def list_steps(folder: epath.Path) -> list[int]:
    """List the steps in a folder of steps, rising, whether they are sound or not."""
    if not folder.is_dir():
        return []
    names = (child.name for child in folder.iterdir())
    return sorted(int(name) for name in names if re.fullmatch(r"0|[1-9]\d*", name))


def best_step(folder: epath.Path, steps: list[int]) -> int | None:
    """Choose the step with the highest metric on its card; the later one of equals.

    Args:
        folder: the folder of steps.
        steps: verified steps to choose from.

    Returns:
        The step, or None if no card has a metric.
    """
    metrics = {step: read_card(folder / str(step)).metric for step in steps}
    measured = [(metric, step) for step, metric in metrics.items() if metric is not None]
    return max(measured)[1] if measured else None


def _find_steps_folder(folder: epath.Path) -> epath.Path:
    if list_steps(folder):
        return folder
    if (folder / STEPS).is_dir():
        return folder / STEPS
    stages = sorted(c for c in folder.iterdir() if c.is_dir() and (c / STEPS).is_dir())
    if len(stages) == 1:
        return stages[0] / STEPS
    if not stages:
        raise CheckpointError(f"There is no checkpoint in {folder}.")
    raise CheckpointError(
        f"{folder} has several stages: {', '.join(stage.name for stage in stages)}. "
        f"Name one, such as {stages[-1]}."
    )


def _find_step(folder: epath.Path, which: str | int, level: VerifyLevel) -> epath.Path:
    steps = list_steps(folder)
    if str(which).isdigit():
        if int(which) not in steps:
            allowed = ", ".join(map(str, steps)) or "none"
            raise CheckpointError(f"{folder} has no step {which}. Its steps: {allowed}.")
        verify(folder / str(int(which)), level)
        return folder / str(int(which))
    if which not in ("latest", "best"):
        raise CheckpointError(
            f"which checkpoint is {which!r}? Give the number of a step or a name; "
            f"{closest(str(which), ['latest', 'best'])}"
        )
    sound, reasons = [], []
    for step in reversed(steps):
        try:
            verify(folder / str(step), level)
        except CheckpointError as error:
            reasons.append(str(error))
            continue
        sound.append(step)
        if which == "latest":
            break
    chosen = best_step(folder, sound) if which == "best" else max(sound, default=None)
    if chosen is None:
        why = " ".join(reasons) or "No step carries a metric." if steps else "It is empty."
        raise CheckpointError(f"There is no {which} checkpoint in {folder}. {why}")
    return folder / str(chosen)


# --- bytes -----------------------------------------------------------------------------------


def _walk(folder: epath.Path) -> Iterator[epath.Path]:
    """Yield everything in a folder and the folders in it (`epath`'s own drops `gs://`)."""
    for child in folder.iterdir():
        yield child
        if child.is_dir():
            yield from _walk(child)


def _list_files(folder: epath.Path) -> list[str]:
    files = (path for path in _walk(folder) if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in files)


def _entry(file: epath.Path) -> dict[str, Any]:
    return {"size": file.stat().length, "sha256": _sha256(file)}


def _sha256(file: epath.Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _manifest_bytes(files: Mapping[str, Any]) -> bytes:
    body = json.dumps(files, sort_keys=True)
    digest = hashlib.sha256(body.encode()).hexdigest()
    manifest = {"format": _FORMAT, "digest": digest, "files": files}
    return (json.dumps(manifest, sort_keys=True, indent=1) + "\n").encode()


def _read_manifest(folder: epath.Path) -> dict[str, Any]:
    file = folder / MANIFEST
    try:
        data = file.read_bytes()
        files = json.loads(data)["files"]
        # Only the very bytes that were written pass: this covers the digest and the layout too.
        if _manifest_bytes(files) != data:
            raise ValueError("its digest does not hold")
    except FileNotFoundError:
        raise CheckpointError(f"{folder} is no whole checkpoint: it has no {MANIFEST}.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} is damaged: {MANIFEST} is unusable: {error}.") from error
    return files


def _write_durably(file: epath.Path, data: bytes) -> None:
    """Write a file so that it is either absent or whole, and on the disk."""
    temporary = file.parent / f"{file.name}.tmp"
    temporary.write_bytes(data)
    _sync(temporary)
    temporary.replace(file)


def _sync(path: PathLike) -> None:
    """Force a local file or folder to the disk; object stores do so by themselves."""
    if is_remote(path):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
