# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The papers' recipes: docs/recipes.md row by row, schedules, budgets, and runs in miniature."""

import ast
import functools
import json
import re
from pathlib import Path
from typing import NamedTuple

import jax
import pytest

from vidpretrain import main as entry
from vidpretrain.analyze.papers import TABLES
from vidpretrain.config import ConfigDict, ConfigError, load_recipe
from vidpretrain.data.published import PUBLISHED
from vidpretrain.models import parse_spec
from vidpretrain.train.plan import Plan
from vidpretrain.train.stages import plan_stages

ROOT = Path(__file__).parents[1]
RECIPES = sorted(p for p in (ROOT / "configs").glob("*.py") if p.name != "demo.py")


# Options that change neither parameters nor operations.
NOT_COUNTED = {("conv", "sts"), ("blocks", 7), ("kernels", (3, 3))}


class Row(NamedTuple):
    """A row of a table of docs/recipes.md."""

    label: str
    recipe: str
    frames: int
    views: tuple[int, int]
    images_million: str
    paper: str


def documented() -> list[Row]:
    rows = []
    for line in (ROOT / "docs" / "recipes.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 6 and ".py" in cells[1]:
            label, recipe, frames, views, images, paper = cells
            clips, crops = map(int, views.split(" x "))
            rows.append(Row(label, recipe.strip("`"), int(frames), (clips, crops), images, paper))
    return rows


ROWS = documented()
ARGUMENTS = sorted({row.recipe for row in ROWS})


def load(recipe: str, *, smoke: bool = False) -> ConfigDict:
    name, _, argument = recipe.partition(":")
    arguments = [argument] if argument else []
    return load_recipe(
        ":".join([f"{ROOT}/configs/{name}", ",".join([*arguments, "smoke"])])
        if smoke
        else f"{ROOT}/configs/{recipe}"
    )


def only_stage(recipe: str) -> ConfigDict:
    config = load(recipe)
    (stage,) = config.stages
    return config[stage]


def num_examples(config: ConfigDict) -> int:
    size = PUBLISHED[config.source.published]
    every = config.source.get("stills_every", 0)
    return size.num_train * (size.num_frames // every if every else 1)


# The largest machine that an example names: launch/*.sh, docs/scaling.md, README.md.
MOST_DEVICES = 16


@pytest.mark.parametrize("recipe", ["demo.py", *ARGUMENTS])
def test_batches_divide_over_the_devices_of_the_examples(recipe):
    config = load(recipe)
    for stage in config.stages:
        assert config[stage].batch_size % MOST_DEVICES == 0, stage
        assert config[stage].test.batch_size % MOST_DEVICES == 0, stage


def test_every_recipe_is_documented():
    assert {row.recipe.partition(":")[0] for row in ROWS} == {path.name for path in RECIPES}
    assert len(ROWS) > 100


@pytest.mark.parametrize("recipe", ARGUMENTS)
def test_documented_arguments_load_and_lock(recipe):
    config = load(recipe)
    small = load(recipe, smoke=True)
    for stages in (config, small):
        assert stages.is_locked
        for stage in stages.stages:
            assert stages[stage].is_locked
            with pytest.raises(AttributeError):
                stages[stage].views.frame = 1
    assert small[small.stages[-1]].duration == "2 steps"
    with pytest.raises(ConfigError, match="unknown recipe argument"):
        load(f"{recipe}{',' if ':' in recipe else ':'}smokey")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.label)
def test_frames_views_and_images_are_those_of_the_row(row):
    config = only_stage(row.recipe)
    assert config.views.frames == row.frames
    assert (config.views.test_clips, config.views.test_crops) == row.views
    number, unit = config.duration.split()
    images = float(number)
    if unit == "epochs":
        images *= num_examples(config) * row.frames
    stated = float(row.images_million.removesuffix("M"))
    assert images / 1e6 == pytest.approx(stated, abs=0.5 if stated >= 9.5 else 0.05)


@pytest.mark.parametrize(
    "table",
    [t for t in TABLES if t.title.startswith(("STS, Table 4", "STH", "CT-Net"))],
    ids=lambda table: table.title,
)
def test_every_network_that_papers_count_is_trained_by_a_row(table):
    """So parameters and GFLOPs of docs/networks.md are those of the recipes."""

    def network(spec: str) -> tuple[str, frozenset[tuple[str, object]]]:
        name, options = parse_spec(spec)
        options.pop("norm_group", None)
        return name, frozenset(options.items()) - NOT_COUNTED

    trained = {
        (network(config.model.name), config.views.frames) for config in map(only_stage, ARGUMENTS)
    }
    assert {(network(row.spec), row.frames) for row in table.rows} <= trained


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_docstrings_are_manuals(path):
    """Each has its command, which loads, its arguments, its cost, and says what was not run."""
    tree = ast.parse(path.read_text())
    text = ast.get_docstring(tree)
    prose = " ".join(text.split())
    command = re.search(r"configs/(\S+)", text).group(1)
    assert load(command)
    assert "Not run at full scale." in prose
    assert "M images" in prose
    taken = set(re.findall(r"^\| (`.*?) \|", text, re.MULTILINE))
    told = {name for cell in taken for name in re.findall(r"`(\w+)`", cell)}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    (call,) = [node for node in calls if getattr(node.func, "id", "") == "recipe_args"]
    assert told == {keyword.arg for keyword in call.keywords} - {"smoke"}


@functools.cache
def plan(recipe: str) -> Plan:
    """Plan a full-scale stage on shapes, at the published number of examples."""
    config = load(recipe)
    (planned,) = plan_stages(
        {name: config[name].to_dict() for name in config.stages}, on_paper=True
    )
    return planned


SSV1_CT = "finetune_something.py:version=1,model=ct50"
K400_8F = "finetune_k400.py:model=csn50,conv=sts,frames=8"
IMAGES_100 = "pretrain_imagenet.py:model=csn50,epochs=100"
IMAGES_300 = "pretrain_imagenet.py:model=csn50"


@pytest.mark.parametrize(
    ("recipe", "epochs", "rates"),
    [
        # STS: 0.01 for 64 clips, warm-up of 5 of 50 epochs, half a cosine to 0.
        (f"{K400_8F},init=x", (0, 5, 27.5, 50), (0.001, 0.01, 0.005, 0)),
        # From scratch ten times that, here for 100 epochs.
        (f"{K400_8F},budget=192.3488e6", (0, 5, 52.5, 100), (0.01, 0.1, 0.05, 0)),
        # 0.4 for 1024 images, held over epochs; epoch 50 is 45/95 of the way down.
        (IMAGES_100, (0, 5.5, 50.5, 99.5), (1e-6, 0.4, 0.216519, 1.0937e-4)),
        (IMAGES_300, (0, 5.5, 152.5, 299.5), (5e-6, 5e-3, 2.513313e-3, 1.4174e-7)),
        # CT-Net: 0.02, warm-up of 10 of 45 epochs, held over epochs.
        (SSV1_CT, (0, 1.5, 10.5, 27.5, 44.5), (0.002, 0.0038, 0.02, 0.010449, 4.0261e-5)),
        # STH: steps at 20 and 40 of 50 epochs.
        (
            "finetune_something.py:version=1,model=sth50",
            (0, 19.9, 20.1, 39.9, 40.1, 49.9),
            (0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001),
        ),
    ],
)
def test_rates_are_the_published_ones(recipe, epochs, rates):
    planned = plan(recipe)
    for epoch, rate in zip(epochs, rates, strict=True):
        step = planned.budget.steps(f"{epoch} epochs")
        assert float(planned.schedule(step)) == pytest.approx(rate, rel=2e-3, abs=2e-8), epoch


def images_seen(recipe: str) -> int:
    planned = plan(recipe)
    return planned.budget.images(planned.cadence.total)


def test_budgets_of_table_7():
    """STS Table 7: from scratch and pre-trained, in millions of images, and their ratio."""
    scratch = images_seen(f"{K400_8F},budget=192e6")
    images, clips = images_seen(IMAGES_100), images_seen(f"{K400_8F},init=x")
    assert scratch == pytest.approx(192e6, rel=1e-5)
    assert (round(images / 1e6), round(clips / 1e6)) == (128, 96)
    assert (images + clips) / scratch == pytest.approx(1.17, abs=0.005)
    # 150 and 300 epochs of images for 16 and 32 frames: as many images as from scratch.
    for epochs, frames, budget in ((150, 16, 384e6), (300, 32, 768e6)):
        assert (1.28e6 * epochs + 0.24e6 * frames * 50) / budget == pytest.approx(1)


def test_budgets_are_resolved_to_steps():
    planned = plan(f"{K400_8F},budget=192e6")
    assert planned.cadence.total == 192_000_000 // (64 * 8)
    # Which is 100 epochs of 0.24M videos.
    assert planned.cadence.total * 64 / 240_000 == pytest.approx(100)


@pytest.mark.long
@pytest.mark.parametrize("recipe", ARGUMENTS)
def test_every_documented_recipe_is_planned_on_shapes(recipe, tmp_path, capsys):
    recipe = f"{ROOT}/configs/{recipe}"
    workdir = tmp_path / "run"
    assert entry.main(["--config", recipe, "--workdir", str(workdir), "--dry-run=shapes"]) == 0
    assert "images seen" in capsys.readouterr().out
    assert not workdir.exists()


@pytest.fixture
def quick_compilation():
    """Compile in half the time, for a few steps; leave JAX as it was."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.config.update("jax_compilation_cache_dir", before)


def run_smoke(recipe: str, workdir: Path) -> list[dict[str, object]]:
    name, _, argument = recipe.partition(":")
    recipe = f"{ROOT}/configs/{name}:{','.join(filter(None, [argument, 'smoke']))}"
    assert entry.main(["--config", recipe, "--workdir", str(workdir)]) == 0
    return json.loads((workdir / "results.json").read_text())["runs"]


@pytest.mark.usefixtures("quick_compilation")
@pytest.mark.parametrize(
    ("recipe", "stages"),
    [
        ("pretrain_imagenet.py:model=slowonly50", ["pretrain"]),
        (
            "finetune_something.py:version=1,model=sth50,init=resnet50.pth",
            ["finetune_origin", "finetune"],
        ),
    ],
)
def test_a_recipe_in_miniature(recipe, stages, tmp_path):
    runs = run_smoke(recipe, tmp_path)
    assert [run["name"] for run in runs] == stages
    assert [run["steps"] for run in runs][-1] == 2
    assert (tmp_path / stages[-1] / "checkpoints").is_dir()


def distinct_in_miniature() -> list[str]:
    """Keep one of the documented recipes that are the same in miniature."""
    seen = {load(recipe, smoke=True).to_json(): recipe for recipe in reversed(ARGUMENTS)}
    return sorted(seen.values())


@pytest.mark.long
@pytest.mark.usefixtures("quick_compilation")
@pytest.mark.parametrize("recipe", distinct_in_miniature())
def test_every_documented_recipe_in_miniature(recipe, tmp_path):
    assert run_smoke(recipe, tmp_path)[-1]["steps"] == 2


@pytest.mark.long
@pytest.mark.parametrize("recipe", ARGUMENTS)
def test_every_documented_recipe_passes_a_dry_run(recipe, tmp_path, capsys):
    """At full scale, without its data and checkpoints, on shapes."""
    command = ["--config", f"{ROOT}/configs/{recipe}", "--workdir", str(tmp_path / "run")]
    assert entry.main([*command, "--dry-run=shapes"]) == 0, capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("finetune_ucf_hmdb.py:dataset=hmdb51,split=4", "split=4; it must be one of 1, 2, 3"),
        ("finetune_ucf_hmdb.py:dataset=ucf", "dataset='ucf'; it must be one of ucf101, hmdb51"),
        ("finetune_something.py:version=3", "version=3; it must be one of 1, 2"),
        ("pretrain_imagenet.py:images=k600", "images='k600'; it must be one of imagenet, k400"),
    ],
)
def test_an_argument_that_is_none_of_a_few_is_refused(recipe, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_recipe(f"{ROOT}/configs/{recipe}")
