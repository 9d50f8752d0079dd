"""The recipe: its digest, its bounds."""

import dataclasses
import math
import re

import pytest

from bench.recipes.recipe import LAKE_RUNS, FewShotRecipe, RecipeError

OTHER = {
    bool: lambda v: not v,
    int: lambda v: v + 1,
    float: lambda v: v + 0.5,
    str: lambda v: v + "x",
    tuple: lambda v: (*v, "train"),
}


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(FewShotRecipe)])
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


@pytest.mark.parametrize("field", ["inner_lr", "outer_lr", "penalty"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_rate_that_is_no_positive_number_is_named(field, value):
    with pytest.raises(RecipeError, match=f"{field} is {value}; it must be a positive number"):
        dataclasses.replace(FewShotRecipe(), **{field: value}).check()


@pytest.mark.parametrize("field", ["rotations", "within_group"])
def test_a_split_that_does_not_exist_is_named(field):
    with pytest.raises(RecipeError, match=re.escape(f"{field} names ['tests']; choose among train, val, test")):
        dataclasses.replace(FewShotRecipe(), **{field: ("train", "tests")}).check()


def test_lakes_runs_are_twenty_whatever_the_number_of_test_tasks():
    assert FewShotRecipe(test_tasks=600).tests == 600
    assert FewShotRecipe(test_tasks=600, lake_runs=True).tests == LAKE_RUNS == 20
