# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
r"""Something-Something V1 and V2: STS Tables 4 and 9, STH Tables 2 to 8, CT-Net Tables 2 to 8.

    python -m vidpretrain.main --workdir runs/ssv2_slowonly50 --config \
        configs/finetune_something.py:model=slowonly50,conv=sts,init=runs/imagenet_slowonly50/pretrain

| argument | meaning |
|---|---|
| `version` | 1 (frames as JPEG) or 2 (videos) |
| `model`, `conv` | network, `conv=sts` for STS; batch, rate and length follow from its paper |
| `init`, `inflate` | checkpoint; what 3D kernels get: `center`, `average`, `1/9+1/3+1/9` |
| `frames`, `clips`, `crops` | segments; views of a test |
| `epochs`, `budget`, `paper` | as in finetune_k400.py |
| `modality` | `rgb`, or `flow`: five fields, computed or packed before (STH's two streams) |
| `data`, `packed` | folder as in docs/data.md, or one that is packed |

Row by row, with commands: docs/recipes.md. This command is STS Table 4, SlowOnly-50: 62.7 top-1;
68M images (169k videos x 8 frames x 50 epochs) at 54.9 GFLOPs a view of 256, 3 views. Not run at
full scale. Nothing is mirrored: most classes have no mirror image.

Not published, and ours: epochs from scratch (docs/recipes.md); of STH, what `published` in
vidpretrain/config.py says, and tests of 256 wherever there are three crops.
"""

from __future__ import annotations

from vidpretrain.config import (
    ConfigDict,
    check_choices,
    paper_of,
    pipeline,
    published,
    recipe_args,
    smoke_test,
    source,
    with_options,
)

# Batch, rate, dropout, clips that batch norm sees (0: the whole batch), epochs, crops in tests.
SETTINGS = {
    "sts": (64, 0.1, 0.5, 8, 50, 3),
    "sth": (64, 0.01, 0.5, 0, 50, 1),
    "ct": (64, 0.02, 0.3, 8, 45, 1),
}


def get_config(argument: str = "") -> ConfigDict:
    """Return one stage, `finetune`."""
    args = recipe_args(
        argument,
        version=2,
        model="slowonly50",
        conv="",
        paper="",
        frames=0,
        clips=1,
        crops=0,
        init="",
        inflate="center",
        epochs=0,
        budget=0.0,
        modality="rgb",
        data="",
        packed=False,
        smoke=False,
    )
    check_choices(args, version=(1, 2), modality=("rgb", "flow"), paper=("", *SETTINGS))
    paper = args.paper or paper_of(args.model)
    batch, rate, dropout, group, epochs, crops = SETTINGS[paper]
    config = published(paper)
    config.model.name = with_options(args.model, conv=args.conv, norm_group=group)
    config.model.dropout = dropout
    config.init.source = args.init
    config.init.method = args.inflate.replace("+", ",")
    config.views.sampling = "segments"
    config.views.frames = args.frames or (32 if args.model.startswith("slowfast") else 8)
    config.views.test_clips = args.clips
    config.views.test_crops = args.crops or crops
    config.views.test_size_px = 224 if paper == "sth" and config.views.test_crops == 1 else 256
    if "inception" in args.model:
        config.views.size_px = config.views.test_size_px = config.views.test_short_side_px = 299
    epochs = args.epochs or epochs
    config.duration = f"{args.budget:.0f} images" if args.budget else f"{epochs} epochs"
    config.batch_size = config.schedule.base_batch = batch
    config.schedule.base_lr = rate
    if paper != "sth":
        config.schedule.warmup_lr = rate / 10
    if paper == "ct":
        config.optim.weight_decay = 5e-4
    data = args.data or f"data/ssv{args.version}"
    motion: dict[str, str | int] = {}
    if args.modality == "flow":
        motion = {"stack": 5} if args.packed else {"modality": "flow", "stack": 5}
        config.pixels.mean, config.pixels.std = (0.5,) * 10, (0.226,) * 10
    published_name = f"something_v{args.version}"
    labels, videos = f"{data}/labels", f"{data}/20bn-something-something-v{args.version}"
    with config.unlocked():
        if args.packed:
            config.source = source("packed", folder=data, published=published_name, **motion)
        else:
            kind, names = (
                ("frames", ("train.csv", "validation.csv", "labels.csv"))
                if args.version == 1
                else ("videos", ("train.json", "validation.json", "labels.json"))
            )
            train, test, classes = (f"{labels}/{name}" for name in names)
            config.source = source(
                kind,
                train=train,
                test=test,
                classes=classes,
                root=videos,
                published=published_name,
                **motion,
            )
    recipe = pipeline(finetune=config)
    return smoke_test(recipe) if args.smoke else recipe
