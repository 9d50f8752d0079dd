"""A trained few-shot learner on anybody's pictures: adapted to a support, asked about queries.

    load("runs/…").adapt("support").predict("query").labels

A support is a folder with a sub-folder a class, or images and a label for each; any number of them a class: a rule
reads the examples that there are, each with weight 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from metabench.algorithms import Batch, Diverged, Learner, Params, adapt
from metabench.bench.recipes.recipe import FewShotRecipe, RecipeError
from metabench.bench.training.trained import Trained, trained_in
from metabench.bench.worlds.few_shot_build import make_learner
from metabench.vision.data.form import Form
from metabench.vision.data.pictures import Pictures, class_folders, pictures
from metabench.vision.data.source import DataError

AT_ONCE = 256
"""Queries that pass the body together, where each is answered without a look at the others."""


def load(folder: str | Path, device: str = "cpu") -> FewShotLearner:
    """The learner of a finished run's folder, or of what `metabench export` made of it.

    Raises:
        RunFolderError: there is none, it is damaged, or its training has not ended.
        RecipeError: it is of control.
    """
    return FewShotLearner(trained_in(Path(folder)), device)


class FewShotLearner:
    """A trained learner that has not seen a task yet.

    Args:
        trained: what was trained.
        device: where it runs, "cpu" or "cuda".
    """

    def __init__(self, trained: Trained, device: str = "cpu") -> None:
        if not isinstance(trained.recipe, FewShotRecipe) or trained.form is None:
            raise RecipeError(
                f"{trained.recipe.name}: a policy answers for no pictures; see it act with `metabench render`"
            )
        self.trained, self.recipe, self.form = trained, trained.recipe, trained.form
        self.device = torch.device(device)

    def adapt(
        self,
        support: Any,
        labels: Iterable[Any] | None = None,
        *,
        steps: int | None = None,
        skip: bool = False,
        invert: bool | None = None,
    ) -> Adapted:
        """The learner after its updates on a support.

        Args:
            support: a folder with a sub-folder of pictures for each class; or, with labels, pictures (PIL), or arrays
                or tensors as `images` takes them.
            labels: one for each image; the classes are called so.
            steps: updates; as many as it was tested with if not given.
            skip: leave out files that cannot be read (they are in `Adapted.left_out`) instead of refusing them all.
            invert: whether dark strokes on paper become bright ones; as the data set of its training if not given.

        Raises:
            DataError: images or folders that cannot be used.
            RecipeError: a number of classes, or of updates, that the learner cannot take.
        """
        form = self.form if invert is None else dataclasses.replace(self.form, invert=invert)
        left_out: tuple[str, ...] = ()
        if labels is None:
            found = class_folders(_path(support), form, skip=skip)
            x, named, left_out = images(found.pixels, form), list[Any](found.folders), found.left_out
        else:
            x, named = images(support, form), [label.item() if hasattr(label, "item") else label for label in labels]
        if len(x) != len(named):
            raise DataError(f"the support has {len(x)} images and {len(named)} labels; give one for each")
        classes = sorted(set(named), key=lambda label: (isinstance(label, str), label))
        learner = self._learner(len(classes), steps)
        y = torch.tensor([classes.index(label) for label in named])
        x, y, w = (t.unsqueeze(0).to(self.device) for t in (x, y, torch.ones(len(y))))
        batch = Batch(x, y, w, len(classes))
        updates = self.recipe.test_steps if steps is None else steps
        with torch.no_grad():
            fast = adapt(learner, [batch] * updates)
        return Adapted(learner, fast, updates, form, tuple(classes), batch, left_out)

    def _learner(self, ways: int, steps: int | None) -> Learner:
        if ways < 2:
            raise DataError(f"the support has {ways} classes; to tell classes apart takes 2 at least")
        recipe = dataclasses.replace(self.recipe, ways=ways, lake_runs=False)
        if steps is not None:
            recipe = dataclasses.replace(recipe, test_steps=steps).check()
        learner = make_learner(recipe, self.trained.seed, self.form.channels, self.form.size, self.trained.classes)
        if learner.any_ways and recipe.test_steps < 1:
            raise RecipeError(f"{recipe.name}: 0 updates, but the head is made from the support: give at least 1")
        learner.load_state_dict(self.trained.state_for(learner))
        return learner.to(self.device).eval()


@dataclass(frozen=True)
class Adapted:
    """A learner after its updates on one support of K classes."""

    learner: Learner
    fast: Params
    """φ after the updates."""
    updates: int
    form: Form
    classes: tuple[Any, ...]
    """Names of the K classes, in order."""
    support: Batch
    """(1, N, C, H, W) images of it, y their places in `classes`."""
    left_out: tuple[str, ...] = ()
    """What was wrong with each support picture that was left out."""

    def _batch(self, x: Tensor) -> Tensor:
        return x.unsqueeze(0).to(self.support.x.device)

    @property
    def together(self) -> bool:
        """Whether an answer depends on the queries that are asked about with it: they normalise one another."""
        norm = self.learner.norm
        return norm == "transductive" or (norm == "support" and self.updates == 0)

    def predict(self, query: Any, *, skip: bool = False) -> Predictions:
        """The class of each query.

        Args:
            query: pictures (PIL), or arrays or tensors as `images` takes them; files, folders of them, or a folder
                with sub-folders named as the classes, which then tell how many answers are right.
            skip: leave out files that cannot be read (they are in `Predictions.left_out`) instead of refusing them all.

        Raises:
            DataError: images or files that cannot be used.
            Diverged: an answer is not finite.
        """
        found = _files(query, self.form, skip)
        x = images(query if found is None else found.pixels, self.form)
        if not len(x):
            raise DataError("there are no queries to answer for")
        with torch.no_grad():
            parts = [x] if self.together else x.split(AT_ONCE)
            logits = torch.cat([self.learner.predict(self.fast, part.unsqueeze(0))[0] for part in parts])
        lost = int((~logits.isfinite().all(1)).sum())
        if lost:
            raise Diverged(f"outputs of {lost} of {len(x)} queries are not finite after {self.updates} updates")
        if found is None:
            found = Pictures(np.empty(0, np.uint8), tuple(map(str, range(len(x)))), ("",) * len(x), ())
        truth = tuple(home if home in self.classes else None for home in found.folders)
        return Predictions(self.classes, found.names, logits.softmax(1).cpu(), x, truth, found.left_out)


@dataclass(frozen=True)
class Predictions:
    """Answers for N queries."""

    classes: tuple[Any, ...]
    names: tuple[str, ...]
    """What each query is called: its file, else its number."""
    probabilities: Tensor
    """(N, K), in the order of the classes."""
    images: Tensor
    """(N, C, H, W), as the learner read them."""
    truth: tuple[str | None, ...]
    """The class whose folder each query is in; None where that is no class's."""
    left_out: tuple[str, ...]
    """What was wrong with each file that was left out."""

    @property
    def labels(self) -> list[Any]:
        """The most probable class of each query."""
        return [self.classes[i] for i in self.probabilities.argmax(1).tolist()]

    @property
    def told(self) -> int:
        """Queries whose class is known."""
        return sum(true is not None for true in self.truth)

    @property
    def right(self) -> int:
        """Queries whose class is known and answered."""
        return sum(label == true for label, true in zip(self.labels, self.truth, strict=True) if true is not None)

    @property
    def accuracy(self) -> float | None:
        """Share of the queries whose class is known that is answered right; None where none is known."""
        return self.right / self.told if self.told else None


def images(data: Any, form: Form) -> Tensor:
    """Images as a learner reads them, (N, C, size, size) in its data set's range, [0, 1].

    Args:
        data: pictures (PIL), which are read as files are; or an array or tensor, (N, H, W) or (N, C, H, W): uint8,
            decoded already (not inverted, but resized where need be), or floating-point of the very form that is read.

    Raises:
        DataError: anything else.
    """
    if isinstance(data, Image.Image):
        data = [data]
    if isinstance(data, Sequence) and data and all(isinstance(image, Image.Image) for image in data):
        data = np.stack([form.picture(image, f"image {i}") for i, image in enumerate(data)])
    try:
        x = torch.as_tensor(np.array(data) if isinstance(data, np.ndarray) else data)
    except (TypeError, ValueError, RuntimeError) as error:
        what = f"a {type(data).__name__} holds no images"
        raise DataError(f"{what}: give files or a folder, pictures, or an array or tensor") from error
    x = x.unsqueeze(1) if x.ndim == 3 else x
    if x.dtype == torch.uint8:
        return torch.from_numpy(form.bring(x.cpu().numpy())).float().div_(255)
    wanted = (form.channels, form.size, form.size)
    if not x.is_floating_point() or x.ndim != 4 or x.shape[1:] != wanted or not x.isfinite().all():
        raise DataError(
            f"images are {x.dtype} {tuple(x.shape)}; give uint8 of any size, or finite floating-point numbers of the "
            f"form that was trained on, (N, {', '.join(map(str, wanted))})"
        )
    return x.float()


def _path(data: Any) -> Path:
    if not isinstance(data, str | Path):
        raise DataError(f"a support of {type(data).__name__} needs labels, one for each image")
    return Path(data)


def _files(query: Any, form: Form, skip: bool) -> Pictures | None:
    """The pictures of paths; None where the query is no paths."""
    given = [query] if isinstance(query, str | Path) else query
    if not isinstance(given, Sequence) or not given or not all(isinstance(path, str | Path) for path in given):
        return None
    return pictures([Path(path) for path in given], form, skip=skip)
