# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
r"""UCF-101 and HMDB-51 from weights of Kinetics-400: STH and CT-Net, split by split.

    python -m vidpretrain.main --workdir runs/ucf101_sth50_1 --config \
        configs/finetune_ucf_hmdb.py:dataset=ucf101,split=1,init=runs/k400_sth50/finetune

| argument | meaning |
|---|---|
| `dataset` | `ucf101` or `hmdb51` |
| `split` | 1, 2 or 3; the papers give the mean of the three |
| `model`, `frames` | network; segments |
| `init` | checkpoint of the same network on Kinetics-400 (finetune_k400.py) |
| `data` | folder as in docs/data.md; `data/` and the data set's name by default |

Expected top-1, mean of three splits: on UCF-101 STH 96.0 and CT-Net 96.2, on HMDB-51 74.8 and
73.2. Cost: 9.5k or 3.6k videos x 8 frames x 25 epochs = 1.9M or 0.7M images a split. Not run at
full scale.

The papers do not say how they train on these; ours is as TSM's code does: rate 0.001 a batch of
64, a tenth after 10 and 20 of 25 epochs, dropout 0.8. Tests take 10 clips x 3 crops (STH) or 4 x 3
(CT-Net; ours).
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

# Training list, test list, and folder of videos; {split} is 1, 2 or 3.
FILES = {
    "ucf101": (
        "ucfTrainTestlist/trainlist0{split}.txt",
        "ucfTrainTestlist/testlist0{split}.txt",
        "UCF-101",
    ),
    "hmdb51": ("splits/*_test_split{split}.txt", "splits/*_test_split{split}.txt", "videos"),
}


def get_config(argument: str = "") -> ConfigDict:
    """Return one stage, `finetune`."""
    args = recipe_args(
        argument,
        dataset="ucf101",
        model="sth50:attention=true",
        frames=8,
        split=1,
        init="",
        data="",
        smoke=False,
    )
    check_choices(args, dataset=FILES, split=(1, 2, 3))
    train, test, videos = (path.format(split=args.split) for path in FILES[args.dataset])
    folder = args.data or f"data/{args.dataset}"
    paper = paper_of(args.model)
    config = published(paper)
    config.model.name = with_options(args.model, norm_group=8 if paper == "ct" else 0)
    config.model.dropout = 0.8
    config.init.source = args.init
    config.views.frames = args.frames
    config.views.flip = True
    config.views.test_clips = 4 if paper == "ct" else 10
    config.views.test_crops = 3
    config.views.test_size_px = 256
    config.duration = "25 epochs"
    config.schedule.kind = "step"
    config.schedule.milestones = ("10 epochs", "20 epochs")
    config.schedule.warmup = "0 epochs"
    config.schedule.base_lr = 0.001
    config.optim.weight_decay = 5e-4
    with config.unlocked():
        config.source = source(
            "videos",
            train=f"{folder}/{train}",
            test=f"{folder}/{test}",
            root=f"{folder}/{videos}",
            published=args.dataset,
        )
    recipe = pipeline(finetune=config)
    return smoke_test(recipe) if args.smoke else recipe
