"""What `metabench list --json` prints: everything that there is to run and its settings, for programs."""

from __future__ import annotations

import dataclasses
from typing import Any

from metabench.algorithms import LEARNERS
from metabench.bench.cli.describing import paper_of, rule_of
from metabench.bench.data_sets import verbs as actions
from metabench.bench.recipes.recipe import Recipe, RecipeError
from metabench.bench.training.dry_run import meanings
from metabench.bench.worlds import WORLDS, World
from metabench.envs import ENVIRONMENTS
from metabench.vision.data.source import data_root

SCHEMA = 1
PROTOCOL = (
    "dataset", "split", "ways", "shots", "queries", "within_group", "rotations", "resample", "lake_runs", "norm",
    "environment", "test_rollouts", "later_rate", "val_tasks", "test_tasks", "test_steps",
)  # fmt: skip
"""Fields of a recipe, of either world, that say what is tested and how."""


def as_json() -> dict[str, Any]:
    """The document: schema, algorithms, benchmarks, data_sets, environments."""
    return {
        "schema": SCHEMA,
        "algorithms": _algorithms(),
        "benchmarks": [_benchmark(world, name) for world in WORLDS for name in world.benchmarks],
        "data_sets": [dataclasses.asdict(row) for row in actions.list_data(data_root())],
        "environments": _environments(),
    }


def _algorithms() -> list[dict[str, Any]]:
    """The learners with their settings, then the variants of them with what they change."""
    learners = [
        {
            "name": name,
            "rule": rule_of(kind),
            "paper": paper_of(kind),
            "worlds": [world.title for world in WORLDS if name in world.algorithms],
            "settings": {
                field.name: {"default": _default(field), "meaning": meanings(kind.Settings)[field.name]}
                for field in dataclasses.fields(kind.Settings)
            },
        }
        for name, kind in LEARNERS.items()
    ]
    variants = [
        {"name": name, "variant_of": base, "worlds": [world.title], "changes": changes}
        for world in WORLDS
        for name, (base, changes) in world.variants.items()
    ]
    return [*learners, *variants]


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default


def _benchmark(world: World[Any], name: str) -> dict[str, Any]:
    """A benchmark with the protocol that all algorithms share there, and where the recipe of one is another."""
    recipes: dict[str, Recipe] = {}
    for algorithm in world.algorithms:
        try:
            recipes[algorithm] = world.resolve(algorithm, name, "paper")
        except RecipeError:  # which has no recipe there
            continue
    fields = {algorithm: _protocol(recipe) for algorithm, recipe in recipes.items()}
    first = next(iter(fields.values()))
    shared = {k: v for k, v in first.items() if all(other.get(k) == v for other in fields.values())}
    return {
        "name": name,
        "world": world.title,
        "protocol": shared,
        "protocol_of": {
            algorithm: {k: v for k, v in own.items() if k not in shared} for algorithm, own in fields.items()
        },
    }


def _protocol(recipe: Recipe) -> dict[str, Any]:
    return {field: getattr(recipe, field) for field in PROTOCOL if hasattr(recipe, field)}


def _environments() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "tasks": environment.tasks.text,
            "horizon": environment.horizon,
            "seconds_a_step": environment.dt,
            "observation_size": environment.observation_size,
            "action_size": environment.action_size,
            "action_scale": environment.action_scale,
        }
        for name, environment in ENVIRONMENTS.items()
    ]
