"""The two worlds, and the one place where it is asked which of them a name or a recipe is of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metabench.algorithms import LEARNERS, Workers
from metabench.bench.distributed import Processes
from metabench.bench.recipes.change import Retest
from metabench.bench.recipes.recipe import Recipe, RecipeError, unknown
from metabench.bench.worlds.built import Built
from metabench.bench.worlds.control import CONTROL
from metabench.bench.worlds.few_shot import FEW_SHOT
from metabench.bench.worlds.world import Place, World

__all__ = ["WORLDS", "Place", "Retest", "World", "build", "learner_of", "resolve", "world_of", "world_of_benchmark"]

WORLDS: tuple[World[Any], ...] = (FEW_SHOT, CONTROL)


def world_of(recipe: Recipe) -> World[Any]:
    """The world that a recipe is of."""
    return next(world for world in WORLDS if isinstance(recipe, world.recipe))


def world_of_benchmark(name: str) -> World[Any]:
    """The world that has a benchmark of this name; raises RecipeError with the nearest name where none has."""
    for world in WORLDS:
        if world.has(name):
            return world
    raise RecipeError(unknown("benchmark", name, [name for world in WORLDS for name in world.benchmarks]))


def resolve(algorithm: str, benchmark: str, schedule: str = "paper") -> Recipe:
    """The recipe of a row, of either world.

    Args:
        algorithm: a learner or a variant of one, e.g. "maml", "maml-fo".
        benchmark: data set, ways and shots, e.g. "omniglot-20w1s"; or an environment, e.g. "cheetah-vel".
        schedule: "paper" or "short".

    Raises:
        RecipeError: for a name that does not exist, with the nearest that does.
    """
    if schedule not in ("paper", "short"):
        raise RecipeError(unknown("schedule", schedule, ["paper", "short"]))
    world = world_of_benchmark(benchmark)
    if algorithm not in world.algorithms:
        has = ", ".join(world.algorithms)
        if algorithm in LEARNERS:
            raise RecipeError(f"{algorithm} needs labels, of which {world.title} has none; {benchmark} has {has}")
        for other in WORLDS:
            if algorithm in other.variants:
                raise RecipeError(f"{algorithm} is of {other.title} only; {benchmark} has {has}")
        raise RecipeError(unknown("algorithm", algorithm, world.algorithms))
    recipe: Recipe = world.resolve(algorithm, benchmark, schedule)
    return recipe


def build(
    recipe: Recipe,
    seed: int,
    *,
    root: Path,
    cache: Path,
    processes: Processes,
    workers: Workers,
    chunk: int = 0,
    compile: bool = False,
) -> Built:
    """What a recipe of either world is built into; see `World.build` and `Place`."""
    return world_of(recipe).build(recipe, seed, Place(root, cache, processes, workers, chunk, compile))


def learner_of(algorithm: str) -> str:
    """Name in `algorithms.LEARNERS` of an algorithm or a variant of one, of either world; of none, the name itself."""
    return next((world.learner(algorithm) for world in WORLDS if algorithm in world.variants), algorithm)


def registered(algorithm: str) -> bool:
    """Whether an algorithm of this name, or what it is a variant of, is a learner."""
    return learner_of(algorithm) in LEARNERS
