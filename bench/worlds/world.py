"""What one world knows and the other does not: names, recipes, what they are built into, what they cost.

Everything else in the harness asks a world's object and never which world it is (`bench.worlds.world_of`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from metabench.algorithms import LEARNERS, Workers
from metabench.bench.distributed import Processes
from metabench.bench.recipes.change import Retest
from metabench.bench.recipes.recipe import Fields, Recipe, RecipeError, unknown
from metabench.bench.records.metric import Metric
from metabench.bench.worlds.built import Built
from metabench.vision.data.form import Form


@dataclass(frozen=True)
class Place:
    """Where and how a recipe is built; none of it changes a result beyond rounding."""

    root: Path
    """Folder of the data sets."""
    cache: Path
    """Folder of what is derived from them."""
    processes: Processes
    workers: Workers
    chunk: int = 0
    """Tasks carried at once; 0 for as many as the device likes."""
    compile: bool = False
    """Fuse each training step into one compiled graph."""
    form: Form | None = None
    """What images are brought to: the form that a learner of another data set reads; None for the data set's own."""
    classes: int = 0
    """Of the learned head of a classifier that was trained on another data set."""


R = TypeVar("R", bound=Recipe)


class World(ABC, Generic[R]):
    """One of the two worlds; its objects are in `bench.worlds.WORLDS`."""

    title: str
    """In a heading, e.g. "control"."""
    metric: Metric
    recipe: type[R]
    variants: Mapping[str, tuple[str, Fields]]
    """Rows that are an algorithm with something changed: name -> (algorithm, changes)."""
    body: tuple[str, ...]
    """The fields of a recipe that say what its network is."""

    @property
    def algorithms(self) -> list[str]:
        """Every name that `run` takes in this world."""
        return [*LEARNERS, *self.variants]

    @property
    @abstractmethod
    def benchmarks(self) -> Sequence[str]:
        """The usual names."""

    @abstractmethod
    def has(self, benchmark: str) -> bool:
        """Whether a benchmark of this name is of this world, usual or not."""

    @abstractmethod
    def resolve(self, algorithm: str, benchmark: str, schedule: str) -> R:
        """The recipe of a row; raises RecipeError for a name that does not exist, with the nearest that does."""

    def registered(self, recipe: R) -> None:
        """Raise RecipeError where what a checkpoint's recipe names is no longer registered."""
        if self.learner(recipe.algorithm) not in LEARNERS:
            raise RecipeError(unknown("algorithm", recipe.algorithm, LEARNERS))

    def reference(self, recipe: R) -> str:
        """The name that `resolve` knows its benchmark by."""
        return recipe.benchmark

    @abstractmethod
    def flags(self, recipe: R, plain: R) -> None:
        """Raise RecipeError for flags that this world cannot follow, given the recipe without any."""

    @abstractmethod
    def retested(self, recipe: R, change: Retest) -> R:
        """The recipe tested on the benchmark that a change means, else unchanged (see `bench.worlds.retest`).

        Raises:
            RecipeError: for a change that belongs to the other world.
        """

    def form(self, recipe: R) -> Form | None:
        """The form of the images that its learner reads, None where it reads none; RecipeError for no known data."""
        return None

    @abstractmethod
    def quick(self, plain: R, iterations: int) -> Fields:
        """What makes a recipe a matter of seconds, for `quickstart`."""

    @abstractmethod
    def build(self, recipe: R, seed: int, place: Place) -> Built:
        """Load the data or the environment, initialise the learner from the seed, and set up the outer step."""

    @abstractmethod
    def cost(self, recipe: R, place: Place) -> list[tuple[str, str]]:
        """What running the recipe takes in this place: (what, how much)."""

    @abstractmethod
    def seconds(self, recipe: R, place: Place) -> float:
        """About how long a run of the recipe takes in this place, by a look briefer than that of `cost`."""

    def learner(self, algorithm: str) -> str:
        """Name in `algorithms.LEARNERS` of an algorithm or a variant of one."""
        return self.variants.get(algorithm, (algorithm, {}))[0]
