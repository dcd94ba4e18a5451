# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
r"""Mini-Kinetics (200 classes of Kinetics-400): CT-Net's result.

    python -m vidpretrain.main --workdir runs/minikinetics_ct50 \
        --config configs/finetune_minikinetics.py:model=ct50,init=resnet50.pth

| argument | meaning |
|---|---|
| `model`, `frames` | network; frames of a clip |
| `init` | image checkpoint, such as torchvision's ResNet-50 |
| `data` | folder of Kinetics-400 (docs/data.md) with `mini_kinetics_200.txt`, a class a line |

Expected: 78.0 top-1. Cost: 80k videos x 16 frames x 110 epochs = 141M images at 75 GFLOPs a clip.
Not run at full scale.

The paper does not say how it trains on it: all is as on Kinetics-400 (ours).
"""

from __future__ import annotations

from vidpretrain.config import (
    ConfigDict,
    pipeline,
    published,
    recipe_args,
    smoke_test,
    source,
    with_options,
)


def get_config(argument: str = "") -> ConfigDict:
    """Return one stage, `finetune`."""
    args = recipe_args(argument, model="ct50", frames=16, init="", data="data/k400", smoke=False)
    config = published("ct")
    config.model.name = with_options(args.model, norm_group=8)
    config.init.source = args.init
    config.views.sampling = "dense"
    config.views.frames = args.frames
    config.views.stride = 64 // args.frames
    config.views.flip = True
    config.views.test_clips = 4
    config.views.test_crops = 3
    config.duration = "110 epochs"
    config.schedule.base_lr = 0.01
    config.schedule.warmup_lr = 0.001
    config.optim.weight_decay = 1e-4
    config.test.every = "10 epochs"
    with config.unlocked():
        config.source = source(
            "videos",
            train=f"{args.data}/annotations/train.csv",
            test=f"{args.data}/annotations/val.csv",
            root=args.data,
            only_classes=f"{args.data}/mini_kinetics_200.txt",
            short_side_px=256,
            published="minikinetics200",
        )
    recipe = pipeline(finetune=config)
    return smoke_test(recipe) if args.smoke else recipe
