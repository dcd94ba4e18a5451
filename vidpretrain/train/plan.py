# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""From a stage's configuration to the objects that run it, checked against each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from etils import epath
from jax.sharding import Mesh

from vidpretrain import data, models, parallel
from vidpretrain.convert.folder import Card
from vidpretrain.convert.inflate import Init
from vidpretrain.data.source import Source
from vidpretrain.data.views import Views, make_views
from vidpretrain.suggest import closest
from vidpretrain.train import duration, optim
from vidpretrain.train.duration import Budget
from vidpretrain.train.loop import Cadence
from vidpretrain.train.losses import Loss
from vidpretrain.train.mixing import Augment, Erase, Mix
from vidpretrain.train.paths import check_patterns
from vidpretrain.train.profile import check_steps
from vidpretrain.train.scores import check_average
from vidpretrain.train.state import Averaging

_MOST_BAD = 20


class PlanError(ValueError):
    """A configuration asks for something impossible; the message says what would do."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """One stage, ready to run; nothing is computed or written yet.

    Attributes:
        name: of the stage.
        config: the stage's configuration, `config.base` as nested dicts.
        mesh: the devices.
        train_source: what it learns from.
        test_source: what it is tested on.
        views: what the network sees of an example.
        num_classes: length of the logits.
        model: the network.
        budget: what a step costs.
        cadence: when to test, save and report.
        keep_every_steps: of the checkpoints, the first of each so many steps is kept for ever; None
            for none.
        schedule: learning rate as a function of the step.
        optimizer: uses it.
        averaging: how moving averages follow.
        augment: what happens to training clips on the device.
        loss: what training makes small.
    """

    name: str
    config: Mapping[str, Any]
    mesh: Mesh
    train_source: Source
    test_source: Source
    views: Views
    num_classes: int
    model: nn.Module
    budget: Budget
    cadence: Cadence
    keep_every_steps: int | None
    schedule: optax.Schedule
    optimizer: optax.GradientTransformation
    averaging: Averaging
    augment: Augment
    loss: Loss

    @property
    def frames(self) -> int:
        """Frames of a clip."""
        return self.views.sampling.frames

    @property
    def size_px(self) -> int:
        """Height and width of a training clip, pixels."""
        return self.views.augmentation.size_px

    @property
    def pixels(self) -> dict[str, tuple[float, ...]]:
        """The `mean` and `std` of each channel, of pixels in [0, 1]."""
        return {name: tuple(values) for name, values in self.config["pixels"].items()}

    @property
    def channels(self) -> int:
        """Channels of a clip."""
        return len(self.config["pixels"]["mean"])

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """The shape `(T, H, W, C)` of a training clip."""
        return (self.frames, self.size_px, self.size_px, self.channels)

    def init(self, key: jax.Array) -> Any:
        """Draw the network's initial variables."""
        return self.model.init(key, jnp.zeros((1, *self.clip_shape), jnp.float32))

    def card(self) -> Card:
        """Return what a checkpoint of this stage says of itself, before the first step."""
        return Card(
            name=self.config["model"]["name"],
            num_classes=self.num_classes,
            dtype=self.config["model"]["dtype"],
            mean=self.pixels["mean"],
            std=self.pixels["std"],
            frames=self.frames,
            size=self.views.test_crops.size_px,
            class_names=self.train_source.class_names,
            stage=self.name,
        )


def make_plan(
    name: str,
    config: Mapping[str, Any],
    earlier: Sequence[str] = (),
    *,
    on_paper: bool = False,
    devices: Sequence[jax.Device] | None = None,
) -> Plan:
    """Build a stage.

    Args:
        name: of the stage.
        config: its configuration, the fields of `config.base` as nested dicts.
        earlier: the stages before it, which `init.source` may name.
        on_paper: whether the stage will never run, so that neither its checkpoint nor, if it is
            published, its data set has to be there.
        devices: to make the mesh of; None for those of all processes.

    Raises:
        PlanError: a value is impossible, or two do not fit each other.
    """
    try:
        _check_init(config["init"], earlier, must_exist=not on_paper)
        return _build(name, config, on_paper=on_paper, devices=devices)
    except (ValueError, TypeError) as error:
        raise PlanError(f"stage {name}: {error}") from error


def _check_init(init: Mapping[str, Any], earlier: Sequence[str], *, must_exist: bool) -> None:
    Init.parse(init["method"])
    source = init["source"]
    if init["tap"] not in (-1, 0, 1, 2):
        raise ValueError(f"init.tap={init['tap']}; it may be 0, 1 (the centre), 2, or -1 for none")
    if init["tap"] >= 0 and not source:
        raise ValueError(
            f"init.tap={init['tap']} cuts a network out of init.source, which is empty; set it to "
            "a 3D network's checkpoint"
        )
    if must_exist and source and source not in earlier and not epath.Path(source).exists():
        raise ValueError(
            f"init.source={source!r} is neither a checkpoint nor an earlier stage; "
            f"{closest(source, earlier)}"
        )


def _build(
    name: str,
    config: Mapping[str, Any],
    *,
    on_paper: bool,
    devices: Sequence[jax.Device] | None,
) -> Plan:
    mesh = parallel.make_mesh(**config["parallel"], devices=devices)
    for field, size in (
        ("batch_size", config["batch_size"]),
        ("test.batch_size", config["test"]["batch_size"]),
    ):
        parallel.process_slice(size, mesh, what=field)
    accumulate = config["optim"]["accumulate"]
    if accumulate < 1 or config["batch_size"] % (accumulate * mesh.size):
        raise ValueError(
            f"optim.accumulate={accumulate}: batch_size={config['batch_size']} cannot be cut into "
            f"as many micro-batches over {mesh.size} devices; give a divisor of "
            f"{config['batch_size'] // mesh.size}"
        )
    _check_precise(config["norm"]["precise_batches"], config["model"]["name"])
    check_average(config["test"]["average"])
    train_source, test_source = (
        data.make_source(split=split, stand_in=on_paper, **config["source"])
        for split in ("train", "test")
    )
    views = make_views(train_source, **config["views"])
    num_classes = config["model"]["num_classes"] or train_source.num_classes
    if num_classes < train_source.num_classes:
        raise ValueError(
            f"model.num_classes={num_classes}, but the data has {train_source.num_classes} "
            "classes; 0 takes as many as the data has"
        )
    budget = Budget(
        batch_size=config["batch_size"],
        num_examples=len(train_source),
        images_per_example=views.sampling.frames,
    )
    cadence = _make_cadence(config, budget)
    check_steps(config["profile"]["profile_steps"], cadence.total)
    # A stage that only tests has no rate, whatever its schedule says.
    schedule = optax.constant_schedule(0.0)
    if cadence.total:
        schedule = resolve_schedule(config["schedule"], budget, cadence.total)
    optimizer = dict(config["optim"])
    del optimizer["accumulate"]  # The step's.
    plan = Plan(
        name=name,
        config=config,
        mesh=mesh,
        train_source=train_source,
        test_source=test_source,
        views=views,
        num_classes=num_classes,
        model=models.make_model(**{**config["model"], "num_classes": num_classes}),
        budget=budget,
        cadence=cadence,
        keep_every_steps=_keep_every_steps(config["checkpoint"], budget),
        schedule=schedule,
        optimizer=optim.make_optimizer(schedule=schedule, **optimizer),
        averaging=Averaging(**config["ema"]),
        augment=_make_augment(config, num_classes),
        loss=Loss(**config["loss"]),
    )
    _check_clips(plan)
    return plan


def _check_precise(num_batches: int, spec: str) -> None:
    if num_batches < 0:
        raise ValueError(f"norm.precise_batches={num_batches}; it must not be negative")
    if num_batches and models.parse_spec(spec)[1].get("norm_frozen"):
        raise ValueError(
            f"norm.precise_batches={num_batches}, but the norms of {spec} are frozen; "
            "give 0, or drop norm_frozen"
        )


def _make_augment(config: Mapping[str, Any], num_classes: int) -> Augment:
    mix, repeats = Mix(**config["mix"]), config["views"]["repeats"]
    if mix.is_on and config["batch_size"] < 2 * repeats:
        raise ValueError(
            f"batch_size={config['batch_size']} with views.repeats={repeats}: mixup and cutmix "
            f"need two examples in a batch; give at least {2 * repeats}"
        )
    return Augment(num_classes, mix, Erase(**config["erase"]))


def _check_clips(plan: Plan) -> None:
    """Find out before a weight is made whether clips can be cut, and whether the network fits."""
    rng = np.random.default_rng(plan.config["seed"])
    clip, label = _first_clip(plan, rng)
    plan.views.augmentation(clip, label, rng)
    plan.views.test_crops(clip)
    if {len(values) for values in plan.pixels.values()} != {clip.shape[-1]}:
        raise ValueError(
            f"pixels.mean and pixels.std have {plan.channels} and {len(plan.pixels['std'])} "
            f"values, but clips have {clip.shape[-1]} channels; give one value for each"
        )
    section = plan.config["optim"]
    params = _check_network(plan, section["accumulate"])["params"]
    check_patterns(section["frozen"], params, field="optim.frozen")
    factors = section["lr_factors"]
    check_patterns([pattern for pattern, _ in factors], params, field="optim.lr_factors")


def _check_network(plan: Plan, accumulate: int) -> Any:
    """Find out, on shapes alone, whether the network takes micro-batches; return its variables."""
    key = jax.random.key(0)
    variables = jax.eval_shape(plan.init, key)
    rows = plan.config["batch_size"] // accumulate
    clips = jax.ShapeDtypeStruct((rows, *plan.clip_shape), jnp.float32)
    jax.eval_shape(
        lambda variables, clips: plan.model.apply(
            variables, clips, train=True, mutable=["batch_stats"], rngs={"dropout": key}
        ),
        variables,
        clips,
    )
    return variables


def _first_clip(plan: Plan, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Return the first clip that can be read, and its label."""
    source = plan.train_source
    for example in range(min(len(source), _MOST_BAD)):
        try:
            indices = plan.views.sampling.draw(source.num_frames(example), rng)
            return source.frames(example, indices), source.label(example)
        except data.BadInput as bad:
            last = bad
    raise ValueError(f"the first {_MOST_BAD} training examples are bad; the last: {last}")


def _make_cadence(config: Mapping[str, Any], budget: Budget) -> Cadence:
    def steps(length: str, field: str) -> int:
        return max(1, budget.steps(length, field=field))

    # None at all, where a stage only tests; but of a little, one.
    no_step = duration.parse(config["duration"])[0] == 0
    total = 0 if no_step else steps(config["duration"], "duration")
    if config["max_skipped"] < 1:
        raise ValueError(f"max_skipped={config['max_skipped']}; it must be at least 1")
    return Cadence(
        total=total,
        test=steps(config["test"]["every"], "test.every"),
        checkpoint=steps(config["checkpoint"]["every"], "checkpoint.every"),
        checkpoint_sec=config["checkpoint"]["every_sec"],
        log=steps(config["log_every"], "log_every"),
        max_skipped=config["max_skipped"],
    )


def _keep_every_steps(section: Mapping[str, Any], budget: Budget) -> int | None:
    if not section["keep_every"]:
        return None
    return max(1, budget.steps(section["keep_every"], field="checkpoint.keep_every"))


def resolve_schedule(
    section: Mapping[str, Any], budget: Budget, total_steps: int
) -> optax.Schedule:
    """Bring the configuration's units to steps and rates: epochs, and lr per base batch."""
    fields = dict(section)
    base_batch = fields.pop("base_batch")
    if base_batch < 1:
        raise ValueError(f"schedule.base_batch={base_batch}; it must be at least 1")
    per = fields.pop("per")
    if per not in ("step", "epoch"):
        raise ValueError(f"schedule.per={per!r}; {closest(per, ('step', 'epoch'))}")
    schedule = optim.make_schedule(
        total_steps=total_steps,
        peak_lr=fields.pop("base_lr") * budget.batch_size / base_batch,
        warmup_steps=budget.steps(fields.pop("warmup"), field="schedule.warmup"),
        milestone_steps=[
            budget.steps(length, field="schedule.milestones") for length in fields.pop("milestones")
        ],
        **fields,
    )
    if per == "step":
        return schedule
    return optim.hold_over_epochs(
        schedule,
        total_steps=total_steps,
        batch_size=budget.batch_size,
        num_examples=budget.num_examples,
    )
