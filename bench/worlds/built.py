"""What a recipe is built into, in either world."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Protocol

from metabench.algorithms import Learner
from metabench.algorithms.outer.gradient import Outer
from metabench.algorithms.suite import Suite
from metabench.bench.recipes.recipe import Recipe

TEST_SEED = 20170806
"""Validation and test tasks are the same for every algorithm and seed."""


class ResumableOuter(Outer, Protocol):
    """An outer step whose state a checkpoint holds."""

    def state_dict(self) -> dict[str, object]:
        """All that a resumed run needs."""
        ...

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Undo of `state_dict`."""
        ...


@dataclass
class Built:
    """What a recipe stands for.

    protocol: what two scores must agree on before they can be compared (`bench.leaderboard.protocol`). at_once: tasks
    to evaluate together, as memory and speed like it.
    """

    suite: Suite
    learner: Learner
    outer: ResumableOuter
    protocol: dict[str, Any]
    at_once: int


def settings_in(recipe: Recipe, kind: type[Learner]) -> dict[str, Any]:
    """The learner's settings, as the recipe has them."""
    return {f.name: getattr(recipe, f.name) for f in dataclasses.fields(kind.Settings)}


def start(recipe: Recipe) -> dict[str, Any]:
    """The protocol's field of where training starts: the exported weights, by checksum; none where they are drawn."""
    return {"initial_weights": recipe.weights} if recipe.weights else {}


def selection(recipe: Recipe, tasks: str) -> str:
    """How the tested iterate is picked: "best of 200 validation episodes …", where `tasks` is their name; or "last"."""
    if not recipe.val_tasks:
        return "last"
    return f"best of {recipe.val_tasks} validation {tasks} every {recipe.val_every} iterations"
