"""Few-shot images as a `World`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from metabench.bench.recipes import few_shot as recipes
from metabench.bench.recipes.change import Retest
from metabench.bench.recipes.recipe import FewShotRecipe, Fields, RecipeError, unknown
from metabench.bench.recipes.variants import FEW_SHOT as VARIANTS
from metabench.bench.records.metric import ACCURACY
from metabench.bench.worlds.built import Built
from metabench.bench.worlds.few_shot_build import build, source_of
from metabench.bench.worlds.few_shot_cost import cost_rows, seconds
from metabench.bench.worlds.world import Place, World
from metabench.vision import DATASETS
from metabench.vision.data.form import Form, form_of

TO = "-to-"
"""Between the names of what was trained on and what is tested on."""


class FewShotWorld(World[FewShotRecipe]):
    """Episodes of few classes of images, scored by accuracy."""

    title = "few-shot images"
    metric = ACCURACY
    recipe = FewShotRecipe
    variants = VARIANTS
    body = ("backbone", "width")

    @property
    def benchmarks(self) -> Sequence[str]:
        """The usual numbers of ways and shots of every data set."""
        return recipes.benchmark_names()

    def has(self, benchmark: str) -> bool:
        """Whether the name is a data set's with any number of ways and shots."""
        return recipes.is_benchmark(benchmark)

    def resolve(self, algorithm: str, benchmark: str, schedule: str) -> FewShotRecipe:
        """The recipe that `bench.recipes.few_shot` puts together."""
        return recipes.few_shot(algorithm, benchmark, schedule)

    def registered(self, recipe: FewShotRecipe) -> None:
        """Raise RecipeError where the learner or the data set is no longer registered."""
        super().registered(recipe)
        if recipe.dataset not in DATASETS:
            raise RecipeError(unknown("data set", recipe.dataset, DATASETS))

    def flags(self, recipe: FewShotRecipe, plain: FewShotRecipe) -> None:
        """Raise RecipeError for another head with the penalty of the first, which means something else to it."""
        head, penalty = (getattr(recipe, name, None) for name in ("head", "penalty"))
        if head != getattr(plain, "head", None) and penalty == getattr(plain, "penalty", None):
            raise RecipeError(
                f"{recipe.name}: --head {head} needs a --penalty of its own: C of svm or λ of ridge, 0.1 and "
                "50 in the paper"
            )

    def retested(self, recipe: FewShotRecipe, change: Retest) -> FewShotRecipe:
        """The recipe with other ways and shots, and the queries that this benchmark has."""
        if change.environment:
            raise RecipeError(
                f"{recipe.name}: --environment is of control; few-shot images take --ways, --shots and --queries"
            )
        ways, shots = change.ways or recipe.ways, change.shots or recipe.shots
        if change.benchmark:
            other = _other(recipe, change)
            if other.dataset != recipe.dataset:
                return _elsewhere(recipe, other)
            ways, shots = other.ways, other.shots
        if (ways, shots) == (recipe.ways, recipe.shots):
            return recipe
        benchmark = f"{recipe.benchmark.rpartition('-')[0]}-{ways}w{shots}s"
        queries = self.resolve(recipe.algorithm, benchmark, "paper").queries
        return dataclasses.replace(recipe, benchmark=benchmark, ways=ways, shots=shots, queries=queries)

    def form(self, recipe: FewShotRecipe) -> Form:
        """Size, channels and strokes of the images of the recipe's data set."""
        self.registered(recipe)
        return form_of(source_of(recipe))

    def quick(self, plain: FewShotRecipe, iterations: int) -> Fields:
        """Fewer validation and test episodes, and two tasks a step at least."""
        # The single task of ProtoNet and MetaOptNet would leave a core idle.
        return {
            "meta_batch": max(plain.meta_batch, 2),
            "lr_factors": ((iterations * 3 // 4, 0.3),),
            "val_tasks": 50,
            "test_tasks": 400,
        }

    def build(self, recipe: FewShotRecipe, seed: int, place: Place) -> Built:
        """Load the data set, initialise body and head, and set up the outer optimiser."""
        return build(recipe, seed, place)

    def cost(self, recipe: FewShotRecipe, place: Place) -> list[tuple[str, str]]:
        """Data, arithmetic, memory and time of the recipe."""
        return cost_rows(recipe, place)

    def seconds(self, recipe: FewShotRecipe, place: Place) -> float:
        """About how long a run takes, by a few timed episodes."""
        return seconds(recipe, place)


SPLITS = ("train", "val", "test")
TEST_FIELDS = ("dataset", "split", "ways", "shots", "queries", "resample", "lake_runs")
"""What a benchmark says of test episodes; `rotations` and `within_group` say it of each split."""


def _other(recipe: FewShotRecipe, change: Retest) -> FewShotRecipe:
    """The recipe of the benchmark that a test changes to, with the ways and shots that it changes too.

    Raises:
        RecipeError: for a benchmark that does not exist, or another split of the data set that was trained on.
    """
    other = recipes.few_shot(recipe.algorithm, change.benchmark)
    if change.ways or change.shots:
        name = f"{other.benchmark.rpartition('-')[0]}-{change.ways or other.ways}w{change.shots or other.shots}s"
        other = recipes.few_shot(recipe.algorithm, name)
    if other.dataset == recipe.dataset and other.split != recipe.split:
        raise RecipeError(
            f"{recipe.name}: {other.benchmark} splits {recipe.dataset} otherwise ({other.split}, not {recipe.split}), "
            f"so that test classes may have been trained on; train there: metabench run {recipe.algorithm} "
            f"{other.benchmark}"
        )
    return other


def _elsewhere(recipe: FewShotRecipe, other: FewShotRecipe) -> FewShotRecipe:
    """The recipe tested on another data set's episodes, filed under both names, "glyphs-to-omniglot-5w1s"."""
    fields: Fields = {field: getattr(other, field) for field in TEST_FIELDS}
    fields |= {
        field: tuple(s for s in SPLITS if s in getattr(recipe if s == "train" else other, field))
        for field in ("rotations", "within_group")
    }
    benchmark = f"{recipe.benchmark.rpartition('-')[0]}{TO}{other.benchmark}"
    return dataclasses.replace(recipe, **fields, benchmark=benchmark, trained_on=recipe.dataset)


FEW_SHOT = FewShotWorld()
