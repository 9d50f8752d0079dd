"""What a recipe of control costs: simulation steps counted, one iteration timed."""

from __future__ import annotations

import math
import time

from algorithms import Diverged
from algorithms.suite import collect
from bench.recipes.recipe import ControlRecipe, RecipeError
from bench.text import duration
from bench.worlds.control_build import build
from bench.worlds.world import Place
from envs import ENVIRONMENTS


def cost_rows(recipe: ControlRecipe, place: Place) -> list[tuple[str, str]]:
    """What `describe` says of the cost of control: simulation steps, and the time of one iteration measured here."""
    built = build(recipe, 0, place)
    horizon = ENVIRONMENTS[recipe.environment].horizon
    steps = recipe.meta_batch * (recipe.inner_steps + 1) * recipe.rollouts * horizon
    validations = math.ceil(recipe.iterations / recipe.val_every)
    checked = validations * recipe.val_tasks * (recipe.judged + 1) + recipe.tests * (recipe.test_steps + 1)
    checked *= recipe.tested_rollouts * horizon
    started = time.monotonic()
    try:
        collected = collect(
            built.suite, built.suite.tasks(range(recipe.meta_batch), "train"), built.learner, recipe.inner_steps
        )
        simulated = time.monotonic()
        built.outer.step(built.learner, *collected)
    except Diverged as error:
        raise RecipeError(
            f"{recipe.name}: the policy diverges at these settings: {error}; try a lower --inner-lr"
        ) from error
    learned = time.monotonic()
    each, learning = simulated - started, learned - simulated
    whole = recipe.iterations * (each + learning) + checked * each / steps
    return [
        ("learned parameters", f"{sum(p.numel() for p in built.learner.parameters()):,}"),
        ("training iteration", f"{steps:,} simulation steps, at most: {each:.1f} s, and {learning:.1f} s to learn"),
        ("whole schedule", f"{recipe.iterations * steps + checked:,} simulation steps, at most"),
        ("time here", f"about {duration(whole)} on {place.workers.threads} core(s)"),
    ]
