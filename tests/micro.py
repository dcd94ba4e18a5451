# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""A recipe small enough to run whole in tests: seconds to compile, milliseconds a step."""

from vidpretrain.config import base, pipeline, recipe_args, source

NETWORK = "resnet:depths=1,width=4,stem_kernel=3"


def get_config(argument=""):
    args = recipe_args(argument, stages="pretrained+finetuned", steps=6, ema=0.0)

    def stage(network, init):
        config = base()
        config.model.name = network
        config.init.source = init
        config.pixels.mean = config.pixels.std = (0.5, 0.5, 0.5)
        config.views.crop = "shifted"
        config.views.size_px = 16
        config.views.pad_px = 1
        config.views.frames = 4
        config.views.test_short_side_px = 0
        config.views.flip = True
        config.batch_size = 4
        config.duration = f"{args.steps} steps"
        config.schedule.base_batch = 4
        config.schedule.base_lr = 0.02
        config.schedule.warmup = "1 step"
        config.optim.clip_norm = 5.0
        config.loss.label_smoothing = 0.1
        config.ema.decay = args.ema
        config.test.every = "100 steps"
        config.test.batch_size = 8
        config.checkpoint.every = "2 steps"
        config.log_every = "1 step"
        with config.unlocked():
            config.source = source("moving_digits", canvas_px=16, num_clips=12, clip_frames=8)
        return config

    pretrained = stage(f"{NETWORK},image=true", "")
    pretrained.views.frames = 1
    with pretrained.unlocked():
        pretrained.source = source("stills", canvas_px=16, num_clips=12)
    finetuned = stage(f"{NETWORK},conv=sts", "pretrained")
    # Long enough to be stopped on the way.
    finetuned.duration = "20 steps"
    stages = {
        "pretrained": pretrained,
        "finetuned": finetuned,
        "scratch": stage(f"{NETWORK},conv=sts", ""),
    }
    return pipeline(**{name: stages[name] for name in args.stages.split("+")})
