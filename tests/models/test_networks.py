# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The STS paper's networks: parameters, STS, image twins, precision, memory, clip lengths."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidpretrain import models
from vidpretrain.models import layers, resnet, slowfast, x3d
from vidpretrain.models.slowfast import slow_frames

FAMILIES = ("slowonly50", "csn50", "r2plus1d34", "slowfast50_4x16", "x3d_s")


@functools.cache
def shapes_of(spec: str, num_classes: int = 400, frames: int = 8, size: int = 64) -> Any:
    model = models.make_model(spec, num_classes=num_classes)
    clips = jnp.zeros((1, frames, size, size, 3))
    return jax.eval_shape(model.init, jax.random.key(0), clips)


def small(spec: str, **options: Any) -> nn.Module:
    """Return a network cut down to two stages of a block and, but for X3D, few channels."""
    model = models.make_model(spec, num_classes=5, **options)
    if isinstance(model, x3d.X3D):
        return model.clone(depths=(1, 1), widths=(8, 16))
    if isinstance(model, slowfast.SlowFast):
        return model.clone(slow=_cut(model.slow), fast=_cut(model.fast))
    return _cut(model)


def _cut(trunk: resnet.Trunk) -> resnet.Trunk:
    width = max(trunk.width // 8, 4)
    stem = dataclasses.replace(trunk.stem, features=width)
    replacements = tuple(
        dataclasses.replace(replacement, blocks=((2, 0),)) for replacement in trunk.replacements
    )
    return trunk.clone(depths=(1, 1), width=width, stem=stem, replacements=replacements)


@functools.cache
def clips_of(frames: int, size: int = 32, batch: int = 2) -> np.ndarray:
    rng = np.random.default_rng(frames)
    return rng.normal(size=(batch, frames, size, size, 3)).astype(np.float32)


def draw(model: nn.Module, clips: np.ndarray) -> Any:
    """Return random variables that keep the scale of activations, without compiling `init`."""
    rng = np.random.default_rng(0)

    def leaf(path: Any, like: jax.ShapeDtypeStruct) -> np.ndarray:
        if like.ndim > 1:
            value = rng.normal(size=like.shape) * np.sqrt(2 / np.prod(like.shape[:-1]))
        elif path[-1].key in ("scale", "var"):
            value = rng.uniform(0.5, 1.0, like.shape)
        else:
            value = rng.normal(0, 0.1, like.shape)
        return value.astype(np.float32)

    return jax.tree_util.tree_map_with_path(
        leaf, jax.eval_shape(model.init, jax.random.key(0), clips)
    )


@pytest.mark.parametrize(
    ("spec", "num_classes", "parameters"),
    [
        # STS, Table 4 (174 classes), and the same with 400 classes.
        ("slowonly50", 174, 31_991_022),
        ("slowfast50_4x16", 174, 33_958_358),
        ("r2plus1d34", 174, 63_643_343),
        ("csn50", 174, 12_668_078),
        ("x3d_s", 174, 3_331_248),
        ("slowonly50", 400, 32_454_096),
        ("slowfast50_4x16", 400, 34_479_288),
        ("r2plus1d34", 400, 63_759_281),
        ("csn50", 400, 13_131_152),
        ("x3d_s", 400, 3_794_322),
        ("slowfast50_8x8", 400, 34_565_560),
        ("slowfast50_8x8", 174, 34_044_630),
        ("resnet50_3x1x1", 400, 32_454_096),
        ("resnet50_3x3x3", 400, 13_131_152),
        # Facebook's SlowFast on UCF-101; mmaction2's zoo: 29.70M and 33.02M.
        ("slowfast50_4x16:variant=facebook", 101, 33_791_021),
        ("csn152", 400, 29_703_568),
        ("csn152:mode=ip", 400, 33_016_592),
        # Image twins on ImageNet: 25.557M, 14.274M, 53.050M, 4.914M, 27.096M.
        ("slowonly50:image=true", 1000, 25_557_032),
        ("resnet50", 1000, 25_557_032),
        ("csn50:image=true", 1000, 14_273_768),
        ("r2plus1d34:image=true", 1000, 53_049_993),
        ("x3d_s:image=true", 1000, 4_913_790),
        ("slowfast50_4x16:image=true", 1000, 27_095_600),
        # The rest, as built.
        ("slowonly101", 400, 60_359_120),
        ("csn101", 400, 22_213_776),
        ("r2plus1d18", 400, 33_432_945),
        ("x3d_l", 400, 6_153_432),
    ],
)
def test_parameters_to_the_digit(spec, num_classes, parameters):
    params = shapes_of(spec, num_classes)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == parameters


@pytest.mark.parametrize("name", FAMILIES)
def test_sts_has_the_parameters_of_the_plain_convolution(name):
    assert shapes_of(f"{name}:conv=sts") == shapes_of(name)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_image_twin_has_the_leaves_of_the_video_network(name):
    video, twin = shapes_of(name), shapes_of(f"{name}:image=true")
    assert jax.tree.structure(video) == jax.tree.structure(twin)
    kernels = [leaf for leaf in jax.tree.leaves(twin["params"]) if leaf.ndim == 5]
    assert {kernel.shape[0] for kernel in kernels} == {1}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_centred_network_equals_its_image_twin(name):
    twin, plain, sts = small(f"{name}:image=true"), small(name), small(f"{name}:conv=sts")
    frame = clips_of(1)
    shapes = jax.eval_shape(plain.init, jax.random.key(0), frame)
    variables = draw(twin, frame)
    centred = jax.tree.map(_centre, variables, shapes)
    expected = np.asarray(compiled(twin.apply, variables, frame)(variables, frame))
    scale = np.abs(expected).max()
    still = np.repeat(frame, 9, axis=1)
    for model in (plain, sts):
        for clips in (frame, still):
            logits = compiled(model.apply, centred, clips)(centred, clips)
            np.testing.assert_allclose(logits, expected, atol=1e-5 * scale)


def _centre(kernel: jax.Array, like: jax.ShapeDtypeStruct) -> jax.Array:
    if kernel.shape == like.shape:
        return kernel
    off = (like.shape[0] - 1) // 2
    return jnp.pad(kernel, [(off, off), *[(0, 0)] * (kernel.ndim - 1)])


@pytest.mark.parametrize("name", FAMILIES)
def test_takes_clips_of_any_length(name):
    model = models.make_model(f"{name}:conv=sts", num_classes=5)
    variables = shapes_of(f"{name}:conv=sts", 5)
    for frames in (1, 3, 12):
        clips = jax.ShapeDtypeStruct((2, frames, 64, 64, 3), jnp.float32)
        assert jax.eval_shape(model.apply, variables, clips).shape == (2, 5)


def compiled(function: Callable, *args: Any) -> Callable:
    """Compile for these arguments in half the time, to code that is half as fast."""
    options = {"xla_backend_optimization_level": 0}
    return jax.jit(function).lower(*args).compile(compiler_options=options)


def train(model: nn.Module, clips: np.ndarray, steps: int) -> tuple[Any, list[float]]:
    """Take steps of SGD towards class 0; return the variables and the losses."""

    def take_step(variables, key):
        def loss_fn(params):
            logits, updates = model.apply(
                {**variables, "params": params},
                clips,
                True,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )
            return -jax.nn.log_softmax(logits)[:, 0].mean(), updates

        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, updates), grads = grad_fn(variables["params"])
        params = jax.tree.map(lambda p, g: p - 0.01 * g, variables["params"], grads)
        return {"params": params, **updates}, loss

    variables = draw(model, clips)
    losses = []
    keys = jax.random.split(jax.random.key(1), steps)
    step = compiled(take_step, variables, keys[0])
    for key in keys:
        variables, loss = step(variables, key)
        losses.append(float(loss))
    return variables, losses


def assert_trains_in_bfloat16(model: nn.Module, size: int) -> None:
    variables, losses = train(model, clips_of(4, size), steps=20)
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    for leaf in jax.tree.leaves(variables):
        assert leaf.dtype == jnp.float32
        assert np.isfinite(leaf).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_bfloat16_trains_without_nan(name):
    assert_trains_in_bfloat16(small(f"{name}:conv=sts", dtype="bfloat16"), size=16)


@pytest.mark.long
@pytest.mark.parametrize("conv", ["conv3d", "sts"])
@pytest.mark.parametrize("name", FAMILIES)
def test_bfloat16_trains_whole_networks_without_nan(name, conv):
    spec = f"{name}:conv={conv},dtype=bfloat16"
    assert_trains_in_bfloat16(models.make_model(spec, num_classes=5), size=32)


def test_recomputed_stages_change_nothing_but_memory():
    options = {"dropout": 0.0, "drop_path": 0.2}
    kept, losses = train(small("slowonly50", **options), clips_of(2, 16), steps=2)
    recomputed, again = train(small("slowonly50", remat=(1,), **options), clips_of(2, 16), steps=2)
    np.testing.assert_allclose(again, losses, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), recomputed, kept)


def residual_bytes(model, clips):
    """Return what is kept from the forward pass for the backward pass."""
    variables = jax.eval_shape(model.init, jax.random.key(0), clips)

    def loss(variables):
        return model.apply(variables, clips, True, mutable=["batch_stats"])[0].sum()

    kept = jax.eval_shape(lambda variables: jax.vjp(loss, variables)[1], variables)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept))


def test_stages_that_are_recomputed_keep_little():
    """Of the two stages, their inputs; the stem's activations remain."""
    clips = np.zeros((4, 2, 32, 32, 3), np.float32)
    plain, recomputed = (
        residual_bytes(small("slowonly50", dropout=0.0, remat=remat), clips)
        for remat in ((), (1, 2))
    )
    assert recomputed < 0.4 * plain


@pytest.mark.parametrize("name", ["slowfast50_4x16", "x3d_s"])
def test_every_family_recomputes_the_stages_named(name):
    model = small(name, remat=(1, 2))
    jaxpr = jax.make_jaxpr(model.apply)(draw(model, clips_of(2)), clips_of(2))
    stages = 4 if name.startswith("slowfast") else 2
    recomputed = [eqn for eqn in jaxpr.eqns if eqn.primitive.name in ("checkpoint", "remat2")]
    assert len(recomputed) == stages


def drop_path_rates_of(spec: str) -> dict[str, float]:
    """Return the rate of every block's drop-path by the block's path, in order of execution."""
    rates = {}

    def note(call, args, kwargs, context):
        if isinstance(context.module, layers.DropPath):
            rates["/".join(context.module.path[:-1])] = context.module.rate
        return call(*args, **kwargs)

    model = models.make_model(spec, num_classes=5)
    with nn.intercept_methods(note):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 4, 64, 64, 3)))
    return rates


@pytest.mark.parametrize(
    ("spec", "pathways", "blocks"),
    [
        ("slowonly50", ("",), 16),
        ("csn50", ("",), 16),
        ("r2plus1d34", ("",), 16),
        ("x3d_s", ("",), 26),
        ("slowfast50_4x16", ("fast/", "slow/"), 16),
        ("tsn_mobilenet_v2", ("",), 10),
    ],
)
def test_drop_path_is_in_every_residual_block_and_grows_linearly(spec, pathways, blocks):
    rates = drop_path_rates_of(f"{spec}:drop_path=0.3")
    assert len(rates) == len(pathways) * blocks
    for pathway in pathways:
        found = [rate for path, rate in rates.items() if path.startswith(pathway)]
        if spec == "tsn_mobilenet_v2":  # Blocks without a shortcut have no branch to drop.
            assert found == sorted(found)
            assert found[-1] < 0.3
        else:
            np.testing.assert_allclose(found, np.linspace(0.0, 0.3, blocks))


def test_stages_to_recompute_must_exist():
    with pytest.raises(ValueError, match="stage 5 does not exist: stages are 1 to 4"):
        shapes_of("slowonly50:remat=5")


@pytest.mark.parametrize(
    ("spec", "size", "message"),
    [
        ("csn50:conv=sts", 72, r"stage3/block0/conv2/conv: .* got 9 x 9; use static 'axis'"),
        ("x3d_s:conv=sts", 72, r"stage3/block0/conv2/conv: .* use static 'axis'"),
        ("csn50:conv=sts,temporal_strides=1+2+2+2", 64, "stage2/block0/conv2/conv: .*temporal"),
        ("slowonly50:conv=sts,static=dilated", 64, "stage3/block0/conv1/conv: .*'raster' or"),
        ("resnet:width=6,conv=sts", 64, "stage1/block0/conv1/conv: .*6 channels do not divide"),
        ("slowonly50:conv=sts,ratio=-1:2", 64, "stage3/block0/conv1/conv: ratio must be"),
    ],
)
def test_errors_name_the_layer_and_what_would_do(spec, size, message):
    with pytest.raises(ValueError, match=message):
        shapes_of(spec, size=size)


def test_odd_sizes_and_other_ratios_run_under_axis():
    for name in ("csn50", "x3d_s"):
        shapes_of(f"{name}:conv=sts,static=axis,ratio=2:1", size=75)
        shapes_of(f"{name}:conv=sts,static=dilated", size=75)


@pytest.mark.parametrize(
    ("num_frames", "alpha", "variant", "frames"),
    [
        (32, 8, "released", [0, 8, 16, 24]),
        (32, 8, "facebook", [0, 10, 20, 31]),
        (32, 4, "released", [0, 4, 8, 12, 16, 20, 24, 28]),
        (12, 8, "released", [0, 8]),
        (12, 8, "facebook", [0, 11]),
        (1, 8, "released", [0]),
        (1, 8, "facebook", [0]),
    ],
)
def test_slow_frames(num_frames, alpha, variant, frames):
    assert slow_frames(num_frames, alpha, variant).tolist() == frames


def test_x3d_widths_are_the_published_ones():
    assert [x3d.squeezed(width) for width in (54, 108, 216, 432)] == [8, 8, 16, 32]
    assert models.make_model("x3d_m").depths == (3, 5, 11, 7)
    assert models.make_model("x3d_l").depths == (5, 10, 25, 15)


def test_frames_are_averaged_by_logits_in_image_networks():
    model = small("resnet50")
    clips = clips_of(3)
    variables = draw(model, clips)
    apply = jax.jit(model.apply)
    frames = [apply(variables, clips[:, t : t + 1]) for t in range(3)]
    np.testing.assert_allclose(apply(variables, clips), np.mean(frames, 0), rtol=1e-5, atol=1e-5)


MINIATURE = "depths=1+1+1+2,width=32"


@pytest.mark.parametrize(
    "spec",
    [
        *(f"{name}:conv=sts" for name in FAMILIES),
        "resnet50",
        "tsn50",
        "tsm50",
        "sth50:attention=true,dilation=1+2+3",
        "sth50:conv=2plus1d_parallel",
        "ct50:dims=3",
        "ct50:blocks=1,conv=csn",
    ],
)
def test_every_residual_network_comes_in_miniature(spec):
    """Leaves of stages that exist in both have the same names; only their sizes differ."""
    miniature = f"{spec}{',' if ':' in spec else ':'}{MINIATURE}"
    full, small_ = (tree_paths(shapes_of(name, 5, 4, 32)) for name in (spec, miniature))
    assert set(small_) < set(full)
    assert sum(small_.values()) < sum(full.values())


def tree_paths(shapes: Any) -> dict[str, int]:
    return {
        jax.tree_util.keystr(path): leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)
    }


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("csn50:depths=1+1", r"depths=\(1, 1\): the network has 4 stages"),
        ("csn50:depths=1+1+1+0", "at least one block a stage"),
        ("slowfast50_4x16:width=4", "the fast pathway has 1/8 of it"),
        ("sth_vgg16:width=8", "vgg16 has one size only"),
        ("tsn_mobilenet_v2:depths=1+1+1+1", "mobilenet_v2 has one size only"),
        ("x3d_s:width=0", "at least 1 channel"),
    ],
)
def test_sizes_that_a_network_cannot_have(spec, message):
    with pytest.raises(ValueError, match=message):
        models.make_model(spec)
