"""Recipes by name: what the papers state, what a variant or the short schedule changes, what does not exist."""

import dataclasses
import re

import pytest

from metabench.algorithms import LEARNERS
from metabench.bench.cli.run import parse_run
from metabench.bench.recipes.few_shot import BENCHMARKS, DATASET_FIELDS, PAPERS, SHORT, VARIANTS, benchmark_names
from metabench.bench.recipes.recipe import FewShotRecipe, RecipeError
from metabench.bench.worlds import resolve
from metabench.bench.worlds.few_shot_build import source_of
from metabench.bench.worlds.naming import labelled
from metabench.vision import DATASETS

FIELDS = {
    f.name for of in (FewShotRecipe, *(kind.Settings for kind in LEARNERS.values())) for f in dataclasses.fields(of)
}

STATED = {
    # Finn et al. 2017, A.1: one step of 0.4, 32 tasks, 60 000 iterations; 20-way 0.1, 5 steps, 16 tasks.
    ("maml", "omniglot-5w1s"): {
        "inner_lr": 0.4, "inner_steps": 1, "test_steps": 3, "meta_batch": 32, "iterations": 60_000, "outer_lr": 1e-3,
        "queries": 1, "train_queries": 1, "width": 64, "backbone": "conv4-strided", "norm": "transductive",
        "rotations": ("train", "val", "test"), "split": "random", "first_order": False, "train_ways": 5,
    },
    ("maml", "omniglot-5w5s"): {"queries": 5, "train_queries": 5, "shots": 5, "train_shots": 5},
    ("maml", "omniglot-20w1s"): {
        "inner_lr": 0.1, "inner_steps": 5, "test_steps": 5, "meta_batch": 16, "train_ways": 20,
    },
    ("maml", "mini-imagenet-5w1s"): {
        "inner_lr": 0.01, "inner_steps": 5, "test_steps": 10, "meta_batch": 4, "width": 32, "queries": 15,
        "backbone": "conv4", "clip": 10.0, "split": "ravi-larochelle",
    },
    ("meta-sgd", "omniglot-5w1s"): {"inner_steps": 1, "test_steps": 1},
    # Snell et al. 2017, §3.1 and §3.2: 60-way episodes with 5 queries; 30-way for 1 shot, 20-way for 5.
    ("protonet", "omniglot-5w5s"): {
        "train_ways": 60, "train_shots": 5, "train_queries": 5, "norm": "running", "val_tasks": 0,
        "rotations": ("train", "val", "test"), "backbone": "conv4", "width": 64, "test_tasks": 1000, "outer_lr": 1e-3,
        "split": "vinyals-trainval", "iterations": 20_000,
        "lr_factors": tuple((2000 * k, 0.5**k) for k in range(1, 11)),
    },
    ("protonet", "mini-imagenet-5w1s"): {"train_ways": 30, "width": 64},
    ("protonet", "mini-imagenet-5w5s"): {"train_ways": 20, "train_shots": 5},
    # Lee et al. 2019, §4.1.
    ("metaoptnet", "mini-imagenet-5w5s"): {
        "backbone": "resnet12", "train_shots": 15, "train_queries": 6, "meta_batch": 8, "optimizer": "sgd",
        "outer_lr": 0.1, "weight_decay": 5e-4, "smoothing": 0.1, "augment": "metaoptnet", "head": "svm", "penalty": 0.1,
        "lr_factors": ((20_000, 0.06), (40_000, 0.012), (50_000, 0.0024)), "iterations": 60_000,
    },
    # Not theirs: ProtoNet's episodes with their outer optimiser.
    ("metaoptnet", "omniglot-5w1s"): {
        "backbone": "conv4", "train_ways": 60, "train_shots": 1, "train_queries": 5, "meta_batch": 1, "norm": "running",
        "optimizer": "sgd", "outer_lr": 0.1, "weight_decay": 5e-4, "smoothing": 0.0, "split": "vinyals",
        "val_tasks": 200,
    },
    # Chen et al. 2019's program: 400 epochs of 38 400 pictures in batches of 16, 5 of Omniglot's 82 240.
    ("baseline", "mini-imagenet-5w1s"): {
        "batch": 16, "iterations": 400 * 38_400 // 16, "optimizer": "adam", "outer_lr": 1e-3, "weight_decay": 0.0,
        "norm": "running", "backbone": "conv4", "width": 64, "val_tasks": 0, "test_tasks": 600, "queries": 15,
        "train_ways": 0, "train_shots": 0, "train_queries": 0, "inner_steps": 0, "test_steps": 1, "fit_epochs": 100,
        "fit_batch": 4, "fit_lr": 0.01, "fit_decay": 1e-3,
    },
    ("baseline-pp", "omniglot-5w5s"): {
        "batch": 16, "iterations": 5 * 82_240 // 16, "rotations": ("train", "val", "test"), "split": "vinyals",
        "augment": "none", "backbone": "conv4",
    },
    ("baseline", "omniglot-within-5w1s"): {"within_group": ("val", "test"), "train_ways": 0, "rotations": ()},
    # Wang et al. 2019's: 90 epochs in batches of 256, the rate falling tenfold at the 45th and the 67th.
    ("simpleshot", "mini-imagenet-5w1s"): {
        "batch": 256, "iterations": 90 * 38_400 // 256, "lr_factors": ((45 * 150, 0.1), (67 * 150, 0.01)),
        "optimizer": "sgd", "outer_lr": 0.1, "weight_decay": 1e-4, "val_every": 4 * 150, "val_tasks": 500,
        "test_tasks": 10_000, "norm": "running", "width": 64,
    },
    ("metaoptnet-rr", "mini-imagenet-5w5s"): {"head": "ridge", "penalty": 50.0},
    ("maml-noconv", "omniglot-5w1s"): {"backbone": "mlp", "inner_lr": 0.4},
    ("maml-fo", "mini-imagenet-5w1s"): {"first_order": True, "clip": 10.0},
    ("protonet", "omniglot-lake-20w1s"): {
        "lake_runs": True, "rotations": (), "split": "lake", "within_group": ("val", "test"), "val_tasks": 200,
    },
    ("anil", "omniglot-within-20w1s"): {
        "within_group": ("train", "val", "test"), "split": "within-alphabet", "rotations": (),
    },
    ("protonet", "omniglot-within-5w1s"): {"train_ways": 5, "split": "within-alphabet", "val_tasks": 200},
}  # fmt: skip


@pytest.mark.parametrize(("row", "stated"), STATED.items(), ids=lambda v: " ".join(v) if isinstance(v, tuple) else "")
def test_what_the_papers_state(row, stated):
    recipe = resolve(*row)
    assert {field: getattr(recipe, field) for field in stated} == stated
    assert (recipe.name, recipe.schedule) == (" ".join(row), "paper")


@pytest.mark.parametrize("algorithm", [*LEARNERS, *VARIANTS])
@pytest.mark.parametrize("name", benchmark_names())
@pytest.mark.parametrize("schedule", ["paper", "short"])
def test_every_row_resolves(algorithm, name, schedule):
    recipe = resolve(algorithm, name, schedule)
    assert recipe.check() is recipe
    assert (recipe.algorithm, recipe.benchmark, recipe.schedule) == (algorithm, name, schedule)
    assert name == f"{name.rpartition('-')[0]}-{recipe.ways}w{recipe.shots}s"
    assert recipe.split in DATASETS[recipe.dataset].splits
    assert all(isinstance(getattr(recipe, f), int) for f in ("train_ways", "train_shots", "queries", "train_queries"))
    assert LEARNERS[VARIANTS.get(algorithm, (algorithm,))[0]].any_ways or recipe.ways == recipe.train_ways
    assert all(a < b for (a, _), (b, _) in zip(recipe.lr_factors, recipe.lr_factors[1:], strict=False))


def test_the_tables_name_only_what_exists():
    papers = [(learner, fields) for (learner, _), fields in PAPERS.items()]
    assert {learner for learner, _ in papers} <= set(LEARNERS)
    assert {name for name, _ in SHORT} <= {*LEARNERS, *VARIANTS}
    assert {learner for learner, _ in VARIANTS.values()} <= set(LEARNERS)
    assert {dataset for dataset, _ in BENCHMARKS.values()} | set(DATASET_FIELDS) <= set(DATASETS)
    tables = [*PAPERS.values(), *SHORT.values(), *DATASET_FIELDS.values()]
    tables += [fields for _, fields in [*VARIANTS.values(), *BENCHMARKS.values()]]
    assert {field for table in tables for field in table} <= FIELDS
    assert {re.sub(r"-\d+[ws]$", "", key) for _, key in [*PAPERS, *SHORT]} <= {*DATASETS, "own"}


SCHEDULE = {"schedule", "iterations", "lr_factors", "val_every", "val_tasks"}


@pytest.mark.parametrize(("algorithm", "name"), [("maml", "omniglot-20w1s"), ("protonet", "omniglot-5w5s"),
                                                 ("metaoptnet", "mini-imagenet-5w1s")])  # fmt: skip
def test_the_short_schedule_changes_nothing_but_the_schedule(algorithm, name):
    short, paper = resolve(algorithm, name, "short"), resolve(algorithm, name)
    changed = {f.name for f in dataclasses.fields(paper) if getattr(short, f.name) != getattr(paper, f.name)}
    assert {"schedule", "iterations"} <= changed <= SCHEDULE
    assert short.iterations < paper.iterations
    assert short.iterations // short.val_every == 10
    assert short.digest() != paper.digest()
    if paper.lr_factors:
        n = short.iterations
        halved_at = (2000, 4000, 5000) if algorithm == "protonet" else (n // 2, n * 3 // 4, n * 7 // 8)
        assert short.lr_factors == tuple((at, 0.5**k) for k, at in enumerate(halved_at, start=1))


@pytest.mark.parametrize("field", ["train_ways", "train_shots", "train_queries", "inner_steps"])
def test_what_only_episodes_have_is_refused_where_training_is_on_batches(field):
    with pytest.raises(
        RecipeError, match=f"baseline glyphs-5w1s: {field} is 3; training is on batches of all training"
    ):
        dataclasses.replace(resolve("baseline", "glyphs-5w1s"), **{field: 3}).check()


def test_a_classifier_of_training_classes_has_no_answer_without_an_update():
    with pytest.raises(RecipeError, match="test_steps is 0, but the head is made from the support"):
        dataclasses.replace(resolve("simpleshot", "glyphs-5w1s"), test_steps=0).check()
    with pytest.raises(RecipeError, match="within_group names train; a batch is of all training classes"):
        dataclasses.replace(resolve("simpleshot", "omniglot-within-5w1s"), within_group=("train",)).check()


def test_ways_and_shots_that_nobody_published():
    recipe = resolve("maml", "omniglot-7w3s")
    assert (recipe.ways, recipe.train_ways, recipe.shots, recipe.train_shots, recipe.queries) == (7, 7, 3, 3, 3)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("mmal", "omniglot-5w1s"), r"^no algorithm 'mmal'; did you mean 'maml'\? Known: anil, baseline, "),
        (("protonets", "omniglot-5w1s"), "did you mean 'protonet'"),
        (("maml", "omniglott-5w1s"), r"'omniglott-5w1s'; did you mean 'omniglot-5w1s'\? Known: ant-dir"),
        (("maml", "omniglot"), "no benchmark 'omniglot'; did you mean 'omniglot-"),
        (("maml", "omniglot-5w"), "no benchmark"),
        (("maml", "omniglot-5w1s", "long"), "no schedule 'long'.* Known: paper, short"),
        (("maml", "omniglot-1w1s"), "ways is 1; it must be at least 2"),
        (("maml", "omniglot-5w0s"), "shots is 0; it must be at least 1"),
        (("protonet", "omniglot-lake-5w1s"), "Lake's runs are of Omniglot with 20 ways and 1 shot"),
    ],
)
def test_a_name_that_does_not_exist(names, message):
    with pytest.raises(RecipeError, match=message):
        resolve(*names)


def test_flags_change_fields_and_the_label():
    def parsed(*flags):
        return labelled(parse_run("protonet", "omniglot-5w1s", list(flags)).recipe)

    assert parsed() == resolve("protonet", "omniglot-5w1s")
    assert parsed("--schedule", "short") == parsed("--schedule=short") == resolve("protonet", "omniglot-5w1s", "short")
    other = parsed("--schedule", "short", "--train-ways", "20", "--lr-factors", "5", "0.5", "--rotations", "train")
    assert (other.schedule, other.train_ways) == ("custom", 20)
    assert (other.lr_factors, other.rotations) == (((5, 0.5),), ("train",))
    assert other.iterations == resolve("protonet", "omniglot-5w1s", "short").iterations
    assert parsed("--train-ways", "60").schedule == "paper"


def test_only_omniglot_is_brought_to_size_in_another_way():
    recipe = resolve("protonet", "omniglot-5w1s")
    assert source_of(recipe).resample == recipe.resample == "nearest"
    assert source_of(dataclasses.replace(recipe, resample="lanczos")) is DATASETS["omniglot"]
    other = dataclasses.replace(resolve("protonet", "mini-imagenet-5w1s"), resample="nearest")
    with pytest.raises(RecipeError, match="--resample nearest is Omniglot's; mini-imagenet has lanczos"):
        source_of(other)
