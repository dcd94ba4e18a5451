# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
r"""Jester: STH's results.

    python -m vidpretrain.main --workdir runs/jester_sth50 \
        --config configs/finetune_jester.py:model=sth50:attention=true,init=resnet50.pth

| argument | meaning |
|---|---|
| `model`, `frames` | network; segments, 8 or 16 |
| `init` | image checkpoint, such as torchvision's ResNet-50 |
| `clips`, `crops` | views of a test |
| `data`, `packed` | folder as in docs/data.md, or one that is packed |

Expected: 96.2 top-1 with 8 frames, 96.5 with 16. Cost: 119k videos x 8 frames x 50 epochs = 47M
images at 30.5 GFLOPs a clip. Not run at full scale.

Published are epochs, weight decay, frame sizes and that tests of motion take 2 clips x 3 crops;
`published` in vidpretrain/config.py says what is ours. No clip is mirrored (ours).
"""

from __future__ import annotations

from vidpretrain.config import (
    ConfigDict,
    pipeline,
    published,
    recipe_args,
    smoke_test,
    source,
)


def get_config(argument: str = "") -> ConfigDict:
    """Return one stage, `finetune`."""
    args = recipe_args(
        argument,
        model="sth50:attention=true",
        frames=8,
        clips=2,
        crops=3,
        init="",
        data="data/jester",
        packed=False,
        smoke=False,
    )
    config = published("sth")
    config.model.name = args.model
    config.init.source = args.init
    config.views.frames = args.frames
    config.views.test_clips = args.clips
    config.views.test_crops = args.crops
    config.views.test_size_px = 224 if args.crops == 1 else 256
    with config.unlocked():
        config.source = (
            source("packed", folder=args.data, published="jester")
            if args.packed
            else source(
                "frames",
                train=f"{args.data}/jester-v1-train.csv",
                test=f"{args.data}/jester-v1-validation.csv",
                classes=f"{args.data}/jester-v1-labels.csv",
                root=f"{args.data}/20bn-jester-v1",
                published="jester",
            )
        )
    recipe = pipeline(finetune=config)
    return smoke_test(recipe) if args.smoke else recipe
