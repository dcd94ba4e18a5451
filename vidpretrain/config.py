# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""Every knob once, with its meaning and unit; recipes; overrides from the command line.

A recipe is a file with `get_config(argument: str) -> ConfigDict`. It names its stages with
`pipeline(pretrain=..., finetune=...)`, each made by `base()` and then changed:

    def get_config(argument=""):
        args = recipe_args(argument, model="csn50", frames=32)
        config = base()
        config.model.name = f"{args.model}:conv=sts"
        ...
        return pipeline(finetune=config)

The papers' recipes, in `configs/`, begin with `published(paper)`, a stage with all that a paper
keeps the same for its networks, and take the argument `smoke`, with which `smoke_test` cuts them
down to two steps on the data that ships with the project.

The command line names the recipe and its arguments, and overrides single fields after
`get_config` has run: `--config configs/x.py:model=csn50,frames=8 --config.finetune.seed=1`.
So nothing that can be overridden may be multiplied inside a recipe: rates are stored per base
batch, durations as "50 epochs".
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import inspect
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vidpretrain.suggest import closest

_OVERRIDE = "--config."

# Half precision is STS's; what runs at full scale should read and keep as these say.
_FULL_SCALE: dict[str, Any] = {
    "model.dtype": "bfloat16",
    "input.num_workers": 16,
    "test.save_scores": True,
}
_PUBLISHED: dict[str, dict[str, Any]] = {
    "sts": {
        "views.crop": "resized",
        "schedule.warmup": "5 epochs",
        "optim.weight_decay": 1e-4,
        "optim.decayed": "all",  # as PyTorch's SGD does where nothing else is said
        "optim.clip_norm": 40.0,
    },
    # The paper gives epochs, weight decay, frame sizes and views. What it leaves open (rates,
    # batch, steps, clipping) is as in TSM's code, whose epochs and weight decay are the same.
    "sth": {
        "views.sampling": "segments",
        "views.crop": "shifted",
        "views.fixed_px": (256, 340),
        "views.test_short_side_px": 0,
        "duration": "50 epochs",
        "schedule.kind": "step",
        "schedule.milestones": ("20 epochs", "40 epochs"),
        "schedule.warmup": "0 epochs",
        "schedule.base_lr": 0.01,
        "optim.weight_decay": 5e-4,
        "optim.clip_norm": 20.0,
    },
    # The factor of 2 of "other biases" has nothing to act on: norms follow all convolutions, and
    # the released code leaves theirs at 1.
    "ct": {
        "views.sampling": "segments",
        "views.crop": "multiscale",
        "views.size_px": 256,
        "schedule.warmup": "10 epochs",
        "schedule.per": "epoch",
        "optim.clip_norm": 20.0,
        "optim.lr_factors": (("head/kernel", 5.0), ("head/bias", 10.0)),
        "test.average": "logits",
    },
}

# Options of sources that change what the network is given.
_KEPT_IN_SMOKE_TESTS = ("modality", "stack", "stills_every")


class ConfigError(ValueError):
    """A recipe, an argument or a field is not what it may be; the message says all."""


def base() -> ConfigDict:
    """Return one stage's configuration: every field with its default, locked."""
    config = ConfigDict()
    config.seed = 0  # of initial weights, data order, augmentation and dropout

    config.model = ConfigDict()
    config.model.name = "slowonly50"  # NAME[:option=value,...], see docs/networks.md
    config.model.num_classes = 0  # 0: as many as the data has
    config.model.dropout = None  # probability, before the classifier; None: the network's own
    config.model.dtype = "float32"  # of activations; parameters and statistics are float32

    config.init = ConfigDict()
    config.init.source = ""  # a checkpoint, or an earlier stage's name; empty: at random
    config.init.tap = -1  # 0, 1 or 2: an image network, cut out of a 3D one's kernels; -1: not
    config.init.method = "center"  # 2D to 3D: center, average, or rates "1/9,1/3,1/9"

    config.source = source("moving_digits")

    config.pixels = ConfigDict()
    config.pixels.mean = (0.485, 0.456, 0.406)  # per channel, of pixels in [0, 1]
    config.pixels.std = (0.229, 0.224, 0.225)  # per channel, of pixels in [0, 1]

    config.views = ConfigDict()
    config.views.sampling = "dense"  # dense: frames x stride; segments: one frame of each
    config.views.frames = 8  # of a clip: the network's window
    config.views.stride = 1  # frames; dense only
    config.views.short = "loop"  # beyond the end of a short video: loop, hold or refuse
    config.views.crop = "resized"  # resized: random area and shape; shifted; multiscale
    config.views.size_px = 224  # side of training clips
    config.views.area = (0.08, 1.0)  # least and greatest share of the frame; resized only
    config.views.short_side_px = 0  # frames are first resized so; not for resized; 0: keep
    config.views.fixed_px = (0, 0)  # or to this height, width; in tests too; (0, 0): keep
    config.views.pad_px = 0  # border added before shifted crops
    config.views.flip = False  # mirror half of the clips, with the data set's own label map
    config.views.color_jitter = (0.0, 0.0, 0.0, 0.0)  # of brightness, contrast, saturation, hue
    config.views.randaugment = ""  # such as rand-m7-mstd0.5-inc1; empty: none
    config.views.repeats = 1  # differently augmented clips of an example in a batch
    config.views.test_size_px = 0  # side of test clips; 0: as in training
    config.views.test_short_side_px = 256  # frames are first resized so in tests; 0: keep
    config.views.test_clips = 1  # clips per video in tests
    config.views.test_crops = 1  # 1: centre; 3: left, centre, right (or top, ...); 10

    config.input = ConfigDict()
    config.input.num_workers = 0  # processes that read and decode; 0: threads of this one
    config.input.read_ahead = 4  # batches that are ready before they are asked for
    config.input.worker_limit_sec = 600.0  # for a batch; a worker that takes longer is replaced
    config.input.max_bad_share = 0.01  # of examples that cannot be read, before training ends

    config.batch_size = 64  # examples per step, over all devices
    config.duration = "50 epochs"  # or steps, or images (clips x frames); "0 steps": only test

    config.schedule = ConfigDict()
    config.schedule.kind = "cosine"  # cosine, linear, step or constant
    config.schedule.base_lr = 0.1  # per `base_batch` examples; scaled linearly
    config.schedule.base_batch = 64
    config.schedule.warmup = "5 epochs"  # linear, part of the duration
    config.schedule.warmup_lr = 0.0  # at step 0, not scaled
    config.schedule.final_lr = 0.0  # at the end, not scaled; cosine and linear only
    config.schedule.milestones = ()  # durations, ("30 epochs", ...), after which ...
    config.schedule.decay_factor = 0.1  # ... the rate is multiplied by this; step only
    config.schedule.per = "step"  # step: the rate changes with each; epoch: it is held over one

    config.optim = ConfigDict()
    config.optim.name = "sgd"  # sgd, lamb or adamw
    config.optim.momentum = 0.9  # sgd only
    config.optim.nesterov = False  # sgd only
    config.optim.beta1 = 0.9  # of the gradient's moving average; lamb and adamw only
    config.optim.beta2 = 0.999  # of its square's
    config.optim.eps = 1e-6  # added to the square's root
    config.optim.weight_decay = 1e-4
    config.optim.decayed = "kernels"  # kernels: no norms, no biases; all: everything
    config.optim.clip_norm = 0.0  # of the whole gradient; 0: off
    config.optim.lr_factors = ()  # (pattern, factor) by path, first match: (("*bias", 2.0), ...)
    config.optim.frozen = ()  # patterns of parameters that stay, such as ("stem/*", "stage1/*")
    config.optim.accumulate = 1  # parts of a batch that are computed one after the other

    config.mix = ConfigDict()  # mixtures of clips and their labels, on the device
    config.mix.mixup = 0.0  # alpha: the share is drawn from Beta(alpha, alpha); 0: off
    config.mix.cutmix = 0.0  # alpha: the same, of a box's area; 0: off
    config.mix.prob = 1.0  # of mixing at all
    config.mix.switch_prob = 0.5  # of cutmix, where mixup is on too
    config.mix.per = "batch"  # batch: one draw for all clips of a step; clip: each its own

    config.erase = ConfigDict()  # random erasing: a box through all frames, on the device
    config.erase.prob = 0.0  # of a clip; 0: off
    config.erase.area = (0.02, 0.33)  # least and greatest share of the frame
    config.erase.aspect = (0.3, 3.3)  # least and greatest height over width
    config.erase.fill = "mean"  # mean of the pixels, or noise

    config.loss = ConfigDict()
    config.loss.kind = "cross_entropy"  # or binary: a sigmoid for each class
    config.loss.label_smoothing = 0.0  # in [0, 1)

    config.ema = ConfigDict()
    config.ema.decay = 0.0  # of moving averages, which are then what is tested; 0: off
    config.ema.warmup = False  # at step t the decay is at most (1 + t) / (10 + t)

    config.norm = ConfigDict()
    config.norm.precise_batches = 0  # whose mean statistics replace running ones in tests; 0: off

    config.max_skipped = 10  # steps in a row with a loss that is not finite, before an error

    config.test = ConfigDict()
    config.test.every = "5 epochs"  # in training; the end is always tested
    config.test.batch_size = 64  # clips per step; views of an example may part
    config.test.average = "softmax"  # of views: mean of the softmax, or of the logits
    config.test.save_scores = False  # of the last test, as STAGE/scores.npz (docs/analysis.md)

    config.checkpoint = ConfigDict()
    config.checkpoint.every = "1 epochs"
    config.checkpoint.every_sec = 600.0  # or after this time, whichever comes first; 0: off
    config.checkpoint.keep = 3  # last ones; the best is kept besides
    config.checkpoint.keep_every = ""  # "10 epochs": and for ever the first in each 10; "": none
    config.checkpoint.verify = "hash"  # hash: all bytes; size: for huge remote stores

    config.log_every = "20 steps"
    config.stall_sec = 1800.0  # without a step, before stacks are dumped and the run ends; 0: off

    config.profile = ConfigDict()
    config.profile.profile_steps = ()  # first and last, from 1, to trace to WORKDIR/STAGE/profile

    config.parallel = ConfigDict()
    config.parallel.data = -1  # devices that share the batch alone; -1: all that there are
    config.parallel.fsdp = 1  # devices that share the state, too: each has a part; or -1
    return config.lock()


def source(name: str, **options: Any) -> ConfigDict:
    """Return a `source` section: a data set by name, with its own options (docs/data.md)."""
    return ConfigDict({"name": name, **options})


def pipeline(**stages: ConfigDict) -> ConfigDict:
    """Return a whole configuration: stages by name, run in the order given."""
    config = ConfigDict(dict(stages))
    config.stages = tuple(stages)
    return config.lock()


def published(paper: str) -> ConfigDict:
    """Return a stage with what a paper keeps the same for all its video networks and data sets.

    Args:
        paper: `sts`, `sth` or `ct`.

    Raises:
        ConfigError: there is no such paper.

    References:
        STS: Li et al., In Defense of Image Pre-Training for Spatiotemporal Recognition, ECCV 2022,
        and its released configurations.
        STH: Li et al., STH: Spatio-Temporal Hybrid Convolution, 2020, section 4.1.
        CT: Li et al., CT-Net: Channel Tensorization Network, ICLR 2021, and its released code.
    """
    if paper not in _PUBLISHED:
        raise ConfigError(f"paper={paper!r}; {closest(paper, _PUBLISHED)}")
    config = base()
    config.update_from_flattened_dict({**_FULL_SCALE, **_PUBLISHED[paper]})
    return config


def paper_of(network: str) -> str:
    """Return the paper whose setting a network is trained in by default: `sts`, `sth` or `ct`.

    Frames alone (`tsn*`) and shifted (`tsm*`) are baselines of both `sth` and `ct`; it is `ct`.
    """
    if network.startswith(("ct", "tsn", "tsm")):
        return "ct"
    return "sth" if network.startswith("sth") else "sts"


def with_options(network: str, **options: str | float) -> str:
    """Add options to a network's spec; it keeps its own, and empty ones are left out.

    Args:
        network: `NAME` or `NAME:option=value,...`.
        **options: such as `conv="sts"`; "" and 0 stand for none.
    """
    name, _, own = network.partition(":")
    items = own.split(",") if own else []
    known = {item.partition("=")[0] for item in items}
    items += [f"{k}={v}" for k, v in options.items() if v and k not in known]
    return ":".join([name, ",".join(items)]) if items else name


def smoke_test(config: ConfigDict) -> ConfigDict:
    """Cut a recipe down: the same networks in miniature, two steps a stage, moving digits.

    All but sizes and durations stays as it is. Weights that come from elsewhere are replaced by
    random ones of the image twin, which is tested in a stage of its own.

    Args:
        config: a recipe's whole configuration.
    """
    stages: dict[str, ConfigDict] = {}
    for name in config.stages:
        stage = _shrink(config[name])
        if stage.init.source and stage.init.source not in config.stages:
            twin = stages[f"{name}_origin"] = _shrink(config[name])
            twin.model.name = with_options(twin.model.name, image="true")
            twin.views.frames = 1
            twin.init.source = ""
            twin.duration = "0 steps"
            stage.init.source = f"{name}_origin"
        stages[name] = stage
    return pipeline(**stages)


def _shrink(full: ConfigDict) -> ConfigDict:
    network = re.sub("norm_group=[0-9]+", "norm_group=2", full.model.name)
    # InceptionV3 has one size, and convolutions without padding.
    size_px = 96 if "inception" in network else 32
    if "inception" not in network:
        # An eighth of SlowFast's channels is fast, and STS cuts that into four.
        width = 32 if network.startswith("slowfast") else 16
        network = with_options(network, depths="1+1+1+2", width=width)
    resized_px = size_px * 9 // 8
    views, schedule = full.views, full.schedule
    kept = {key: full.source[key] for key in _KEPT_IN_SMOKE_TESTS if key in full.source}
    config = ConfigDict(full.to_dict())
    config.source = source("moving_digits", canvas_px=size_px, num_clips=8, **kept)
    config.update_from_flattened_dict(
        {
            "model.name": network,
            "views.frames": min(views.frames, 8),
            "views.size_px": size_px,
            "views.short_side_px": min(views.short_side_px, resized_px),
            "views.fixed_px": (resized_px, size_px * 4 // 3) if any(views.fixed_px) else (0, 0),
            "views.test_size_px": 0,
            "views.test_short_side_px": min(views.test_short_side_px, resized_px),
            "input.num_workers": 0,
            "batch_size": 4 * views.repeats,
            "duration": "2 steps",
            "schedule.warmup": "0 steps" if schedule.milestones else "1 steps",
            "schedule.milestones": ("1 steps",) if schedule.milestones else (),
            "norm.precise_batches": min(full.norm.precise_batches, 1),
            "test.every": "2 steps",
            "test.batch_size": 8,
            "checkpoint.every": "2 steps",
            "log_every": "1 steps",
        }
    )
    return config.lock()


def recipe_args(argument: str, **defaults: Any) -> ConfigDict:
    """Parse a recipe's argument "model=csn50,frames=32,smoke".

    Args:
        argument: what followed the recipe's name and colon; a bare name means True. Where `model`
            is a network's spec with options, what is no argument of the recipe is another of
            them: "model=ct50:dims=3,pointwise=false,frames=8".
        **defaults: every argument that the recipe takes; a value must have its default's type.

    Raises:
        ConfigError: an unknown argument (with the closest match), or one of another type.
    """
    args = ConfigDict(dict(defaults))
    for item in filter(None, argument.split(",")):
        name, equals, text = item.partition("=")
        if name in defaults:
            text = text if equals else "True"
            args[name] = _cast(text, defaults[name], f"recipe argument {name}")
        elif equals and ":" in args.get("model", ""):
            args.model += f",{item}"
        else:
            raise ConfigError(f"unknown recipe argument {name!r}; {closest(name, defaults)}")
    return args


def check_choices(args: ConfigDict, **choices: Collection[str | int]) -> None:
    """Refuse arguments that are none of a few.

    Args:
        args: from `recipe_args`.
        **choices: what an argument may be, by its name.

    Raises:
        ConfigError: one is something else.
    """
    for name, allowed in choices.items():
        if args[name] not in allowed:
            one_of = ", ".join(map(str, allowed))
            raise ConfigError(f"recipe argument {name}={args[name]!r}; it must be one of {one_of}")


def load_recipe(recipe: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Run a recipe and apply overrides.

    Args:
        recipe: a path, and after a colon the recipe's argument: "configs/demo.py:seed=1".
        overrides: `field.of.stage=value`, applied in order.

    Raises:
        ConfigError: no such file, no `get_config` in it, an unknown argument or field, or a value
            of another type.
    """
    path_text, _, argument = recipe.partition(":")
    path = Path(path_text)
    if not path.is_file():
        known = [str(p) for p in sorted(path.parent.glob("*.py"))]
        raise ConfigError(f"no recipe {path_text}; {closest(path_text, known)}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    get_config = getattr(module, "get_config", None)
    if get_config is None:
        raise ConfigError(f"{path} has no get_config(argument); see configs/demo.py")
    if argument and not inspect.signature(get_config).parameters:
        raise ConfigError(f"{path} takes no argument, but {argument!r} was given")
    config = get_config(argument) if argument else get_config()
    for override in overrides:
        _override(config, override)
    return config


def overrides_of(arguments: Sequence[str]) -> list[str]:
    """Return the overrides among a command line's remaining arguments.

    Args:
        arguments: such as `["--config.finetune.seed=1"]`.

    Returns:
        Such as `["finetune.seed=1"]`.

    Raises:
        ConfigError: an argument is none.
    """
    for argument in arguments:
        if not argument.startswith(_OVERRIDE) or "=" not in argument:
            raise ConfigError(
                f"unknown argument {argument!r}; give --config, --workdir, or "
                f"{_OVERRIDE}STAGE.FIELD=VALUE"
            )
    return [argument.removeprefix(_OVERRIDE) for argument in arguments]


def set_in_stages(config: ConfigDict, field: str, value: Any) -> None:
    """Set a field in every stage of a whole configuration.

    Args:
        config: the configuration.
        field: the field's name in a stage, such as `profile.profile_steps`.
        value: of the type that the field has.
    """
    for stage in config.stages:
        config[stage].update_from_flattened_dict({field: value})


def _fields(config: ConfigDict, prefix: str = "") -> Iterator[str]:
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _fields(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def _override(config: ConfigDict, override: str) -> None:
    field, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"override {override!r} has no value; write --config.{field}=VALUE")
    *sections, leaf = field.split(".")
    node = config
    for name in sections:
        if not isinstance(node, ConfigDict) or name not in node:
            raise ConfigError(_unknown_field(config, field, node, name))
        node = node[name]
    if not isinstance(node, ConfigDict) or (node.is_locked and leaf not in node):
        raise ConfigError(_unknown_field(config, field, node, leaf))
    current = node.get(leaf)
    if isinstance(current, ConfigDict):
        raise ConfigError(f"config.{field} is a section; set one of {', '.join(current)}")
    node[leaf] = _literal(text) if current is None else _cast(text, current, f"config.{field}")


def _unknown_field(config: ConfigDict, field: str, node: Any, name: str) -> str:
    if not isinstance(node, ConfigDict):
        return f"config.{field}: {field.rpartition('.')[0]} is a value, not a section"
    # The full name may be wrong only in its stage or section: look among all fields first.
    near = difflib.get_close_matches(field, list(_fields(config)), n=1, cutoff=0.8)
    if near:
        return f"unknown field config.{field}; did you mean config.{near[0]}?"
    return f"unknown field config.{field}; {closest(name, node)}"


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _cast(text: str, like: Any, what: str) -> Any:
    if isinstance(like, str):
        return text
    value = _literal({"true": "True", "false": "False"}.get(text, text))
    if isinstance(like, float) and type(value) is int:
        value = float(value)
    if isinstance(like, tuple) and isinstance(value, list):
        value = tuple(value)
    if type(value) is not type(like):
        raise ConfigError(f"{what}={text!r} must be {type(like).__name__}, such as {like!r}")
    return value
