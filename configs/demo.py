# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The whole road in miniature, on the digits that scikit-learn carries.

Pre-trains the image twin of a small residual network on still digits, makes a plain 3D network
and an STS network of it, fine-tunes both on moving digits, and trains both from scratch at the
same number of images seen. It is the pipeline of the STS paper (Tables 3 and 7), not one of its
rows: 40 classes (10 digits x 4 motions), clips of 8 frames of 32 x 32 pixels.

    python -m vidpretrain.main --config configs/demo.py --workdir runs/demo
    python -m vidpretrain.main --config configs/demo.py:seed=1 --workdir runs/demo_seed1

Takes minutes on two CPU cores; the README shows what came out.
"""

from __future__ import annotations

from vidpretrain.config import ConfigDict, base, pipeline, recipe_args, source

NETWORK = "resnet:block=bottleneck,depths=1+1+1,width=16,stem_kernel=3,stem_stride=1"
PRETRAIN_IMAGES = 100_000
FINETUNE_IMAGES = 300_000


def get_config(argument: str = "") -> ConfigDict:
    """Return the demo's five stages; `seed` is the only argument."""
    args = recipe_args(argument, seed=0)

    def stage(conv: str, init: str, images: int) -> ConfigDict:
        config = base()
        config.seed = args.seed
        config.model.name = f"{NETWORK},{conv}"
        config.init.source = init
        config.duration = f"{images} images"
        config.pixels.mean = (0.5, 0.5, 0.5)
        config.pixels.std = (0.25, 0.25, 0.25)
        config.views.crop = "shifted"
        config.views.size_px = 32
        config.views.pad_px = 2
        config.views.test_short_side_px = 0
        config.views.stride = 2
        config.batch_size = 32
        config.test.every = f"{images / 5} images"
        config.test.batch_size = 64
        config.checkpoint.every = f"{images / 10} images"
        config.schedule.base_batch = 32
        config.schedule.base_lr = 0.05
        config.schedule.warmup = f"{images / 20} images"
        return config

    pretrained = stage("image=true", "", PRETRAIN_IMAGES)
    with pretrained.unlocked():
        pretrained.source = source("stills")
    pretrained.views.frames = 1
    pretrained.batch_size = 128
    return pipeline(
        pretrained=pretrained,
        finetuned_plain=stage("conv=conv3d", "pretrained", FINETUNE_IMAGES),
        finetuned_sts=stage("conv=sts", "pretrained", FINETUNE_IMAGES),
        scratch_plain=stage("conv=conv3d", "", PRETRAIN_IMAGES + FINETUNE_IMAGES),
        scratch_sts=stage("conv=sts", "", PRETRAIN_IMAGES + FINETUNE_IMAGES),
    )
