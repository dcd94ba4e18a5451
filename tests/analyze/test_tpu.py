# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Steps compiled for TPUs: slices, collectives read off programs, the model, the command."""

import importlib.util
import json

import jax
import pytest
from jax.experimental import topologies

from tests.runs import MICRO
from vidpretrain.analyze import tpu, tpu_command
from vidpretrain.analyze.chips import CHIPS, Slice
from vidpretrain.analyze.collectives import Collective, find_collectives, summarise
from vidpretrain.analyze.scaling import Work, efficiency, predict

# What the TPU's compiler writes, shortened: a loop, two ways of naming groups, an asynchronous
# pair, and a reduce-scatter, which is a fusion around an all-reduce.
PROGRAM = """\
HloModule jit_step, is_scheduled=true

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[]{:T(128)} parameter(0)
  %y = f32[]{:T(128)} parameter(1)
  ROOT %sum = f32[]{:T(128)} add(%x, %y)
}

%all-reduce-scatter.3 (p: f32[1024]) -> f32[256] {
  %p = f32[1024]{0:T(1024)} parameter(0)
  %all-reduce.9 = f32[1024]{0:T(1024)} all-reduce(%p), channel_id=4, replica_groups={{0,1,2,3}}, to_apply=%add
  ROOT %part = f32[256]{0:T(256)} dynamic-slice(%all-reduce.9, %c), dynamic_slice_sizes={256}
}

%body (state: (s32[], bf16[8,128])) -> (s32[], bf16[8,128]) {
  %state = (s32[]{:T(128)}, bf16[8,128]{1,0:T(8,128)(2,1)}) parameter(0)
  %all-reduce.1 = (bf16[64]{0:T(256)}, f32[64]{0:T(256)S(1)}) all-reduce(%a, %b), channel_id=1, replica_groups=[2,8]<=[16], to_apply=%add
  ROOT %tuple = (s32[]{:T(128)}, bf16[8,128]{1,0:T(8,128)(2,1)}) tuple(%i, %h)
}

ENTRY %main (w: f32[256,512]) -> f32[256,512] {
  %all-gather-start.1 = (f32[256,128]{1,0}, f32[256,512]{1,0}) all-gather-start(%w), channel_id=2, replica_groups=mesh['data'=4,'fsdp'=4] {'fsdp'}, dimensions={1}
  %all-gather-done.1 = f32[256,512]{1,0} all-gather-done(%all-gather-start.1)
  %while.1 = (s32[]{:T(128)}, bf16[8,128]{1,0:T(8,128)(2,1)}) while(%t), condition=%cond, body=%body
  %fusion.1 = f32[256]{0} fusion(%g), kind=kCustom, calls=%all-reduce-scatter.3
  %stop = pred[]{:T(512)} all-reduce(%flag), channel_id=3, to_apply=%add
  ROOT %out = f32[256,512]{1,0} copy(%all-gather-done.1)
}
"""  # noqa: E501


def test_collectives_are_read_off_a_program():
    found = find_collectives(PROGRAM, num_chips=16, loop_times=4)
    assert sorted(found, key=lambda one: one.num_bytes) == [
        Collective("all-reduce", 1, 16),  # All chips, where no group is named.
        Collective("all-reduce", 64 * 2 + 64 * 4, 8, times=4),
        Collective("reduce-scatter", 1024 * 4, 4),
        Collective("all-gather", 256 * 512 * 4, 4),
    ]


def test_a_summary_adds_up_to_the_whole():
    found = [Collective("all-reduce", 10, 4), Collective("all-reduce", 40, 4, times=2)]
    found.append(Collective("all-reduce", 7, 2))
    assert summarise(found) == [Collective("all-reduce", 30, 4, 3), Collective("all-reduce", 7, 2)]


@pytest.mark.parametrize(
    ("kind", "sent"),
    [("all-reduce", 150), ("all-gather", 75), ("reduce-scatter", 75), ("collective-permute", 100)],
)
def test_bytes_sent_around_a_ring_of_four(kind, sent):
    assert Collective(kind, 100, 4).sent_bytes == sent
    assert Collective(kind, 100, 4, times=3).sent_bytes == 3 * sent


@pytest.mark.parametrize(
    ("text", "shape", "hosts", "links", "hops"),
    [
        ("v5e:4x4", (4, 4), 4, 2, 6),
        ("v5e-16", (4, 4), 4, 2, 6),
        ("v5litepod-256", (16, 16), 64, 4, 16),
        ("v5e:2x2", (2, 2), 1, 2, 2),
        ("v5e:2x4", (2, 4), 1, 2, 4),  # One host has all eight.
        ("v6e-8", (2, 4), 1, 2, 4),
        ("v5p:2x2x2", (2, 2, 2), 2, 3, 3),
        ("v6e:16x16", (16, 16), 64, 4, 16),
        ("v4-8", (2, 2, 1), 1, 2, 2),  # v4 and v5p count TensorCores.
        ("v4:2x2x4", (2, 2, 4), 4, 3, 5),
        ("v5p:4x4x4", (4, 4, 4), 16, 6, 6),
    ],
)
def test_slices(text, shape, hosts, links, hops):
    slice_ = Slice.parse(text)
    assert slice_.shape == shape
    assert (slice_.num_hosts, slice_.links(), slice_.hops()) == (hosts, links, hops)
    assert Slice.parse(str(slice_)) == slice_ == Slice.of_size(slice_.chip, slice_.num_chips)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v5f:4x4", "did you mean 'v5"),
        ("v5e:3x3", "v5e:2x2, v5e:2x4, v5e:4x4"),
        ("v4:4x4", "v4:2x2x1"),
        ("v5e-12", "v5e:2x2"),
        ("v5e", "v5e:2x2"),
        ("", "no TPU"),
    ],
)
def test_slices_that_do_not_exist(text, message):
    with pytest.raises(ValueError, match=message):
        Slice.parse(text)


def test_a_prediction_by_hand():
    reduced = Collective("all-reduce", 1e6, 16, times=10)
    work = Work(16, clips=8, flops=1.97e12, hbm_bytes=8.19e9, collectives=[reduced])
    one = predict(work, Slice.parse("v5e:4x4"))
    assert one.compute_sec == pytest.approx(0.010)  # 1.97e12 / 197e12
    assert one.memory_sec == pytest.approx(0.010)  # 8.19e9 / 819e9
    # 10 x 2 x 15/16 MB over 2 links of 50 GB/s; 10 x 2 rounds of 6 hops of 1 us.
    assert one.exchange_sec == pytest.approx(18.75e6 / 100e9 + 120e-6)
    assert one.step_sec == pytest.approx(0.0103075)
    assert one.clips_per_sec == pytest.approx(128 / 0.0103075)
    assert one.clips_per_sec_and_host == pytest.approx(32 / 0.0103075)
    # 2 hops to the farthest of 4 chips; 3/4 of the ring.
    small = predict(work, Slice.parse("v5e:2x2"))
    assert small.exchange_sec == pytest.approx(15e6 / 100e9 + 40e-6)
    assert efficiency(one, small) == pytest.approx(0.01019 / 0.0103075)


def test_neighbours_stay_neighbours_and_one_chip_exchanges_nothing():
    norms = Collective("all-reduce", 1e6, 2)
    work = Work(16, clips=8, flops=0, hbm_bytes=0, collectives=[norms])
    for topology in ("v5e:4x4", "v5e:16x16"):
        # 2 x 1/2 MB over the link between two chips, and twice its latency.
        assert predict(work, Slice.parse(topology)).exchange_sec == pytest.approx(20e-6 + 2e-6)
    alone = Work(1, 8, 0, 0, [Collective("all-reduce", 1e6, 1)])
    assert predict(alone, Slice(CHIPS["v5e"], (1, 1))).exchange_sec == 0


def test_a_larger_share_costs_more_of_all_but_the_exchange():
    work = Work(4, 2, 1e12, 8e9, [Collective("all-reduce", 1e6, 4)]).with_clips(6)
    assert (work.clips, work.flops, work.hbm_bytes) == (6, 3e12, 24e9)
    one = predict(work, Slice.parse("v4-8"))
    assert one.limit == "memory"
    assert one.memory_sec == pytest.approx(24e9 / 1200e9)


@pytest.mark.parametrize(
    ("message", "memory", "limit"),
    [
        (
            "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory "
            "space hbm. Used 23.49G of 15.75G hbm. Exceeded hbm capacity by 7.74G.",
            23.49,
            15.75,
        ),
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
            "temporaries (48.00G) exceeds available HBM (15.75G).",
            48,
            15.75,
        ),
    ],
)
def test_the_compilers_message_tells_how_much_is_missing(message, memory, limit):
    assert tpu.too_large(message) == tpu.TooLarge(round(memory * 2**30), round(limit * 2**30))


def test_other_messages_of_the_compiler_are_passed_on():
    with pytest.raises(tpu.TPUError, match="something else"):
        tpu.too_large("INTERNAL: something else")


@pytest.fixture(autouse=True)
def leave_the_process_as_it_was(monkeypatch):
    before = jax.config.jax_platforms
    for name, value in tpu._ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    yield
    jax.config.update("jax_platforms", before)


def run(*arguments):
    return tpu_command.main(["--config", f"{MICRO}:stages=scratch", *arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--topology", "v5e:5x5"], "v5e:4x4"),
        (["--topology", "v7:4x4"], "no TPU 'v7'"),
        (["--topology", "v5e:4x4", "--chips", "9"], "no v5e slice of 9 chips"),
        (["--topology", "v5e:4x4", "--stage", "scrach"], "did you mean 'scratch'"),
        (["--topology", "v5e:4x4", "--config.scratch.sead=1"], "did you mean"),
    ],
)
def test_bad_input_is_one_clear_error(capsys, arguments, message):
    assert run(*arguments) == tpu_command.EXIT_BAD_INPUT
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error


def test_without_libtpu_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run("--topology", "v5e:4x4") == tpu_command.EXIT_BAD_INPUT
    assert "pip install -r requirements-tpu.txt" in capsys.readouterr().err


def test_what_libtpu_cannot_do_is_told(monkeypatch, capsys):
    def refuse(*_, **__):
        raise jax.errors.JaxRuntimeError("ABORTED: /tmp/libtpu_lockfile")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(topologies, "get_topology_desc", refuse)
    assert run("--topology", "v5e:2x2") == tpu_command.EXIT_BAD_INPUT
    error = capsys.readouterr().err
    assert "libtpu cannot compile for v5e:2x2" in error and "lockfile" in error


needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="no libtpu: pip install -r requirements-tpu.txt",
)


@needs_libtpu
def test_a_batch_that_does_not_divide_is_refused(capsys):
    assert run("--topology", "v5e:4x4") == tpu_command.EXIT_BAD_INPUT
    assert "batch_size=4 does not divide over 16 devices" in capsys.readouterr().err


@needs_libtpu
def test_a_small_recipe_fits(capsys):
    assert run("--topology", "v5e:2x2", "--json", "--chips", "8,16") == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["fits"] and report["clips_per_chip"] == 1
    train, test = report["train"], report["test"]
    assert 0 < test["memory"] < train["memory"] < CHIPS["v5e"].hbm_bytes
    assert train["flops"] > test["flops"]  # Of one clip forward and backward, of two forward.
    # At the least the gradients are summed over all chips.
    assert any(c["kind"] == "all-reduce" and c["group"] == 4 for c in train["collectives"])
    assert [one["topology"] for one in report["model"]] == ["v5e:2x2", "v5e:2x4", "v5e:4x4"]
    assert run("--topology", "v5e:2x2", "--train-only") == 0
    assert "fits (arguments" in capsys.readouterr().out


@needs_libtpu
def test_parts_are_counted_and_state_is_cut(capsys):
    def train(*arguments):
        batch = "--config.scratch.batch_size=16"
        assert run("--topology", "v5e:2x2", "--json", "--train-only", batch, *arguments) == 0
        return json.loads(capsys.readouterr().out)[0]["train"]

    whole = train()
    assert train("--config.scratch.optim.accumulate=2")["flops"] == pytest.approx(
        whole["flops"], rel=0.1
    )
    cut = train("--config.scratch.parallel.fsdp=2")
    assert cut["arguments"] < whole["arguments"]
    assert {c["kind"] for c in cut["collectives"]} > {"all-reduce"}


@needs_libtpu
def test_a_batch_that_is_too_large_does_not_fit_and_advice_is_given(capsys):
    arguments = ["--topology", "v5e:2x2", "--train-only"]
    arguments += ["--config.scratch.views.size_px=512", "--config.scratch.source.canvas_px=512"]
    arguments += ["--config.scratch.batch_size=4096"]
    assert run(*arguments) == tpu_command.EXIT_TOO_LARGE
    shown = capsys.readouterr().out
    assert "TOO LARGE" in shown
    assert "optim.accumulate=" in shown and "remat=1+2" in shown
