# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The micro recipe with one window of a run held open, for a signal to hit it.

`SIGNS` has the windows, and what a run says when it is in one.
"""

import hashlib
import sys
import time

from tests import micro
from vidpretrain.config import recipe_args
from vidpretrain.convert import folder
from vidpretrain.data import pipeline
from vidpretrain.train import step, testing

STEPS = 30
_LAST_STEP = 6  # before the window of training, and of waiting for data
SIGNS = {
    "compilation": "WINDOW",
    "training": f"step {_LAST_STEP}/{STEPS}",
    "testing": "WINDOW",
    "saving": "WINDOW",
    "waiting": f"step {_LAST_STEP}/{STEPS}",
}
# 0.8 s on one core. Long enough to be hit, and foreign code as a compilation is.
_ROUNDS = 3_000_000


def get_config(argument=""):
    args = recipe_args(argument, window="")
    if args.window:
        _HOLD_OPEN[args.window]()
    config = micro.get_config(f"stages=scratch,steps={STEPS}")
    config.scratch.test.every = "5 steps"
    config.scratch.checkpoint.every = "4 steps"
    return config


def _announce():
    print("WINDOW", file=sys.stderr, flush=True)


def _compilation():
    make = step.make_train_step

    def make_slow(*args, **options):
        train_step = make(*args, **options)

        def traced(*step_args):
            _announce()
            hashlib.pbkdf2_hmac("md5", b"", b"", _ROUNDS)
            return train_step(*step_args)

        return traced

    step.make_train_step = make_slow


def _training():
    _slow_batches(lambda number: 0.1 if number > _LAST_STEP else 0.0)


def _waiting():
    # As if for ever: a reader that hangs keeps no process that was asked to end.
    _slow_batches(lambda number: 600.0 if number == _LAST_STEP else 0.0)


def _slow_batches(seconds_of):
    make = pipeline.TrainBatches.__getitem__

    def make_slowly(self, number):
        time.sleep(seconds_of(number))
        return make(self, number)

    pipeline.TrainBatches.__getitem__ = make_slowly


def _testing():
    evaluate = testing.evaluate

    def evaluate_slowly(eval_step, *args, **options):
        def slow_step(*step_args):
            _announce()
            time.sleep(0.5)
            return eval_step(*step_args)

        return evaluate(slow_step, *args, **options)

    testing.evaluate = evaluate_slowly


def _saving():
    seal = folder.seal

    def seal_slowly(*args, **options):
        _announce()
        time.sleep(1.0)
        return seal(*args, **options)

    folder.seal = seal_slowly


_HOLD_OPEN = {
    "compilation": _compilation,
    "training": _training,
    "testing": _testing,
    "saving": _saving,
    "waiting": _waiting,
}
