# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The micro recipe with a fault in the process that asks for it, and in no other."""

import time

import jax

from tests import micro
from vidpretrain.analyze import report
from vidpretrain.config import recipe_args
from vidpretrain.data import pipeline
from vidpretrain.train import stages
from vidpretrain.train.plan import Plan

STEPS = 6
_BAD_BATCH = 3
SLOW_SEC = 9.0


def get_config(argument=""):
    args = recipe_args(argument, fault="")
    if args.fault:
        _FAULTS[args.fault]()
    return micro.get_config(f"stages=scratch,steps={STEPS}")


def _other_weights():
    """As where a checkpoint's folder is on each host's own disk, and one is older."""
    init = Plan.init
    Plan.init = lambda plan, key: jax.tree.map(lambda leaf: leaf * 1.001, init(plan, key))


def _broken_reader():
    make = pipeline.TrainBatches.__getitem__

    def fail(self, number):
        if number == _BAD_BATCH:
            raise KeyError("a mistake of this process alone")
        return make(self, number)

    pipeline.TrainBatches.__getitem__ = fail


def _slow_report():
    draw = report.draw_curves

    def draw_slowly(*args):
        time.sleep(SLOW_SEC)
        draw(*args)

    report.draw_curves = draw_slowly


def _full_disk_at_start():
    """Within what all do together, before any training."""

    def fail(*_, **__):
        raise OSError("no space left on the device")

    stages.plan_stages = fail


def _full_disk_at_end():
    """The same after all training, on the process that writes the report."""

    def fail(*_):
        raise OSError("no space left on the device")

    report.draw_curves = fail


_FAULTS = {
    "weights": _other_weights,
    "reader": _broken_reader,
    "report": _slow_report,
    "start": _full_disk_at_start,
    "end": _full_disk_at_end,
}
