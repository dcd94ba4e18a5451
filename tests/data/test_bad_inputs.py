# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Bad inputs and bad workers: training goes on unchanged, tests leave out, both say so."""

import dataclasses
import itertools
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from vidpretrain.data.bad_input import BadInput, Fault
from vidpretrain.data.bad_log import BadInputLog, TooManyBadInputsError, open_log
from vidpretrain.data.isolated import map_isolated
from vidpretrain.data.pipeline import eval_batches, train_batches
from vidpretrain.data.read_ahead import WorkerError
from vidpretrain.data.sampling import DenseWindow
from vidpretrain.data.transforms import Augmentation, ShiftedCrop, SpreadCrops

NUM_EXAMPLES = 12
WINDOW = DenseWindow(2)
KEEP = Augmentation(ShiftedCrop(2))


@dataclasses.dataclass(frozen=True)
class Spoilt:
    """Frames that show their example's number; some examples are bad.

    Attributes:
        bad: Examples that cannot be used.
        late: Examples whose length is known, but whose frames cannot be decoded.
        trap: A file; the worker that meets example 5 while it exists dies, or hangs.
        fatal: How it dies.
        once: Whether it removes the file first.
    """

    bad: tuple[int, ...] = ()
    late: tuple[int, ...] = ()
    trap: str = ""
    fatal: str = "die"
    once: bool = True
    num_classes: int = 12
    flip_labels: None = None
    class_names: tuple[str, ...] = tuple("abcdefghijkl")

    def __len__(self):
        return NUM_EXAMPLES

    def num_frames(self, example):
        if example in self.bad:
            raise BadInput(f"{example}.mp4", Fault.MISSING, "there is no such file")
        return 4

    def label(self, example):
        return example

    def frames(self, example, indices):
        self.num_frames(example)
        if example in self.late:
            raise BadInput(f"{example}.mp4", Fault.UNDECODABLE, "a frame is marked as corrupt")
        if example == 5 and self.trap and os.path.exists(self.trap):
            if self.once:
                os.remove(self.trap)
            stop = signal.SIGKILL if self.fatal == "die" else signal.SIGSTOP
            os.kill(os.getpid(), stop)
        return np.full((len(indices), 2, 2, 3), example, np.uint8)


def stream(source, **options):
    return train_batches(
        source, WINDOW, KEEP, **{"batch_size": 4, "seed": 1, "read_ahead": 0, **options}
    )


def examples(source, count=9, **options):
    with stream(source, **options) as batches:
        return [batch.example.tolist() for batch in itertools.islice(batches, count)]


def test_a_bad_example_is_replaced_by_the_same_one_in_every_epoch():
    good, spoilt = examples(Spoilt()), examples(Spoilt(bad=(3,), late=(7,)))
    replaced = {3: set(), 7: set()}
    for one, other in zip(np.ravel(good), np.ravel(spoilt), strict=True):
        if one in replaced:
            replaced[one].add(int(other))
        else:
            assert one == other
    assert all(len(by) == 1 and by.isdisjoint({3, 7}) for by in replaced.values())


def test_the_clip_is_that_of_the_replacement():
    with stream(Spoilt(bad=(3, 4, 5, 6))) as batches:
        for batch in itertools.islice(batches, 3):
            np.testing.assert_array_equal(batch.video[:, 0, 0, 0, 0], batch.example)
            np.testing.assert_array_equal(batch.label, batch.example)
            assert batch.mask.all()


@pytest.mark.parametrize("workers", [{}, {"read_ahead": 3}, {"num_workers": 1}])
def test_the_log_is_the_same_for_all_workers(tmp_path, workers):
    log = open_log(
        tmp_path, num_examples=NUM_EXAMPLES, max_bad_share=0.5, process_index=0, process_count=1
    )
    examples(Spoilt(bad=(3,), late=(7,)), log=log, **workers)
    lines = (tmp_path / "bad_inputs.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert sorted(entry["example"] for entry in entries) == [3, 7]
    steps = [entry["step"] for entry in entries]
    assert steps == sorted(steps)
    assert steps[-1] < 3  # All in the first epoch, and each only once.
    by_example = {entry["example"]: entry for entry in entries}
    assert by_example[3]["path"] == "3.mp4"
    assert by_example[3]["fault"] == "missing"
    assert by_example[7]["detail"] == "a frame is marked as corrupt"
    assert all(entry["replacement"] not in (3, 7) for entry in entries)


def test_a_log_goes_on_after_an_interruption(tmp_path):
    path = tmp_path / "log.jsonl"
    source = Spoilt(bad=(3,), late=(7,))
    examples(source, log=BadInputLog(path, most=2))
    before = path.read_text()
    path.write_text(before + '{"step": 3, "exam')  # Killed while it wrote.
    log = BadInputLog(path, most=2)
    examples(source, start_step=2, log=log)
    assert path.read_text() == before
    assert len(log.incidents) == 2


@pytest.mark.parametrize(
    ("share", "process_count", "stops"),
    [(0.0, 1, True), (0.1, 1, True), (0.17, 1, False), (1.0, 1, False), (0.17, 2, True)],
)
def test_more_than_a_share_stops_the_run(tmp_path, share, process_count, stops):
    log = open_log(
        tmp_path,
        num_examples=NUM_EXAMPLES,
        max_bad_share=share,
        process_index=0,
        process_count=process_count,
    )
    source = Spoilt(bad=(3,), late=(7,))
    if not stops:
        examples(source, log=log)
        return
    with pytest.raises(TooManyBadInputsError, match=r"at most \d are borne. The last: \d.mp4"):
        examples(source, log=log)
    assert (tmp_path / "bad_inputs.jsonl").read_text().count("\n") == len(log.incidents)


def test_a_share_beyond_all_is_refused(tmp_path):
    with pytest.raises(ValueError, match="max_bad_share is 2"):
        open_log(tmp_path, num_examples=1, max_bad_share=2, process_index=0, process_count=1)


def test_a_wrong_root_stops_at_once():
    with pytest.raises(TooManyBadInputsError, match=r"21 inputs in a row .* Is the root right"):
        examples(Spoilt(bad=tuple(range(NUM_EXAMPLES))))


@pytest.mark.parametrize("bad", [(0, 3), (11,), tuple(range(NUM_EXAMPLES))])
def test_evaluation_leaves_out_and_never_replaces(bad):
    source = Spoilt(bad=bad[:-1], late=bad[-1:])
    with eval_batches(source, WINDOW, SpreadCrops(2), batch_size=5, read_ahead=0) as batches:
        seen = list(batches)
    mask = np.concatenate([batch.mask for batch in seen])
    example = np.concatenate([batch.example for batch in seen])
    assert sorted(example[mask]) == sorted(set(range(NUM_EXAMPLES)) - set(bad))
    for batch in seen:
        np.testing.assert_array_equal(batch.video[batch.mask, 0, 0, 0, 0], batch.label[batch.mask])
        assert not batch.video[~batch.mask].any()
    assert [incident.example for incident in batches.log.incidents] == sorted(bad)
    assert {incident.replacement for incident in batches.log.incidents} == {None}


@pytest.mark.parametrize("fatal", ["die", "hang"])
def test_a_worker_that_dies_or_hangs_is_replaced(tmp_path, fatal):
    trap = tmp_path / "trap"
    trap.touch()
    source = Spoilt(bad=(3,), trap=str(trap), fatal=fatal)
    expected = examples(dataclasses.replace(source, trap=""))
    with stream(source, num_workers=1, read_ahead=2, worker_limit_sec=8.0) as batches:
        found = [batch.example.tolist() for batch in itertools.islice(batches, 9)]
    assert found == expected
    assert batches.restarts >= 1
    assert not trap.exists()
    assert [incident.example for incident in batches.log.incidents] == [3]
    assert not Path(batches._workers.folder).exists()


@pytest.mark.long
def test_workers_that_always_die_stop_the_run(tmp_path):
    trap = tmp_path / "trap"
    trap.touch()
    source = Spoilt(trap=str(trap), once=False)
    with pytest.raises(WorkerError, match=r"4 worker processes in turn died .* from number"):
        examples(source, num_workers=1, read_ahead=2)


def fragile(item: int) -> int:
    if item == 1:
        raise BadInput("one", Fault.EMPTY, "nothing")
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if item == 5:
        os.kill(os.getpid(), signal.SIGSTOP)
    return item * item


def test_work_that_kills_its_process_is_reported():
    work = map_isolated(fragile, range(8), num_workers=2, limit_sec=1.0)
    outcomes = dict(work)
    assert {at: outcomes[at] for at in (0, 2, 4, 6, 7)} == {0: 0, 2: 4, 4: 16, 6: 36, 7: 49}
    assert str(outcomes[1]) == "one: empty: nothing"
    assert outcomes[3].fault is Fault.CRASHED
    assert outcomes[5].fault is Fault.TIMED_OUT


def test_work_in_this_process():
    assert dict(map_isolated(fragile, [0, 2], num_workers=0)) == {0: 0, 1: 4}
