# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The store of training steps: written in the background, trusted only when verified.

```
CHECKPOINTS/1200/          a verified step (see `vidpretrain.convert.folder`)
CHECKPOINTS/1300.tmp/      being written; what a killed run leaves of it is removed
CHECKPOINTS/1100.bad-1/    found damaged and set aside, never deleted
```

A save copies the arrays off the devices, then returns; a thread waits until orbax has every byte
on the disk, hashes the files, writes the manifest, renames the folder to its step, verifies it,
and only then removes steps that are no longer wanted.

Note:
    Orbax's own manager takes an empty folder for the latest step, and may report a save that a
    full disk never got. This store counts a step only if its manifest holds.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import threading
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from vidpretrain.convert import folder, tree
from vidpretrain.convert.folder import Card, CheckpointError, PathLike, VerifyLevel

_LOG = logging.getLogger(__name__)
_FEWEST_STEPS = 2


@dataclasses.dataclass(frozen=True)
class SetAside:
    """A step that was found damaged.

    Attributes:
        step: its number.
        path: where it lies now.
        reason: what is wrong with it.
    """

    step: int
    path: str
    reason: str


class CheckpointStore:
    """Save and restore training steps under one folder.

    All processes of a run construct the store and call its methods alike, from one thread each;
    process 0 alone renames and removes. The writing thread works between `save` and `wait`, and
    every other method but `check` waits first, so that no two threads meet.

    Attributes:
        set_aside: the damaged steps found so far.
    """

    def __init__(
        self,
        path: PathLike,
        *,
        keep_last: int = 2,
        keep_every_steps: int | None = None,
        level: VerifyLevel = "hash",
    ) -> None:
        """Open the folder of steps, and remove what a killed run left half-written.

        Args:
            path: the folder; made if missing.
            keep_last: how many of the newest steps to keep, at least 2: while one is being
                replaced, two remain.
            keep_every_steps: keep for ever the first step saved at or after each multiple of this;
                None for none. The best step by metric is always kept.
            level: how hard to verify; `size` for huge remote stores.

        Raises:
            ValueError: a number out of range.
            CheckpointError: the folder cannot be made.
        """
        if keep_last < _FEWEST_STEPS:
            raise ValueError(
                f"keep_last is {keep_last}; it must be at least {_FEWEST_STEPS}, so that a sound "
                "checkpoint remains whatever happens to the newest one."
            )
        if keep_every_steps is not None and keep_every_steps < 1:
            raise ValueError(f"keep_every_steps is {keep_every_steps}; it must be 1 or more.")
        self._path = folder.as_path(path)
        self._keep_last = keep_last
        self._keep_every_steps = keep_every_steps
        self._level: VerifyLevel = level
        self._checkpointer = tree.make_checkpointer()
        self._verified: set[int] = set()
        self._writer: threading.Thread | None = None
        self._failure: CheckpointError | None = None
        self.set_aside: list[SetAside] = []
        if _is_first_process():
            self._prepare_folder()
        _barrier("checkpoint_store_open")

    def save(
        self,
        step: int,
        state: Any,
        card: Card,
        metric: float | None = None,
        *,
        replace: bool = False,
    ) -> bool:
        """Save a step; return once the arrays are copied off the devices.

        A save still under way is waited for. The arrays may be donated or overwritten afterwards.

        Args:
            step: number of the step; the card gets it too.
            state: pytree of arrays, keys and numbers, sharded or not.
            card: what the network is, and what the loop needs to go on.
            metric: the value by which the best step is chosen, higher is better; None keeps the
                card's.
            replace: write a step that the store has again; the old one stays until the new one is
                sealed.

        Returns:
            False if the store has this step already, and it is not to be replaced.

        Raises:
            CheckpointError: this save cannot be begun, or the one before has failed.
        """
        self.wait()
        if not replace and _agree(step if step in self._steps() else None) is not None:
            return False
        metric = card.metric if metric is None else metric
        card = dataclasses.replace(card, step=step, metric=metric)
        temporary = self._path / f"{step}.tmp"
        try:
            if _is_first_process():
                if temporary.exists():  # of a save of this step that failed
                    folder.discard(temporary)
                temporary.mkdir(parents=True)
            _barrier(f"checkpoint_begin_{step}")
            tree.start_write(self._checkpointer, temporary / folder.STATE, state)
        except Exception as error:
            raise self._explain(step, error) from error
        self._writer = threading.Thread(
            target=self._finish, args=(step, card), name=f"checkpoint-{step}"
        )
        self._writer.start()
        return True

    def relabel(self, step: int, card: Card) -> None:
        """Give a step that lies there another card: it was saved before it could be tested.

        Raises:
            CheckpointError: the card cannot be written.
        """
        self.wait()
        if _is_first_process():
            try:
                folder.replace_card(self._path / str(step), dataclasses.replace(card, step=step))
            except OSError as error:
                raise self._explain(step, error) from error
        _barrier(f"checkpoint_relabel_{step}")

    def check(self) -> None:
        """Raise what went wrong in the background, if anything has; never waits.

        Raises:
            CheckpointError: the last save has failed.
        """
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def wait(self) -> None:
        """Wait until the save under way is on disk and verified.

        Raises:
            CheckpointError: it has failed.
        """
        if self._writer is not None:
            self._writer.join()
            self._writer = None
            if _any_process(self._failure is not None) and self._failure is None:
                self._failure = CheckpointError("Another process cannot save; see its message.")
        self.check()

    def latest(self) -> int | None:
        """Return the newest step that verifies, or None; sets damaged newer ones aside."""
        self._forget_verified()
        return _agree(next(self._verified_steps(), None) if _is_first_process() else None)

    def best(self) -> int | None:
        """Return the verified step with the highest metric, or None if none was measured."""
        self._forget_verified()
        if not _is_first_process():
            return _agree(None)
        return _agree(folder.best_step(self._path, list(self._verified_steps())))

    def restore(self, target: Any, step: int | None = None) -> tuple[Any, Card]:
        """Restore a verified step, by default the newest.

        Args:
            target: tree like the saved state: arrays, or `jax.ShapeDtypeStruct` with the sharding
                wanted, on any mesh.
            step: which one; if it is damaged, it is set aside and the next older one is taken.

        Returns:
            The state, equal bit by bit to the one saved, and its card.

        Raises:
            CheckpointError: no step verifies.
            vidpretrain.convert.tree.MismatchError: the state saved does not fit `target`.
        """
        self._forget_verified()
        newest = self._steps()[-1:] if step is None else [step]
        chosen = None
        if newest and _is_first_process():
            chosen = next((s for s in self._verified_steps() if s <= newest[0]), None)
        chosen = _agree(chosen)
        if chosen is None:
            raise CheckpointError(f"There is no sound checkpoint in {self._path} to restore.")
        path = self._path / str(chosen)
        return tree.restore_tree(path / folder.STATE, target), folder.read_card(path)

    def _forget_verified(self) -> None:
        """Have every step verified anew: bytes may rot after they were verified first."""
        self.wait()
        self._verified.clear()

    # --- process 0 alone, also from the writing thread ---

    def _prepare_folder(self) -> None:
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            for child in self._path.iterdir():
                if re.fullmatch(r"\d+\.tmp", child.name):
                    folder.discard(child)
        except OSError as error:
            raise CheckpointError(
                f"The folder of checkpoints {self._path} cannot be used: {error}."
            ) from error

    def _finish(self, step: int, card: Card) -> None:
        try:
            self._checkpointer.wait_until_finished()
            if _is_first_process():
                temporary = self._path / f"{step}.tmp"
                folder.seal(temporary, card)
                # The hashes were just taken of what the disk gives back: sizes are left to check.
                folder.verify(temporary, "size")
                folder.discard(self._path / str(step))  # Only one that is to be replaced exists.
                folder.publish(temporary, self._path / str(step))
                self._verified.add(step)
                self._remove_unwanted()
        except Exception as error:
            self._failure = self._explain(step, error)
            self._failure.__cause__ = error
            _LOG.error("%s", self._failure)

    def _explain(self, step: int, error: Exception) -> CheckpointError:
        saved = self._steps()
        remains = f"Step {saved[-1]} is the last one saved." if saved else "No step is saved yet."
        return CheckpointError(f"Cannot save step {step} in {self._path}: {error}. {remains}")

    def _steps(self) -> list[int]:
        return folder.list_steps(self._path)

    def _verified_steps(self) -> Iterator[int]:
        """Yield the steps that verify, newest first; set the others aside on the way."""
        for step in reversed(self._steps()):
            if self._is_sound(step):
                yield step

    def _is_sound(self, step: int) -> bool:
        if step in self._verified:
            return True
        try:
            folder.verify(self._path / str(step), self._level)
        except CheckpointError as error:
            self._put_aside(step, str(error))
            return False
        self._verified.add(step)
        return True

    def _put_aside(self, step: int, reason: str) -> None:
        taken = {child.name for child in self._path.iterdir()}
        names = (f"{step}.bad-{n}" for n in range(1, len(taken) + 2))
        place = self._path / next(name for name in names if name not in taken)
        (self._path / str(step)).rename(place)
        self.set_aside.append(SetAside(step, str(place), reason))
        _LOG.warning("Step %d is set aside as %s. %s", step, place, reason)

    def _remove_unwanted(self) -> None:
        sound = list(self._verified_steps())
        wanted = {*sound[: self._keep_last], folder.best_step(self._path, sound)}
        if self._keep_every_steps is not None:
            first = {step // self._keep_every_steps: step for step in sorted(sound, reverse=True)}
            wanted |= {step for interval, step in first.items() if interval}
        for step in set(sound) - wanted:
            # Renamed first: a removal that is cut short must not leave half a step.
            doomed = self._path / f"{step}.tmp"
            self._verified.discard(step)
            try:
                (self._path / str(step)).rename(doomed)
                folder.discard(doomed)
            except OSError as error:
                _LOG.warning("Cannot remove the old step %d: %s.", step, error)


def _is_first_process() -> bool:
    return jax.process_index() == 0


def _barrier(name: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def _any_process(flag: bool) -> bool:
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.asarray(flag)).any())


def _agree(step: int | None) -> int | None:
    """Give every process the step that process 0 chose."""
    if jax.process_count() == 1:
        return step
    chosen = int(multihost_utils.broadcast_one_to_all(-1 if step is None else step))
    return None if chosen < 0 else chosen
