# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The whole road in miniature, on the digits that scikit-learn carries.

Pre-trains the image twin of a small residual network on still digits, makes a plain 3D network
and an STS network of it, fine-tunes both on moving digits, and trains both from scratch at the
same number of images seen. It is the pipeline of the STS paper (Tables 3 and 7), not one of its
rows: 40 classes (10 digits x 4 motions), clips of 6 frames of 24 x 24 pixels.

    python -m vidpretrain.main --config configs/demo.py --workdir runs/demo
    python -m vidpretrain.main --config configs/demo.py:seed=1 --workdir runs/demo_seed1

Takes minutes on two CPU cores; the README shows what came out.
"""

from __future__ import annotations

from vidpretrain.config import ConfigDict, base, pipeline, recipe_args, source

NETWORK = "resnet:depths=1+1+1,width=16,stem_kernel=3"
FRAMES = 6
# Whole steps of 64 images, and of 32 clips of 6 frames.
PRETRAIN_IMAGES = 61_440
FINETUNE_IMAGES = 96_000

# Ten times the training digits, each drawn anew; none of the handwritten test digits among them.
EXAMPLES = 12_040
SCENE = {
    "canvas_px": 24,
    "digit_scale": (0.5, 0.6),
    "contrast": (80.0, 120.0),
    "texture": 10.0,
    "num_distractors": 0,
    "noise": 4.0,
}


def get_config(argument: str = "") -> ConfigDict:
    """Return the demo's five stages; `seed` is the only argument."""
    args = recipe_args(argument, seed=0)

    def stage(convolution: str, init: str, images: int) -> ConfigDict:
        config = base()
        config.seed = args.seed
        config.model.name = f"{NETWORK},{convolution}"
        config.model.dropout = 0.0
        config.init.source = init
        config.pixels.mean = (0.5, 0.5, 0.5)
        config.pixels.std = (0.18, 0.18, 0.18)
        config.views.crop = "shifted"
        config.views.size_px = SCENE["canvas_px"]
        config.views.frames = FRAMES
        config.views.stride = 3
        config.views.test_short_side_px = 0
        config.batch_size = 32
        config.duration = f"{images} images"
        config.schedule.base_lr = 0.1
        config.schedule.base_batch = 32
        config.schedule.warmup = f"{images // 10} images"
        config.optim.nesterov = True
        config.optim.weight_decay = 5e-4
        config.test.every = f"{images // 5} images"
        config.test.batch_size = 80
        config.checkpoint.every = f"{images // 5} images"
        with config.unlocked():
            config.source = source("moving_digits", num_train_clips=EXAMPLES, **SCENE)
        return config

    pretrained = stage("image=true", "", PRETRAIN_IMAGES)
    pretrained.views.frames = 1
    pretrained.batch_size = 64
    with pretrained.unlocked():
        pretrained.source = source("stills", num_train_clips=EXAMPLES, **SCENE)
    total = PRETRAIN_IMAGES + FINETUNE_IMAGES
    return pipeline(
        pretrained=pretrained,
        finetuned_plain=stage("conv=conv3d", "pretrained", FINETUNE_IMAGES),
        finetuned_sts=stage("conv=sts", "pretrained", FINETUNE_IMAGES),
        scratch_plain=stage("conv=conv3d", "", total),
        scratch_sts=stage("conv=sts", "", total),
    )
