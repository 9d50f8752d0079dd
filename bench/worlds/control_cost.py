"""What a recipe of control costs: simulation steps counted, one iteration timed."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import NamedTuple

from metabench.algorithms import Diverged
from metabench.algorithms.suite import collect
from metabench.bench.recipes.recipe import ControlRecipe, RecipeError
from metabench.bench.text import duration
from metabench.bench.worlds.control_build import build
from metabench.bench.worlds.world import Place
from metabench.envs.suite import Control

BRIEF_TASKS = 4
"""Tasks of a meta-batch that a brief look times."""


class Cost(NamedTuple):
    """What a recipe of control costs here."""

    parameters: int
    """Numbers that the meta-learner learns."""
    steps: int
    """Simulation steps of a training iteration, at most."""
    checked: int
    """Simulation steps of all validations and the test, at most."""
    simulating: float
    """Seconds of a training iteration that go into simulation."""
    learning: float
    """Seconds of a training iteration that go into the outer step."""

    def seconds(self, iterations: float) -> float:
        """Seconds of a run with so many of these iterations."""
        return iterations * (self.simulating + self.learning) + self.checked * self.simulating / self.steps


def cost_rows(recipe: ControlRecipe, place: Place) -> list[tuple[str, str]]:
    """What `describe` says of the cost of control: simulation steps, and the time of one iteration measured here."""
    one = cost(recipe, place)
    each = f"{one.simulating:.1f} s, and {one.learning:.1f} s to learn"
    return [
        ("learned parameters", f"{one.parameters:,}"),
        ("training iteration", f"{one.steps:,} simulation steps, at most: {each}"),
        ("whole schedule", f"{recipe.iterations * one.steps + one.checked:,} simulation steps, at most"),
        ("time here", f"about {duration(one.seconds(recipe.iterations))} on {place.workers.threads} core(s)"),
    ]


def seconds(recipe: ControlRecipe, place: Place) -> float:
    """About how long a run takes in this place, from an iteration of a few tasks; raises RecipeError as `cost`."""
    tasks = min(BRIEF_TASKS, recipe.meta_batch)
    brief = cost(dataclasses.replace(recipe, meta_batch=tasks), place)
    return brief.seconds(recipe.iterations * recipe.meta_batch / tasks)


def cost(recipe: ControlRecipe, place: Place) -> Cost:
    """Count the steps, and time one training iteration.

    Raises:
        RecipeError: if the policy diverges in it.
    """
    built = build(recipe, 0, place)
    assert isinstance(built.suite, Control)
    horizon = built.suite.spec.horizon
    steps = recipe.meta_batch * (recipe.inner_steps + 1) * recipe.rollouts * horizon
    validations = math.ceil(recipe.iterations / recipe.val_every)
    checked = validations * recipe.val_tasks * (recipe.judged + 1) + recipe.tests * (recipe.test_steps + 1)
    checked *= recipe.tested_rollouts * horizon
    started = time.monotonic()
    try:
        tasks = built.suite.tasks(range(recipe.meta_batch), "train")
        collected = collect(built.suite, tasks, built.learner, recipe.inner_steps)
        simulated = time.monotonic()
        built.outer.step(built.learner, *collected)
    except Diverged as error:
        raise RecipeError(
            f"{recipe.name}: the policy diverges at these settings: {error}; try a lower --inner-lr"
        ) from error
    learning = time.monotonic() - simulated
    parameters = sum(p.numel() for p in built.learner.learned().values())
    return Cost(parameters, steps, checked, simulated - started, learning)
