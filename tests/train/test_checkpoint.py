# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The store of training steps: exact, atomic, and never fooled by damaged files."""

import dataclasses
import errno
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import typing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vidpretrain.convert import folder, tree
from vidpretrain.convert.folder import Card, CheckpointError
from vidpretrain.train.checkpoint import CheckpointStore

ROOT = pathlib.Path(__file__).parents[2]
CARD = Card(
    name="resnet:depths=1",
    num_classes=10,
    mean=(0.5,),
    std=(0.25,),
    frames=4,
    size=16,
    stage="pretrain",
    clock_sec=1.5,
)


class State(typing.NamedTuple):
    step: jax.Array
    params: dict
    opt_state: tuple
    key: jax.Array
    ema: dict | None


def make_state(seed: int) -> State:
    rng = np.random.default_rng(seed)
    params = {
        "stem": {"kernel": jnp.asarray(rng.normal(size=(3, 3, 1, 4)), jnp.float32)},
        "head": {
            "kernel": jnp.asarray(rng.normal(size=(4, 10)), jnp.bfloat16),
            "bias": jnp.asarray([0.0, -0.0, np.nan, np.inf]),
        },
        "none": jnp.zeros((0, 4)),
    }
    optimizer = optax.sgd(0.1, momentum=0.9)
    return State(
        step=jnp.asarray(seed, jnp.int32),
        params=params,
        opt_state=optimizer.init(params),
        key=jax.random.key(seed),
        ema=None,
    )


def assert_same_bits(left, right):
    left, right = tree.flatten(left), tree.flatten(right)
    assert left.keys() == right.keys()
    for name, leaf in left.items():
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            assert jax.random.key_impl(leaf) == jax.random.key_impl(right[name])
            leaf, right[name] = jax.random.key_data(leaf), jax.random.key_data(right[name])
        assert leaf.dtype == right[name].dtype, name
        assert np.asarray(leaf).tobytes() == np.asarray(right[name]).tobytes(), name


def fill(store: CheckpointStore, steps, metrics=None):
    for step in steps:
        store.save(step, make_state(step), CARD, (metrics or {}).get(step))
    store.wait()


def steps_on_disk(path: pathlib.Path) -> set[str]:
    return {child.name for child in path.iterdir()}


def test_a_state_comes_back_bit_by_bit(tmp_path):
    store = CheckpointStore(tmp_path)
    state = make_state(7)
    assert store.save(7, state, CARD, metric=0.5)
    store.wait()
    restored, card = store.restore(make_state(0))
    assert_same_bits(restored, state)
    assert type(restored) is State
    assert card == dataclasses.replace(CARD, step=7, metric=0.5)


def test_abstract_targets_need_no_arrays(tmp_path):
    store = CheckpointStore(tmp_path)
    fill(store, [7])
    restored, _ = store.restore(jax.eval_shape(lambda: make_state(0)))
    assert_same_bits(restored, make_state(7))


def test_donated_and_overwritten_arrays_are_saved_as_they_were(tmp_path):
    store = CheckpointStore(tmp_path)
    state = {"device": jnp.arange(1_000_000.0), "host": np.arange(1_000_000)}
    store.save(1, state, CARD)
    jax.jit(lambda x: x * 0 - 1, donate_argnums=0)(state["device"]).block_until_ready()
    state["host"][:] = -1
    store.wait()
    restored, _ = store.restore({"device": jnp.zeros(1_000_000), "host": state["host"]})
    np.testing.assert_array_equal(restored["device"], np.arange(1_000_000.0, dtype=np.float32))
    np.testing.assert_array_equal(restored["host"], np.arange(1_000_000))


def test_another_tree_does_not_fit_and_the_step_stays(tmp_path):
    store = CheckpointStore(tmp_path)
    fill(store, [1])
    target = make_state(0)
    target.params["stem"]["kernel"] = jnp.zeros((3, 3, 1, 5))
    target.params["new"] = jnp.zeros(2)
    with pytest.raises(tree.MismatchError) as error:
        store.restore(target)
    assert "- params/stem/kernel: float32[3, 3, 1, 4]" in str(error.value)
    assert "+ params/stem/kernel: float32[3, 3, 1, 5]" in str(error.value)
    assert "+ params/new: float32[2]" in str(error.value)
    assert steps_on_disk(tmp_path) == {"1"}


def test_retention_keeps_last_best_and_every_nth(tmp_path):
    store = CheckpointStore(tmp_path, keep_last=2, keep_every_steps=4)
    fill(store, range(1, 10), metrics={3: 0.9, 2: 0.1, 8: 0.5})
    assert steps_on_disk(tmp_path) == {"3", "4", "8", "9"}
    assert store.latest() == 9
    assert store.best() == 3


def test_retention_keeps_the_first_step_of_each_interval_where_none_is_a_multiple(tmp_path):
    store = CheckpointStore(tmp_path, keep_last=2, keep_every_steps=10)
    fill(store, range(3, 34, 3))
    assert steps_on_disk(tmp_path) == {"12", "21", "30", "33"}


def test_best_is_the_later_of_equals_and_none_without_metrics(tmp_path):
    store = CheckpointStore(tmp_path, keep_last=3)
    fill(store, [1, 2])
    assert store.best() is None
    fill(store, [3, 4], metrics={3: 0.5, 4: 0.5})
    assert store.best() == 4


def test_a_step_is_written_once(tmp_path):
    store = CheckpointStore(tmp_path)
    fill(store, [1])
    assert not store.save(1, make_state(5), CARD)
    assert_same_bits(store.restore(make_state(0))[0], make_state(1))


def test_a_step_tested_late_gets_its_metric(tmp_path):
    store = CheckpointStore(tmp_path)
    fill(store, [1, 2], metrics={1: 0.5})
    card = store.restore(make_state(0))[1]
    store.relabel(2, dataclasses.replace(card, metric=0.75))
    store = CheckpointStore(tmp_path)
    assert store.best() == 2
    assert store.set_aside == []
    state, card = store.restore(make_state(0))
    assert (card.step, card.metric) == (2, 0.75)
    assert_same_bits(state, make_state(2))
    assert {p.name for p in (tmp_path / "2").iterdir()} == {"state", "card.json", "manifest.json"}


def test_two_steps_remain_whatever_is_asked(tmp_path):
    with pytest.raises(ValueError, match="at least 2"):
        CheckpointStore(tmp_path, keep_last=1)


def test_an_empty_store_has_nothing(tmp_path):
    store = CheckpointStore(tmp_path / "new")
    assert store.latest() is None
    assert store.best() is None
    with pytest.raises(CheckpointError, match="no sound checkpoint"):
        store.restore(make_state(0))


# --- damage -----------------------------------------------------------------------------------


def files_of(step: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in step.rglob("*") if path.is_file())


def test_every_flipped_bit_is_noticed(tmp_path):
    fill(CheckpointStore(tmp_path), [1])
    files = files_of(tmp_path / "1")
    sizes = np.array([file.stat().st_size for file in files])
    rng = np.random.default_rng(0)
    for n in range(200):
        # Every file in turn, for most bytes lie in few files.
        file, size = files[n % len(files)], sizes[n % len(files)]
        good = file.read_bytes()
        bad = bytearray(good)
        bad[rng.integers(size)] ^= 1 << rng.integers(8)
        file.write_bytes(bad)
        with pytest.raises(CheckpointError):
            folder.verify(tmp_path / "1")
        file.write_bytes(good)
    folder.verify(tmp_path / "1")


def halve(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file):
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [pathlib.Path.unlink, empty, halve])
@pytest.mark.parametrize("level", ["hash", "size"])
def test_a_damaged_step_is_set_aside_and_the_older_one_used(tmp_path, damage, level):
    fill(CheckpointStore(tmp_path), [1, 2])
    names = [file.relative_to(tmp_path) for file in files_of(tmp_path / "2")]
    shutil.copytree(tmp_path / "2", tmp_path / "sound")
    for count, name in enumerate(names, start=1):
        damage(tmp_path / name)
        store = CheckpointStore(tmp_path, level=level)
        state, card = store.restore(make_state(0))
        assert card.step == 1, name
        assert_same_bits(state, make_state(1))
        assert [aside.step for aside in store.set_aside] == [2]
        assert (tmp_path / f"2.bad-{count}").is_dir()
        shutil.copytree(tmp_path / "sound", tmp_path / "2")


def test_latest_and_best_count_sound_steps_only(tmp_path):
    fill(CheckpointStore(tmp_path, keep_last=4), [1, 2, 3], metrics={1: 0.1, 2: 0.2, 3: 0.3})
    (tmp_path / "4").mkdir()
    (tmp_path / "5").write_text("a file in place of a step")
    halve(files_of(tmp_path / "3" / "state")[-1])
    store = CheckpointStore(tmp_path)
    assert store.latest() == 2
    assert store.best() == 2
    assert steps_on_disk(tmp_path) == {"1", "2", "3.bad-1", "4.bad-1", "5.bad-1"}
    assert [aside.step for aside in store.set_aside] == [5, 4, 3]
    assert "has no manifest.json" in store.set_aside[1].reason


def test_bytes_that_rot_after_a_save_are_noticed(tmp_path):
    store = CheckpointStore(tmp_path)
    fill(store, [1, 2])
    halve(files_of(tmp_path / "2" / "state")[-1])
    assert store.restore(make_state(0))[1].step == 1


def test_no_sound_step_is_an_error_and_nothing_is_deleted(tmp_path):
    fill(CheckpointStore(tmp_path), [1])
    empty(tmp_path / "1" / "card.json")
    with pytest.raises(CheckpointError, match="no sound checkpoint"):
        CheckpointStore(tmp_path).restore(make_state(0))
    assert steps_on_disk(tmp_path) == {"1.bad-1"}


def test_retention_never_counts_damaged_steps(tmp_path):
    fill(CheckpointStore(tmp_path, keep_last=3), [1, 2, 3])
    empty(tmp_path / "2" / "card.json")
    empty(tmp_path / "3" / "card.json")
    fill(CheckpointStore(tmp_path, keep_last=2), [4])
    assert steps_on_disk(tmp_path) == {"1", "2.bad-1", "3.bad-1", "4"}


def test_leftover_temporaries_are_removed(tmp_path):
    fill(CheckpointStore(tmp_path), [1])
    shutil.copytree(tmp_path / "1", tmp_path / "2.tmp")
    store = CheckpointStore(tmp_path)
    assert steps_on_disk(tmp_path) == {"1"}
    fill(store, [2])
    assert store.latest() == 2


# --- saves that fail --------------------------------------------------------------------------


def check_until_raised(store: CheckpointStore):
    for _ in range(500):
        store.check()
        time.sleep(0.01)


def assert_step_1_is_what_remains(tmp_path):
    store = CheckpointStore(tmp_path)
    assert store.latest() == 1
    assert store.set_aside == []
    assert_same_bits(store.restore(make_state(0))[0], make_state(1))


# No file may grow beyond a limit, as on a disk that fills up. In a process of its own, for pytest
# writes what tests print to files.
FULL_DISK = """
import resource, sys
from tests.train import test_checkpoint as t
for limit in (0, 300, 1000, 4000):
    store = t.CheckpointStore(sys.argv[1])
    t.fill(store, [1])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        store.save(2, {'big': t.np.ones(10_000), **t.make_state(2)._asdict()}, t.CARD)
        t.check_until_raised(store)
    except t.CheckpointError as error:
        print(limit, error, flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    t.assert_step_1_is_what_remains(sys.argv[1])
"""


def run_python(code, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_full_disk_is_loud_as_soon_as_known(tmp_path):
    done = run_python(FULL_DISK, tmp_path)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in lines] == ["0", "300", "1000", "4000"]
    for line in lines:
        assert f"Cannot save step 2 in {tmp_path}: " in line
        assert "File too large" in line
        assert "Step 1 is the last one saved." in line


@pytest.mark.parametrize("call", ["check", "wait", "save"])
def test_an_io_error_while_sealing_is_raised_once(tmp_path, monkeypatch, call):
    store = CheckpointStore(tmp_path)
    fill(store, [1])

    def fail(*args):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(folder, "_sync", fail)
        store.save(2, make_state(2), CARD)
        with pytest.raises(CheckpointError, match="Input/output error"):
            if call == "check":
                check_until_raised(store)
            elif call == "wait":
                store.wait()
            else:
                store.save(3, make_state(3), CARD)
    assert store.latest() == 1
    fill(store, [2])
    assert store.latest() == 2


def test_a_step_that_cannot_be_read_is_set_aside(tmp_path, monkeypatch):
    store = CheckpointStore(tmp_path)
    fill(store, [1, 2])
    read = folder._sha256

    def fail(file):
        if "/2/" in str(file):
            raise OSError(errno.EIO, "Input/output error")
        return read(file)

    monkeypatch.setattr(folder, "_sha256", fail)
    assert store.restore(make_state(0))[1].step == 1
    assert "Input/output error" in store.set_aside[0].reason


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot be used"):
        CheckpointStore(tmp_path / "file" / "checkpoints")
    store = CheckpointStore(tmp_path / "checkpoints")
    (tmp_path / "checkpoints").rmdir()
    (tmp_path / "checkpoints").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"Cannot save step 1 .* No step is saved"):
        store.save(1, make_state(1), CARD)


# --- other processes --------------------------------------------------------------------------

SAVE_FOR_EVER = """
import sys
from tests.train import test_checkpoint as t
store = t.CheckpointStore(sys.argv[1])
start = (store.latest() or 0) + 1
for step in range(start, start + 10_000):
    store.save(step, t.make_state(step), t.CARD)
    print(step, flush=True)
"""


def kill_while_saving(path: pathlib.Path, delay_sec: float) -> int:
    """Run a process that saves without end, kill it, and return the last step it began."""
    process = subprocess.Popen(
        [sys.executable, "-c", SAVE_FOR_EVER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    first = process.stdout.readline()
    time.sleep(delay_sec)
    process.kill()
    return int((first + process.communicate()[0]).split()[-1])


def check_killed(path, times):
    # The first step that is saved below may well be the one under way.
    fill(CheckpointStore(path), [1])
    delays = np.random.default_rng(0).uniform(0.05, 0.3, times)
    for delay_sec in delays:
        begun = kill_while_saving(path, delay_sec)
        store = CheckpointStore(path)
        state, card = store.restore(make_state(0))
        assert begun - 1 <= card.step <= begun
        assert_same_bits(state, make_state(card.step))
        assert store.set_aside == []
        assert len(steps_on_disk(path)) <= 3


def test_a_kill_loses_no_step_but_the_one_under_way(tmp_path):
    check_killed(tmp_path, 2)


@pytest.mark.long
def test_a_hundred_kills_lose_no_step_but_the_one_under_way(tmp_path):
    check_killed(tmp_path, 100)


MESHES = """
import sys
import jax, numpy as np
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec as P
from tests.train import test_checkpoint as t

def on(count, spec):
    return NamedSharding(jax.make_mesh((count,), ('data',)), spec)

values = np.arange(64, dtype=np.float32).reshape(8, 8)
state = {'w': jax.device_put(values, on(4, P('data'))), 'key': jax.random.key(3)}
store = t.CheckpointStore(sys.argv[1])
store.save(1, state, t.CARD)
store.wait()
for sharding in (on(2, P(None, 'data')), on(1, P()), on(4, P()), on(4, P('data'))):
    target = {
        'w': jax.ShapeDtypeStruct((8, 8), jnp.float32, sharding=sharding),
        'key': jax.device_put(jax.random.key(0), on(4, P())),
    }
    restored, _ = store.restore(target)
    assert restored['w'].sharding == sharding
    assert restored['key'].sharding == on(4, P())
    np.testing.assert_array_equal(np.asarray(restored['w']), values)
    np.testing.assert_array_equal(jax.random.key_data(restored['key']), [0, 3])
print('restored on all')
"""


def test_a_sharded_state_restores_onto_any_mesh(tmp_path):
    done = run_python(MESHES, tmp_path, XLA_FLAGS="--xla_force_host_platform_device_count=4")
    assert "restored on all" in done.stdout, done.stderr


TWO_PROCESSES = """
import sys
import jax, numpy as np
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec as P
jax.config.update('jax_cpu_collectives_implementation', 'gloo')
jax.distributed.initialize(f'localhost:{sys.argv[2]}', 2, int(sys.argv[3]))
from tests.train import test_checkpoint as t

mesh = jax.make_mesh((2,), ('data',))
values = np.arange(64, dtype=np.float32).reshape(8, 8)
sharding = NamedSharding(mesh, P('data'))
make = lambda scale: jax.make_array_from_callback((8, 8), sharding, lambda i: values[i] * scale)
store = t.CheckpointStore(sys.argv[1])
for step in (1, 2, 3):
    store.save(step, {'w': make(step)}, t.CARD, metric=-float(step))
    store.check()
assert store.latest() == 3
assert store.best() == 1
target = {'w': jax.ShapeDtypeStruct((8, 8), jnp.float32, sharding=sharding)}
restored, card = store.restore(target, step=2)
assert card.step == 2
for shard in restored['w'].addressable_shards:
    np.testing.assert_array_equal(np.asarray(shard.data), values[shard.index] * 2)
print('process', jax.process_index(), 'agrees')
"""


def test_two_processes_save_and_restore_together(tmp_path):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_PROCESSES, str(tmp_path), port, str(index)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    for index, process in enumerate(processes):
        out, err = process.communicate(timeout=120)
        assert f"process {index} agrees" in out, err
