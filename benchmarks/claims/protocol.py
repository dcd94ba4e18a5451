# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""What is trained and how: every training of the benchmark, by name.

All trainings share one protocol, fixed before any of them was tested; they differ in the network,
in where its weights come from and, for one claim, in whether the digit is part of the class.
Budgets are equal as in the STS paper's Table 7 (16 and 32 frames): pre-training and fine-tuning
show as many images each, training from scratch shows as many as both.
"""

from __future__ import annotations

import functools

from vidpretrain.analyze import probe
from vidpretrain.config import ConfigDict, base, source

# SlowOnly in miniature, with a 3x1x1 in each of its three blocks (ResNet50-3x1x1 of STS).
VIDEO = "resnet:depths=1+1+1,width=16,stem_kernel=3"
STS_RATIOS = {"plain": "0:1", "1to1": "1:1", "1to2": "1:2", "2to1": "2:1", "unsplit": "1:0"}
"""Static to dynamic channels, by their names in trainings; 0:1 is the plain convolution."""

# ResNet-18 with six blocks of 16 to 128 channels, and what STH, CT, TSM and TSN make of it.
_SIZE = "depths=2+2+1+1,width=16"
PLUGINS = {
    "tsn": f"tsn18:{_SIZE}",
    "tsm": f"tsm18:{_SIZE}",
    "r2plus1d": f"sth18:{_SIZE},conv=2plus1d_sequential",
    "sth": f"sth18:{_SIZE}",
    "sth_merge": f"sth18:{_SIZE},mode=merge",
    "sth_attention": f"sth18:{_SIZE},attention=true",
    "ct": f"ct18:{_SIZE}",
    "ct_dims1": f"ct18:{_SIZE},dims=1",
    "ct_dims3": f"ct18:{_SIZE},dims=3",
    "ct_kernels13": f"ct18:{_SIZE},kernels=1+3",
    "ct_kernels55": f"ct18:{_SIZE},kernels=5",
}
ON_DIGITS_AND_MOTION = tuple(name for name in PLUGINS if name not in ("tsn", "tsm"))
ON_MOTION_ALONE = ("tsn", "tsm", "r2plus1d", "sth", "ct")

FRAMES = 6
SIZE_PX = 24
CLIPS_PER_STEP = 32
STILLS_PER_STEP = 64
STAGE_IMAGES = 48_000  # Shown in pre-training, and again in fine-tuning: 750 and 250 steps.
EXAMPLES = 12_040  # Ten times the training digits, each drawn anew.
SCENE = {
    "canvas_px": SIZE_PX,
    "digit_scale": (0.5, 0.6),
    "contrast": (80.0, 120.0),
    "texture": 10.0,
    "num_distractors": 0,
    "noise": 4.0,
}


def all_trainings(seed: int) -> dict[str, ConfigDict]:
    """Return every training's configuration by its name, those that others start from first.

    Args:
        seed: of initial weights, data order and augmentation.
    """

    def pretrained(network: str) -> ConfigDict:
        config = _common(network, seed, STAGE_IMAGES)
        config.views.frames = 1
        config.batch_size = config.schedule.base_batch = STILLS_PER_STEP
        return _with_source(config, "stills")

    def video(
        network: str,
        init: str = "",
        method: str = "center",
        images: int = STAGE_IMAGES,
        **options: bool,
    ) -> ConfigDict:
        config = _common(network, seed, images)
        config.init.source = init
        config.init.method = method
        return _with_source(config, "moving_digits", **options)

    trainings = {
        "stills": pretrained(f"{VIDEO},image=true"),
        "stills_plugin": pretrained(f"tsn18:{_SIZE},image=true"),
    }
    for kind, options in (("plain", "conv=conv3d"), ("sts", "conv=sts")):
        network = f"{VIDEO},{options}"
        trainings[f"{kind}_scratch"] = video(network, images=2 * STAGE_IMAGES)
        trainings[f"{kind}_center"] = video(network, "stills")
        trainings[f"{kind}_average"] = video(network, "stills", "average")
    trainings["sts_axis"] = video(f"{VIDEO},conv=sts,static=axis", "stills")
    trainings["plain_rates"] = video(f"{VIDEO},conv=conv3d", "stills", "1/9,1/3,1/9")
    for name, ratio in STS_RATIOS.items():
        network = f"{VIDEO},conv=sts,ratio={ratio}"
        # The network itself sees images: its static taps learn from them, and the outer ones of
        # its dynamic kernels, which see nothing in a single frame, only decay from what was drawn.
        trainings[f"stills_sts_{name}"] = pretrained(network)
        trainings[f"sts_on_{name}"] = video(network, f"stills_sts_{name}")
    for tap, name in enumerate(probe.TAPS):
        trainings[f"probe_{name}"] = _probe(pretrained(VIDEO), "plain_scratch", tap)
    for name in ON_DIGITS_AND_MOTION:
        trainings[name] = video(PLUGINS[name], "stills_plugin")
    for name in ON_MOTION_ALONE:
        trainings[f"motion_{name}"] = video(PLUGINS[name], "stills_plugin", tell_digits=False)
    trainings["motion_sts"] = video(f"{VIDEO},conv=sts", "stills", tell_digits=False)
    return trainings


def with_its_source(name: str) -> list[str]:
    """Return a training's name, after that of the training whose weights it starts from."""
    source = _sources()[name]
    return [source, name] if source else [name]


@functools.cache
def _sources() -> dict[str, str]:
    return {name: config.init.source for name, config in all_trainings(seed=0).items()}


def _probe(config: ConfigDict, source_name: str, tap: int) -> ConfigDict:
    """Train the classifier alone, on one temporal tap of a 3D network, as `analyze probe` does."""
    config.model.name = f"{VIDEO},image=true"
    config.init.source = source_name
    config.init.tap = tap
    config.optim.frozen = ("[!h]*",)
    return config


def _common(network: str, seed: int, images: int) -> ConfigDict:
    config = base()
    config.seed = seed
    config.model.name = network
    config.model.dropout = 0.0
    config.pixels.mean = (0.5, 0.5, 0.5)
    config.pixels.std = (0.18, 0.18, 0.18)
    config.views.crop = "shifted"
    config.views.size_px = SIZE_PX
    config.views.frames = FRAMES
    config.views.stride = 3
    config.views.test_short_side_px = 0
    config.batch_size = config.schedule.base_batch = CLIPS_PER_STEP
    config.duration = f"{images} images"
    config.schedule.base_lr = 0.1
    config.schedule.warmup = f"{images // 10} images"
    config.optim.nesterov = True
    config.optim.weight_decay = 5e-4
    # Only what comes out at the end is reported, and what is interrupted is short.
    config.test.every = config.checkpoint.every = f"{images} images"
    config.test.batch_size = 74
    config.test.save_scores = True
    return config


def _with_source(config: ConfigDict, name: str, **options: bool) -> ConfigDict:
    with config.unlocked():
        config.source = source(name, num_train_clips=EXAMPLES, **SCENE, **options)
    return config
