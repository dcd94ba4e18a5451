# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Traces of chosen training steps, for TensorBoard's profile plugin and xprof."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import jax

from vidpretrain.train.state import TrainState
from vidpretrain.train.step import Metrics, TrainStep

FOLDER = "profile"


class ProfiledStep:
    """A train step that traces host and devices from one step to another; use it within `with`.

    The trace lies in `FOLDER/plugins/profile/TIME/HOST.xplane.pb`. It ends when the devices are
    done with the last step of it, the only one that is waited for.
    """

    def __init__(
        self, train_step: TrainStep, folder: Path, *, steps: tuple[int, int], start_step: int
    ) -> None:
        """Wrap a step.

        Args:
            train_step: compiled, or to be compiled at its first call.
            folder: where the trace goes.
            steps: the first and the last one to trace, counted from 1 as in the metrics.
            start_step: steps taken already.
        """
        self._train_step = train_step
        self._folder = folder
        self._first, self._last = steps
        self._step = start_step
        self._tracing = False

    def __call__(
        self, state: TrainState, batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[TrainState, Metrics]:
        """Take one step."""
        self._step += 1
        if not self._first <= self._step <= self._last:
            return self._train_step(state, batch, key)
        if not self._tracing:
            # What was dispatched before is none of the trace.
            jax.block_until_ready(state)
            jax.profiler.start_trace(self._folder)
            self._tracing = True
        with jax.profiler.StepTraceAnnotation("train", step_num=self._step):
            result = self._train_step(state, batch, key)
        if self._step == self._last:
            jax.block_until_ready(result)
            self._stop()
        return result

    def __enter__(self) -> ProfiledStep:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._tracing:
            self._stop()

    def _stop(self) -> None:
        jax.profiler.stop_trace()
        self._tracing = False


def check_steps(steps: tuple[int, ...], total: int) -> None:
    """Make sure that steps can be traced.

    Args:
        steps: first and last, or none.
        total: steps of the training; a stage without any only tests, and traces nothing.

    Raises:
        ValueError: they are something else, or none of the training.
    """
    if not steps or not total:
        return
    if len(steps) != 2 or not all(type(step) is int for step in steps):
        raise ValueError(
            f"profile.profile_steps={steps}; it must be the first and the last step to trace, "
            "such as (10, 12), or () for none"
        )
    first, last = steps
    if not 1 <= first <= last <= total:
        raise ValueError(
            f"profile.profile_steps={steps}; the first step must be at least 1, the last no less "
            f"than the first and no more than the {total} steps of the training"
        )
