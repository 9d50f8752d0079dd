"""Few-shot images as a `World`."""
# ruff: noqa: D102 - the base class documents what is overridden here

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from metabench.bench.recipes import few_shot as recipes
from metabench.bench.recipes.recipe import FewShotRecipe, Fields, RecipeError, unknown
from metabench.bench.recipes.variants import FEW_SHOT as VARIANTS
from metabench.bench.records.metric import ACCURACY
from metabench.bench.worlds.built import Built
from metabench.bench.worlds.few_shot_build import build
from metabench.bench.worlds.few_shot_cost import cost_rows, seconds
from metabench.bench.worlds.world import Place, Retest, World
from metabench.vision import DATASETS


class FewShotWorld(World[FewShotRecipe]):
    """Episodes of few classes of images, scored by accuracy."""

    title = "few-shot images"
    metric = ACCURACY
    recipe = FewShotRecipe
    variants = VARIANTS

    @property
    def benchmarks(self) -> Sequence[str]:
        return recipes.benchmark_names()

    def has(self, benchmark: str) -> bool:
        return recipes.is_benchmark(benchmark)

    def resolve(self, algorithm: str, benchmark: str, schedule: str) -> FewShotRecipe:
        return recipes.few_shot(algorithm, benchmark, schedule)

    def registered(self, recipe: FewShotRecipe) -> None:
        super().registered(recipe)
        if recipe.dataset not in DATASETS:
            raise RecipeError(unknown("data set", recipe.dataset, DATASETS))

    def flags(self, recipe: FewShotRecipe, plain: FewShotRecipe) -> None:
        head, penalty = (getattr(recipe, name, None) for name in ("head", "penalty"))
        if head != getattr(plain, "head", None) and penalty == getattr(plain, "penalty", None):
            raise RecipeError(
                f"{recipe.name}: --head {head} needs a --penalty of its own: C of svm or λ of ridge, 0.1 and "
                "50 in the paper"
            )

    def retested(self, recipe: FewShotRecipe, change: Retest) -> FewShotRecipe:
        if change.environment:
            raise RecipeError(
                f"{recipe.name}: --environment is of control; few-shot images take --ways, --shots and --queries"
            )
        ways, shots = change.ways or recipe.ways, change.shots or recipe.shots
        if (ways, shots) == (recipe.ways, recipe.shots):
            return recipe
        benchmark = f"{recipe.benchmark.rpartition('-')[0]}-{ways}w{shots}s"
        queries = self.resolve(recipe.algorithm, benchmark, "paper").queries
        return dataclasses.replace(recipe, benchmark=benchmark, ways=ways, shots=shots, queries=queries)

    def quick(self, plain: FewShotRecipe, iterations: int) -> Fields:
        # The single task of ProtoNet and MetaOptNet would leave a core idle.
        return {
            "meta_batch": max(plain.meta_batch, 2),
            "lr_factors": ((iterations * 3 // 4, 0.3),),
            "val_tasks": 50,
            "test_tasks": 400,
        }

    def build(self, recipe: FewShotRecipe, seed: int, place: Place) -> Built:
        return build(recipe, seed, place)

    def cost(self, recipe: FewShotRecipe, place: Place) -> list[tuple[str, str]]:
        return cost_rows(recipe, place)

    def seconds(self, recipe: FewShotRecipe, place: Place) -> float:
        return seconds(recipe, place)


FEW_SHOT = FewShotWorld()
