"""Control as a `World`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from metabench.algorithms import LEARNERS
from metabench.algorithms.references import is_reference
from metabench.bench.recipes import control as recipes
from metabench.bench.recipes.change import Retest
from metabench.bench.recipes.recipe import ControlRecipe, Fields, RecipeError, unknown
from metabench.bench.recipes.variants import CONTROL as VARIANTS
from metabench.bench.records.metric import RETURN
from metabench.bench.worlds.built import Built
from metabench.bench.worlds.control_build import build
from metabench.bench.worlds.control_cost import cost_rows, seconds
from metabench.bench.worlds.world import Place, World
from metabench.envs import ENVIRONMENTS, family
from metabench.envs.own import benchmark_name


class ControlWorld(World[ControlRecipe]):
    """Distributions of control tasks, scored by the mean return of an episode."""

    title = "control"
    metric = RETURN
    recipe = ControlRecipe
    variants = VARIANTS
    body = ("hidden", "activation")

    @property
    def algorithms(self) -> list[str]:
        """Those that need no labels, of which control has none."""
        return [name for name in super().algorithms if name not in LEARNERS or not LEARNERS[name].needs_labels]

    @property
    def benchmarks(self) -> Sequence[str]:
        """Every registered environment."""
        return list(ENVIRONMENTS)

    def has(self, benchmark: str) -> bool:
        """Whether an environment is registered by this name, or the name is a reference to one of the user's own."""
        return benchmark in ENVIRONMENTS or is_reference(benchmark)

    def resolve(self, algorithm: str, benchmark: str, schedule: str) -> ControlRecipe:
        """The recipe that `bench.recipes.control` puts together; a user's own environment is filed by its own name."""
        if not is_reference(benchmark):
            return recipes.control(algorithm, benchmark, schedule)
        name = benchmark_name(benchmark)
        if name in ENVIRONMENTS:
            raise RecipeError(f"{benchmark} would be filed as {name}, which is another environment; rename it")
        return recipes.control(algorithm, benchmark, schedule, filed_as=name)

    def reference(self, recipe: ControlRecipe) -> str:
        """The benchmark; of a user's own environment, the reference that leads to it."""
        return recipe.environment if is_reference(recipe.environment) else recipe.benchmark

    def registered(self, recipe: ControlRecipe) -> None:
        """Raise RecipeError where the learner or the environment is no longer registered."""
        super().registered(recipe)
        if not is_reference(recipe.environment) and not {recipe.environment, recipe.benchmark} <= ENVIRONMENTS.keys():
            raise RecipeError(unknown("environment", recipe.environment, ENVIRONMENTS))

    def flags(self, recipe: ControlRecipe, plain: ControlRecipe) -> None:
        """Raise RecipeError for another head than ridge."""
        head = getattr(recipe, "head", None)
        if head != getattr(plain, "head", None):
            raise RecipeError(f"{recipe.name}: --head {head} is of few-shot images; in control it is always ridge")

    def retested(self, recipe: ControlRecipe, change: Retest) -> ControlRecipe:
        """The recipe with another variant of its environment to test in."""
        if change.benchmark:
            raise RecipeError(f"{recipe.name}: --benchmark is of few-shot images; control takes --environment")
        if change.ways or change.shots or change.queries:
            raise RecipeError(
                f"{recipe.name}: --ways, --shots and --queries are of few-shot images; control takes --tasks, --steps"
            )
        benchmark = _variant(recipe, change.environment) if change.environment else recipe.benchmark
        return dataclasses.replace(recipe, benchmark=benchmark)

    def quick(self, plain: ControlRecipe, iterations: int) -> Fields:
        """Fewer tasks and rollouts."""
        return {"meta_batch": 10, "rollouts": 10, "val_tasks": 10, "test_tasks": 20}

    def build(self, recipe: ControlRecipe, seed: int, place: Place) -> Built:
        """Make the environment, initialise the policy, and set up the outer step."""
        return build(recipe, seed, place)

    def cost(self, recipe: ControlRecipe, place: Place) -> list[tuple[str, str]]:
        """Simulated steps, arithmetic and time of the recipe."""
        return cost_rows(recipe, place)

    def seconds(self, recipe: ControlRecipe, place: Place) -> float:
        """About how long a run takes, by a few timed iterations."""
        return seconds(recipe, place)


def _variant(recipe: ControlRecipe, name: str) -> str:
    """The variant to test in; raises RecipeError unless it is of the same benchmark and fits the policy."""
    if is_reference(recipe.environment) or is_reference(name):
        raise RecipeError(f"{recipe.name}: an environment of one's own is tested in itself; leave out --environment")
    if name not in ENVIRONMENTS:
        raise RecipeError(unknown("environment", name, ENVIRONMENTS))
    trained, tested = ENVIRONMENTS[recipe.environment], ENVIRONMENTS[name]
    sees, does = ((s.observation_size, s.action_size, s.action_scale) for s in (trained, tested))
    if family(name) != family(recipe.environment) or sees != does:
        raise RecipeError(
            f"{recipe.name}: a policy trained in {recipe.environment} cannot be tested in {name}; "
            "its tasks, observations and actions must be the same"
        )
    return name


CONTROL = ControlWorld()
