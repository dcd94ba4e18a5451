# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""A stage's test: its network, views and batches, for any weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from vidpretrain import data, parallel
from vidpretrain.train.compiled import compile_eval_step
from vidpretrain.train.evaluate import evaluate
from vidpretrain.train.interrupt import Interruption, Watchdog
from vidpretrain.train.plan import Plan
from vidpretrain.train.scores import Scores, distinct


def make_tester(
    plan: Plan, interruption: Interruption, watchdog: Watchdog
) -> Callable[[Any], Scores]:
    """Return the function that tests variables of a stage's network on its test set.

    A step computes `test.batch_size` clips, whatever the number of views: those of one example may
    lie in several steps.

    Args:
        plan: of the stage.
        interruption: tells of signals; they end a test.
        watchdog: is told of every step.

    Returns:
        The function; it raises what `evaluate` raises.
    """
    config, mesh = plan.config, plan.mesh
    average = config["test"]["average"]
    eval_step = compile_eval_step(plan)
    rows = parallel.process_slice(config["test"]["batch_size"], mesh, what="test.batch_size")
    source = plan.test_source

    def test(variables: Any) -> Scores:
        with read_test_set(plan) as batches:
            scores = evaluate(
                eval_step,
                parallel.put_whole(variables, mesh),
                data.regroup(batches, rows),
                mesh,
                num_examples=len(source),
                interruption=interruption,
                watchdog=watchdog,
            )
        names = distinct([data.name_of(source, example) for example in range(len(source))])
        return dataclasses.replace(
            scores,
            names=tuple(names[example] for example in scores.example),
            class_names=tuple(source.class_names),
            network=config["model"]["name"],
            average=average,
            views=plan.views.per_example,
        )

    return test


def read_test_set(plan: Plan) -> data.BatchStream:
    """Open the stream of a stage's test examples, each with all its views.

    A batch has as many examples as have about `test.batch_size` views, but at least one for each
    process.
    """
    options = dict(plan.config["input"])
    del options["max_bad_share"]  # Tests leave bad inputs out, whatever their number, and say so.
    rows = parallel.process_slice(plan.config["test"]["batch_size"], plan.mesh)
    num_processes = jax.process_count()
    return data.eval_batches(
        plan.test_source,
        plan.views.sampling,
        plan.views.test_crops,
        batch_size=max(1, rows // plan.views.per_example) * num_processes,
        process_index=jax.process_index(),
        process_count=num_processes,
        **options,
    )
