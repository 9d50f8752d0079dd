"""The recipe: its digest, its bounds."""

import dataclasses
import hashlib
import json
import math
import re

import pytest

from metabench.algorithms import LEARNERS
from metabench.bench.recipes import recipe as recipe_module
from metabench.bench.recipes.recipe import (
    LAKE_RUNS,
    ControlRecipe,
    FewShotRecipe,
    Recipe,
    RecipeError,
    digest,
    from_fields,
    typed,
)

OTHER = {
    bool: lambda v: not v,
    int: lambda v: v + 1,
    float: lambda v: v + 0.5,
    str: lambda v: v + "x",
    tuple: lambda v: (*v, "train"),
}


FROZEN: dict[type[Recipe], dict[str, object]] = {
    FewShotRecipe: {
        "algorithm": "maml", "benchmark": "glyphs-5w1s", "inner_lr": 0.01, "inner_steps": 1, "test_steps": 1,
        "first_order": False, "head": "svm", "penalty": 0.1, "meta_batch": 4, "iterations": 60_000, "outer_lr": 1e-3,
        "val_every": 500, "val_tasks": 200, "test_tasks": 600, "dataset": "glyphs", "split": "", "within_group": (),
        "rotations": (), "ways": 5, "shots": 1, "queries": 15, "train_ways": 5, "train_shots": 1, "train_queries": 15,
        "lake_runs": False, "augment": "none", "backbone": "conv4", "width": 64, "norm": "transductive",
        "optimizer": "adam", "lr_factors": (), "weight_decay": 0.0, "clip": 0.0, "smoothing": 0.0,
    },
    ControlRecipe: {
        "algorithm": "maml", "benchmark": "glyphs-5w1s", "inner_lr": 0.01, "inner_steps": 1, "test_steps": 1,
        "first_order": False, "head": "svm", "penalty": 0.1, "meta_batch": 4, "iterations": 60_000, "outer_lr": 1e-3,
        "val_every": 500, "val_tasks": 200, "test_tasks": 600, "environment": "navigation", "rollouts": 20,
        "hidden": (100, 100), "activation": "relu", "discount": 0.99, "trace": 1.0, "sees_task": False,
        "outer": "trpo", "max_kl": 0.01, "curvature": 1.0,
    },
}  # fmt: skip
"""What a field that a recipe does not mention has always meant. A field more is a default more that stays."""


@pytest.mark.parametrize("kind", FROZEN)
def test_a_default_is_never_changed_since_digests_leave_it_out(kind):
    plain = {}
    for learner in LEARNERS.values():
        plain |= dataclasses.asdict(typed(kind, learner.Settings)())
    assert {field: plain[field] for field in FROZEN[kind]} == FROZEN[kind]


@dataclasses.dataclass(frozen=True)
class Grown(FewShotRecipe):
    """A recipe with a field more, whose default is what was done before."""

    warm_up: int = 0


def test_a_field_more_changes_no_digest_until_it_is_used(monkeypatch):
    before = dataclasses.replace(FewShotRecipe(), width=32, rotations=("train",)).digest()
    monkeypatch.setattr(recipe_module, "FewShotRecipe", Grown)
    grown = Grown(width=32, rotations=("train",))
    assert grown.digest() == before
    assert dataclasses.replace(grown, warm_up=9).digest() != before


def test_a_digest_is_that_of_the_fields_as_json_has_them():
    """So that a record, whose tuples are lists, has its recipe's; pinned, since files are named by it."""
    recipe = dataclasses.replace(FewShotRecipe(), width=32, lr_factors=((5, 0.5),), schedule="custom")
    assert digest(json.loads(json.dumps(dataclasses.asdict(recipe)))) == recipe.digest() == "8c19be1f43c3"
    text = '[{"lr_factors": [[5, 0.5]], "width": 32}]'
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == recipe.digest()


def test_augmentation_was_once_on_or_off_and_no_digest_changed_with_its_names():
    for old, name in ((False, "none"), (True, "metaoptnet")):
        fields = {**dataclasses.asdict(FewShotRecipe(width=32)), "augment": old}
        read = from_fields(fields)
        assert read.augment == name
        assert digest(fields) == read.digest()
    text = '[{"augment": true, "width": 32}]'
    assert FewShotRecipe(width=32, augment="metaoptnet").digest() == hashlib.sha256(text.encode()).hexdigest()[:12]
    assert FewShotRecipe(width=32, augment="strong").digest() not in (digest(fields), FewShotRecipe(width=32).digest())


def test_a_name_for_a_recipe_decides_nothing():
    names = [dataclasses.replace(FewShotRecipe(), schedule=name).digest() for name in ("paper", "short", "custom")]
    assert len(set(names)) == 1


def test_what_was_trained_under_another_recipe_has_another_digest():
    five, twenty = FewShotRecipe(), FewShotRecipe(ways=20)
    assert len({five.digest(), twenty.digest(), twenty.digest(five), five.digest(twenty)}) == 4


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(FewShotRecipe) if f.name != "schedule"])
def test_every_field_changes_the_digest(field):
    plain = FewShotRecipe()
    value = getattr(plain, field)
    other = dataclasses.replace(plain, **{field: OTHER[type(value)](value)})
    assert re.fullmatch("[0-9a-f]{12}", plain.digest())
    assert other.digest() != plain.digest()
    assert dataclasses.replace(other, **{field: value}).digest() == plain.digest()


LEAST = {
    "ways": 2, "shots": 1, "queries": 1, "train_ways": 2, "train_shots": 1, "train_queries": 1, "width": 1,
    "inner_steps": 0, "test_steps": 0, "meta_batch": 1, "iterations": 0, "val_every": 1, "val_tasks": 0,
    "test_tasks": 2,
}  # fmt: skip


@pytest.mark.parametrize(("field", "bound"), LEAST.items())
def test_a_number_too_small_is_named_with_its_bound(field, bound):
    at_bound = dataclasses.replace(FewShotRecipe(), **{field: bound})
    assert at_bound.check() is at_bound
    with pytest.raises(RecipeError) as caught:
        dataclasses.replace(FewShotRecipe(), **{field: bound - 1}).check()
    assert str(caught.value) == f"maml glyphs-5w1s: {field} is {bound - 1}; it must be at least {bound}"


@pytest.mark.parametrize(("learner", "field"), [("maml", "inner_lr"), ("maml", "outer_lr"), ("metaoptnet", "penalty")])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_rate_that_is_no_positive_number_is_named(learner, field, value):
    with pytest.raises(RecipeError, match=f"{field} is {value}; it must be a positive number"):
        typed(FewShotRecipe, LEARNERS[learner].Settings)(**{field: value}).check()


@pytest.mark.parametrize("field", ["rotations", "within_group"])
def test_a_split_that_does_not_exist_is_named(field):
    with pytest.raises(RecipeError, match=re.escape(f"{field} names ['tests']; choose among train, val, test")):
        dataclasses.replace(FewShotRecipe(), **{field: ("train", "tests")}).check()


def test_lakes_runs_are_twenty_whatever_the_number_of_test_tasks():
    assert FewShotRecipe(test_tasks=600).tests == 600
    assert FewShotRecipe(test_tasks=600, lake_runs=True).tests == LAKE_RUNS == 20
