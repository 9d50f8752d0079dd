"""What training left: the learner that validated best, found in a run folder or in what was exported of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from metabench.algorithms import ClassifierSettings, Learner
from metabench.bench.recipes.recipe import Recipe, RecipeError, from_fields
from metabench.bench.training import checkpoint, export
from metabench.bench.training.checkpoint import RunFolderError
from metabench.bench.training.trainer import State
from metabench.bench.worlds import world_of
from metabench.bench.worlds.command import recipes
from metabench.bench.worlds.naming import flag
from metabench.vision.data.form import Form

HEAD = frozenset({"network.head.weight", "network.head.bias"})
"""What a learner that makes its head from the support needs of nobody."""


@dataclass(frozen=True)
class Trained:
    """A learner that was trained to the end of its recipe."""

    file: Path
    """What holds its weights."""
    recipe: Recipe
    seed: int
    data: Mapping[str, Any]
    """Whose classes it was trained on (`trainer.data_of`)."""
    form: Form | None
    """What its images are; None where it sees none."""
    state: State
    """Its best learner is the one to use."""

    @property
    def weights(self) -> dict[str, Tensor]:
        """The state of the learner that validated best, by name."""
        return self.state.best_learner

    @property
    def classes(self) -> int:
        """Of the learned head of a classifier; 0 for other learners, whose head has as many as a test episode."""
        return len(self.weights["network.head.weight"]) if isinstance(self.recipe, ClassifierSettings) else 0

    @property
    def digest(self) -> str:
        """Which weights they are (`export.weights_digest`)."""
        return export.weights_digest(self.weights)

    def state_for(self, learner: Learner) -> dict[str, Tensor]:
        """The weights as the state of a learner built from its recipe, perhaps for other ways; RunFolderError."""
        if why := misfit(self.weights, learner):
            raise RunFolderError(f"{self.file} does not fit the learner as it is now ({why}); train again")
        return fitted(self.weights, learner)

    def start(self, recipe: Recipe, learner: Learner) -> dict[str, Tensor]:
        """The weights as those that training under another recipe starts from; RecipeError where they do not fit."""
        mine, theirs = world_of(recipe), world_of(self.recipe)
        if mine is not theirs:
            raise RecipeError(f"{recipe.name}: --weights {self.file.parent} is of {theirs.title}, not {mine.title}")
        for name in mine.body:
            value, here = getattr(self.recipe, name), getattr(recipe, name)
            if value != here:
                raise RecipeError(
                    f"{recipe.name}: --weights {self.file.parent} has {name} {value}, this recipe {here}; give "
                    f"{' '.join(flag(name, value))}"
                )
        if why := misfit(self.weights, learner):
            raise RecipeError(
                f"{recipe.name}: --weights {self.file.parent} of {self.recipe.name} does not fit ({why}); start from "
                "weights of the same learner, ways and images"
            )
        return fitted(self.weights, learner)


def trained_in(folder: Path) -> Trained:
    """The learner in a run folder, or in a folder that `metabench export` wrote.

    Raises:
        RunFolderError: there is none, it is damaged, or its training has not ended.
        RecipeError: its algorithm is none of this version's.
    """
    if not folder.exists():
        raise RunFolderError(f"{folder} does not exist; give the --out of a finished `metabench run`")
    if (folder / export.CARD).is_file():
        card = export.read(folder)
        state = State(**export.state_fields(card.record), best_learner=card.weights)
        recipe, _ = recipes(card.record)
        return Trained(folder / export.WEIGHTS, recipe, card.record["seed"], card.record["protocol"], card.form, state)
    path = folder / "checkpoint.pt"
    if not path.is_file():
        raise RunFolderError(
            f"{folder} holds no checkpoint.pt; give the --out of a finished `metabench run`, or what `metabench "
            "export` made of it"
        )
    return _of_run(path)


def _of_run(path: Path) -> Trained:
    saved = checkpoint.load_run(path)
    recipe = from_fields(saved["fields"])
    world_of(recipe).registered(recipe)
    try:
        state = State(**saved["state"])
    except TypeError as error:
        raise RunFolderError(f"{path} is no checkpoint of a run ({error}); remove it to start over") from error
    if state.iteration < recipe.iterations:
        why = f"it diverged: {state.diverged}" if state.diverged else "finish it first"
        raise RunFolderError(f"{path.parent} stands at iteration {state.iteration} of {recipe.iterations}; {why}")
    state = dataclasses.replace(state, best_learner=state.best_learner or saved["learner"])  # as it was drawn
    return Trained(path, recipe, saved["seed"], saved["data"], world_of(recipe).form(recipe), state)


def misfit(weights: Mapping[str, Tensor], learner: Learner) -> str:
    """In what names or shapes weights are not a learner's; empty where they are. The first three are named."""
    own = learner.state_dict()
    idle = HEAD if learner.any_ways else frozenset()
    lacking = [f"{name} is missing" for name in sorted(own.keys() - weights.keys())]
    strange = [f"{name} is not the learner's" for name in sorted(weights.keys() - own.keys())]
    shapes = [
        f"{name} is {_shape(weights[name])}, here {_shape(own[name])}"
        for name in own
        if name in weights and name not in idle and weights[name].shape != own[name].shape
    ]
    found = [*shapes, *lacking, *strange]
    return "; ".join([*found[:3], *([f"and {len(found) - 3} more"] if len(found) > 3 else [])])


def fitted(weights: Mapping[str, Tensor], learner: Learner) -> dict[str, Tensor]:
    """Weights that fit; a head that is made anew for each task stays the learner's own where it has other ways."""
    own = learner.state_dict()
    return {name: weights[name] if weights[name].shape == own[name].shape else own[name] for name in own}


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "one number"
