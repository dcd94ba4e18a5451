# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Bad inputs: none crashes, hangs, goes unreported, opens what it should not, or takes memory."""

import os
import socket
import time
from collections import Counter, defaultdict

import numpy as np
import pytest

from tests.data.corpus import CONTAINERS, Case, Corpus
from vidpretrain.data.bad_input import BadInput
from vidpretrain.data.bad_log import BadInputLog
from vidpretrain.data.clips import FolderReader, VideoReader, listed_clips
from vidpretrain.data.isolated import map_isolated
from vidpretrain.data.pipeline import train_batches
from vidpretrain.data.sampling import Segments
from vidpretrain.data.transforms import Augmentation, ResizedCrop

MOST_SEC = 5.0
MOST_BYTES = 300 << 20
READERS = {"video": VideoReader(), "folder": FolderReader()}
LONG_AGO = 1_000_000_000


@pytest.fixture(scope="module")
def server():
    """A socket that takes connections, to see whether anything connects."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, server):
    return Corpus(tmp_path_factory.mktemp("corpus"), f"127.0.0.1:{server.getsockname()[1]}")


class Look:
    """Reads first, middle and last frame; says what came of it, and time and memory."""

    def __init__(self, root):
        self.root = root

    def __call__(self, case):
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # Resets the peak of the memory.
        before, start = peak_bytes(), time.monotonic()
        reader = READERS[case.reader]
        try:
            facts = reader.scan(self.root, case.path)
            count = facts.video.num_frames
            clip = reader.frames(self.root, case.path, facts, [0, count // 2, count - 1])
            assert clip.shape[0] == 3
            assert clip.shape[3] == 3
            found, fault = "good", ""
        except BadInput as bad:
            found, fault = "bad", str(bad)
        return found, fault, time.monotonic() - start, peak_bytes() - before


def peak_bytes() -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))


@pytest.fixture(scope="module")
def outcomes(corpus, server):
    for path in corpus.outside.iterdir():
        os.utime(path, (LONG_AGO, LONG_AGO + 1))
    work = map_isolated(Look(corpus.root), corpus.cases, num_workers=1, limit_sec=MOST_SEC)
    return [outcome for _, outcome in sorted(work, key=lambda item: item[0])]


def test_the_corpus_is_large(corpus):
    assert len(corpus.cases) >= 250
    assert len({(case.path, case.reader) for case in corpus.cases}) == len(corpus.cases)


def test_every_input_is_read_or_reported(corpus, outcomes):
    table = defaultdict(Counter)
    for case, outcome in zip(corpus.cases, outcomes, strict=True):
        assert not isinstance(outcome, BadInput), f"{case}: {outcome.fault}: {outcome.detail}"
        found, fault, _, _ = outcome
        table[case.kind][found] += 1
        assert case.expected in (found, "either"), f"{case}: {found} {fault}"
        if found == "bad":
            # The report names the input, the kind of fault, and says more than that.
            assert len(fault) > len(case.path.replace("\0", "\\0")) + 10, fault
    for kind, counts in table.items():
        print(f"{kind:28} good {counts['good']:4} bad {counts['bad']:4}")


def test_time_and_memory_are_bounded(corpus, outcomes):
    for case, (_, _, seconds, grown) in zip(corpus.cases, outcomes, strict=True):
        assert seconds < MOST_SEC, case
        assert grown < MOST_BYTES, case


def test_nothing_connects_and_nothing_outside_is_read(corpus, outcomes, server, tmp_path):
    with pytest.raises(BlockingIOError):
        server.accept()
    probe = tmp_path / "probe"
    probe.write_bytes(b"x")
    os.utime(probe, (LONG_AGO, LONG_AGO + 1))
    probe.read_bytes()
    if probe.stat().st_atime == LONG_AGO:
        pytest.skip("this file system does not note when files are read")
    for path in corpus.outside.iterdir():
        assert path.stat().st_atime == LONG_AGO, path


def test_the_same_inputs_are_replaced_in_two_runs(corpus, outcomes, tmp_path):
    names = [case.path for case in corpus.cases if case.reader == "video"]
    names = [name for name in names if not set(name) & set("\t\n\0") and name.strip()]
    (tmp_path / "list.txt").write_text(
        "".join(f"{name}\t{i % 2}\n" for i, name in enumerate(names))
    )
    source = listed_clips(
        "train", VideoReader(), train=str(tmp_path / "list.txt"), root=str(corpus.root)
    )
    assert len(source) == len(names)

    def run(**workers):
        log = BadInputLog(None, most=len(names))
        augmentation = Augmentation(ResizedCrop(16))
        stream = train_batches(
            source, Segments(2), augmentation, batch_size=len(names), seed=4, log=log, **workers
        )
        with stream:
            return next(stream), log.incidents

    (batch, incidents), (again, incidents_again) = run(read_ahead=0), run(read_ahead=1)
    assert incidents == incidents_again
    bad = {incident.path for incident in incidents}
    assert len(bad) > 100
    # Files that are broken in places may give some frames and not others.
    hopeless = {case.path for case in corpus.cases if case.expected == "bad"}
    assert {names[example] for example in batch.example}.isdisjoint(hopeless)
    for one, other in zip(batch, again, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.long
def test_thousands_of_mutations(corpus, tmp_path):
    """Random damage of every container: any outcome but a crash, a hang or another error."""
    cases = []
    for number in range(4000):
        rng = np.random.default_rng([7, number])
        ext = CONTAINERS[number % len(CONTAINERS)]
        data = bytearray(corpus.whole[ext])
        for _ in range(rng.integers(1, 6)):
            start = int(rng.integers(len(data)))
            span = int(rng.integers(1, 9))
            damage = rng.integers(3)
            if damage == 0:
                data[start : start + span] = rng.integers(0, 256, span, np.uint8).tobytes()
            elif damage == 1:
                del data[start : start + span * 20]
            else:
                data[start:start] = data[: span * 20]
        (tmp_path / f"{number}.{ext}").write_bytes(bytes(data))
        cases.append(Case("mutation", f"{number}.{ext}", "either"))
    counts = Counter()
    work = map_isolated(Look(tmp_path), cases, num_workers=1, limit_sec=MOST_SEC)
    for position, outcome in work:
        assert not isinstance(outcome, BadInput), f"{cases[position]}: {outcome}"
        found, _, _, grown = outcome
        assert grown < MOST_BYTES, cases[position]
        counts[found] += 1
    print(counts)
    assert min(counts["good"], counts["bad"]) > 400
