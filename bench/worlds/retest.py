"""Testing a trained learner under another protocol: the recipe that this is, and the flags that say so."""

from __future__ import annotations

import dataclasses
from typing import Any

from metabench.bench.recipes.recipe import Recipe, RecipeError
from metabench.bench.worlds import Retest, world_of
from metabench.bench.worlds.few_shot import TO
from metabench.bench.worlds.naming import flag

FIELDS = {"ways": "ways", "shots": "shots", "tasks": "test_tasks", "steps": "test_steps"}
"""What a test changes -> the field of the recipe, where it is one in each world that has it."""


def retested(recipe: Recipe, change: Retest) -> Recipe:
    """The recipe with the test fields that a test changes, and the benchmark that this is.

    A number of tasks, queries or updates that is not the schedule's makes it "custom".

    Raises:
        RecipeError: for a number that cannot be, or a change that belongs to the other world.
    """
    for name in ("ways", "shots", "queries", "tasks"):
        if getattr(change, name) < 0:
            raise RecipeError(f"--{name} is {getattr(change, name)}; it must be positive, or 0 for the recipe's")
    if change.steps < -1:
        raise RecipeError(f"--steps is {change.steps}; it must be at least 0, or -1 for the recipe's")
    plain: Recipe = world_of(recipe).retested(recipe, change)
    fields: dict[str, Any] = {"queries": change.queries} if change.queries else {}
    fields |= {"test_tasks": change.tasks} if change.tasks else {}
    fields |= {"test_steps": change.steps} if change.steps >= 0 else {}
    tested = dataclasses.replace(plain, **fields)
    return (tested if tested == plain else dataclasses.replace(tested, schedule="custom")).check()


def retest_words(trained: Recipe, tested: Recipe) -> list[str]:
    """The flags of `metabench evaluate` that make of a trained recipe the tested one; RecipeError where none do."""
    change: dict[str, Any] = {
        name: getattr(tested, field)
        for name, field in FIELDS.items()
        if getattr(tested, field, None) != getattr(trained, field, None)
    }
    if getattr(tested, "trained_on", ""):
        change = {name: value for name, value in change.items() if name not in ("ways", "shots")}
        change["benchmark"] = tested.benchmark.removeprefix(f"{trained.benchmark.rpartition('-')[0]}{TO}")
    elif change.keys().isdisjoint({"ways", "shots"}) and tested.benchmark != trained.benchmark:
        change["environment"] = tested.benchmark
    queries = getattr(tested, "queries", None)
    if queries != getattr(retested(trained, Retest(**change)), "queries", None):
        change["queries"] = queries
    if retested(trained, Retest(**change)).digest() != tested.digest():
        raise RecipeError(f"{tested.name}: no flags of `metabench evaluate` lead there from {trained.name}")
    return [word for name, value in change.items() for word in flag(name, value)]
