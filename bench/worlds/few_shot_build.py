"""From a recipe of few-shot images to what runs it: suite, learner and outer step."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from typing import Any

import torch
from torch import nn

from metabench.algorithms import (
    LEARNERS,
    Categorical,
    Classifier,
    ClassifierSettings,
    FromModule,
    GradientOuter,
    Learner,
    Network,
)
from metabench.algorithms.meta_gradient import tasks_at_once
from metabench.algorithms.network import is_body
from metabench.algorithms.ops.stateful import refuse_stateful
from metabench.algorithms.references import CannotLoad, is_reference
from metabench.bench.recipes.recipe import FewShotRecipe, RecipeError
from metabench.bench.recipes.variants import FEW_SHOT as VARIANTS
from metabench.bench.worlds.built import TEST_SEED, Built, selection, settings_in, start
from metabench.bench.worlds.world import Place
from metabench.vision import DATASETS
from metabench.vision.augment import AUGMENTATIONS
from metabench.vision.batches import Batches
from metabench.vision.data.form import Form
from metabench.vision.data.omniglot import Omniglot, lake_runs
from metabench.vision.data.source import Dataset, Source
from metabench.vision.episodes import Brought, Drawn, Episodes, FixedEpisodes, Shape
from metabench.vision.models.backbones import MLP, Conv4, ResNet12
from metabench.vision.models.plain import own, resnet18
from metabench.vision.suite import FewShot

FIRST_LAYER_BYTES = 64 * 4
"""Bytes of each pixel, in the widest activation that an evaluation holds (64 filters, float32)."""


def build(recipe: FewShotRecipe, seed: int, place: Place) -> Built:
    """Few-shot images: episodes of a data set, Adam or SGD on the query loss."""
    processes, workers = place.processes, place.workers
    dataset = source_of(recipe).load(place.root, recipe.split, cache=place.cache)
    _, channels, size, _ = dataset.images.images.shape
    form = place.form or Form(channels, size)
    episodes, classes = make_episodes(recipe, seed, dataset, place)
    if (form.channels, form.size) != (channels, size):
        episodes = {split: Brought(drawn, form) for split, drawn in episodes.items()}
    suite = FewShot(episodes, processes.device, AUGMENTATIONS[recipe.augment])
    if place.compile and recipe.backbone not in ("conv4", "conv4-strided", "mlp"):
        why = "DropBlock's random draws" if recipe.backbone == "resnet12" else "a plain module's loop over tasks"
        raise RecipeError(f"--compile cannot carry {why}; run {recipe.backbone} without it")
    learner = make_learner(recipe, seed, form.channels, form.size, classes).to(processes.device)
    outer = make_outer(recipe, learner, seed, place)
    pixels = recipe.ways * (recipe.shots + recipe.queries) * form.size * form.size
    fit = int(1e9 / (pixels * FIRST_LAYER_BYTES))
    fast = workers.threads * tasks_at_once(learner.reads, pixels * form.channels, workers.device)
    least = workers.threads if workers.device == "cpu" else 1
    told = protocol(recipe, dataset, learner.network.body, classes, form)
    return Built(suite, learner, outer, told, max(least, min(fit, fast)))


def make_episodes(recipe: FewShotRecipe, seed: int, dataset: Dataset, place: Place) -> tuple[dict[str, Drawn], int]:
    """Split -> what is drawn from it, and how many classes the learned head has.

    A learner that was trained on another data set has the test split alone.
    """
    if recipe.val_tasks and not recipe.trained_on and not len(dataset.splits["val"]):
        raise RecipeError(
            f"{recipe.name}: split {recipe.split} of {dataset.name} has no classes to validate on; give --val-tasks 0 "
            "and the --iterations chosen beforehand, and the last iterate is tested"
        )
    test = Shape(recipe.ways, recipe.shots, recipe.queries)
    needed = ["test"] if recipe.trained_on else [*["val"] * bool(recipe.val_tasks), "test"]
    episodes: dict[str, Drawn] = {
        split: Episodes(
            dataset,
            split,
            test,
            rotations=split in recipe.rotations,
            within_group=split in recipe.within_group,
            seed=TEST_SEED,
        )
        for split in needed
    }
    if recipe.lake_runs:
        episodes["test"] = FixedEpisodes(lake_runs(place.root, resample=recipe.resample))
    if recipe.trained_on:
        return episodes, place.classes if isinstance(recipe, ClassifierSettings) else recipe.ways
    train, classes = training(recipe, dataset, seed)
    return {"train": train} | episodes, classes


def source_of(recipe: FewShotRecipe) -> Source:
    """The recipe's data set, its pictures brought to size as the recipe says."""
    source = DATASETS[recipe.dataset]
    if recipe.resample == "lanczos":
        return source
    if not isinstance(source, Omniglot):
        raise RecipeError(f"{recipe.name}: --resample {recipe.resample} is Omniglot's; {recipe.dataset} has lanczos")
    return dataclasses.replace(source, resample=recipe.resample)


def training(recipe: FewShotRecipe, dataset: Dataset, seed: int) -> tuple[Drawn, int]:
    """What is trained on, episodes or batches; and how many classes the learned head has."""
    rotations = "train" in recipe.rotations
    if isinstance(recipe, ClassifierSettings):
        batches = Batches(dataset, "train", recipe.batch, rotations=rotations, seed=seed)
        return batches, batches.classes
    shape = Shape(recipe.train_ways, recipe.train_shots, recipe.train_queries)
    within = "train" in recipe.within_group
    return Episodes(dataset, "train", shape, rotations=rotations, within_group=within, seed=seed), recipe.ways


def protocol(
    recipe: FewShotRecipe, dataset: Dataset, body: nn.Module, classes: int = 0, form: Form | None = None
) -> dict[str, Any]:
    """What two accuracies must agree on before they can be compared.

    Args:
        classes: of the learned head. Of a classifier these are the ways that it is trained on, and the batches too
            are named.
        form: what images are brought to; None for the data set's own.
    """
    images = dataset.images
    batches = {"training": f"batches of {recipe.batch} images"} if isinstance(recipe, ClassifierSettings) else {}
    own = Form(*images.images.shape[1:3])
    read = own if form is None else Form(form.channels, form.size)
    return {
        "dataset": recipe.dataset,
        **({"trained_on": recipe.trained_on} if recipe.trained_on else {}),
        **({"images": f"{own} brought to {read}"} if read != own else {}),
        **start(recipe),
        "split": dataset.split_version,
        "data_digest": images.digest,
        "data_notes": dataset.notes,
        "ways": recipe.ways,
        "shots": recipe.shots,
        "queries": recipe.queries,
        "train_ways": recipe.train_ways or classes,
        "train_shots": recipe.train_shots,
        **batches,
        "within_group_train": "train" in recipe.within_group,
        "within_group_test": "test" in recipe.within_group,
        "rotations_train": "train" in recipe.rotations,
        "rotations_test": "test" in recipe.rotations,
        "image_size": read.size,
        "backbone": backbone_name(recipe, body),
        "norm": recipe.norm,
        "train_steps": recipe.inner_steps,
        "test_steps": recipe.test_steps,
        "second_order": not getattr(recipe, "first_order", False),
        "augmentation": recipe.augment,
        "smoothing": recipe.smoothing,
        "test_tasks": recipe.tests,
        "episodes": "lake-runs" if recipe.lake_runs else "drawn",
        "resampling": dataset.resampling,
        "selection": selection(recipe, "episodes"),
    }


def backbone_name(recipe: FewShotRecipe, body: nn.Module) -> str:
    """What ran: conv4 by its width, a class of one's own by what it holds, since its source may change."""
    if recipe.backbone.startswith("conv4"):
        return f"{recipe.backbone}-{recipe.width}"
    if not is_reference(recipe.backbone):
        return recipe.backbone
    shapes = "".join(f"{name} {tuple(t.shape)}\n" for name, t in body.state_dict().items())
    return f"{recipe.backbone}#{hashlib.sha256(shapes.encode()).hexdigest()[:8]}"


def make_body(recipe: FewShotRecipe, channels: int, size: int) -> nn.Module:
    """The recipe's backbone for images (channels, size, size)."""
    if recipe.backbone == "mlp":
        return MLP(channels, size)
    if recipe.backbone == "resnet12":
        return ResNet12(channels, size)
    if recipe.backbone.startswith("conv4"):
        return Conv4(channels, size, recipe.width, pool=recipe.backbone == "conv4")
    try:
        named = recipe.backbone == "resnet18"
        made = resnet18(channels) if named else own(recipe.backbone, channels, size, recipe.width)
        if not is_body(made):
            return FromModule(made, (channels, size, size))
        refuse_stateful(made)
        return made
    except CannotLoad:
        raise
    except ValueError as error:
        raise RecipeError(f"{recipe.name}: --backbone {recipe.backbone}: {error}") from error


def make_learner(recipe: FewShotRecipe, seed: int, channels: int, size: int, classes: int = 0) -> Learner:
    """The recipe's learner, initialised from the seed: a learner takes the recipe's fields that it names.

    Args:
        classes: of the learned head; 0 for as many as at test.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(make_body(recipe, channels, size), classes or recipe.ways, Categorical())
        kind = LEARNERS[VARIANTS.get(recipe.algorithm, (recipe.algorithm, {}))[0]]
        if issubclass(kind, Classifier):
            return kind(network, norm=recipe.norm, **settings_in(recipe, kind))
        if recipe.ways != recipe.train_ways and not kind.any_ways:
            able = ", ".join(name for name, learner in LEARNERS.items() if learner.any_ways)
            raise RecipeError(
                f"{recipe.name}: the head is learned for {recipe.train_ways} ways and cannot answer for {recipe.ways}; "
                f"train and test on the same number ({able} may differ, they make the head from the support)"
            )
        if kind.any_ways and recipe.inner_steps < 1:
            raise RecipeError(
                f"{recipe.name}: inner_steps is 0, but the head is made from the support: give at least 1"
            )
        return kind(network, norm=recipe.norm, **settings_in(recipe, kind))


def make_outer(recipe: FewShotRecipe, learner: Learner, seed: int, place: Place) -> GradientOuter:
    """The recipe's optimiser and its schedule."""
    parameters = list(learner.parameters())
    optimizer: torch.optim.Optimizer
    if recipe.optimizer == "sgd":
        optimizer = torch.optim.SGD(
            parameters, recipe.outer_lr, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay
        )
    else:
        optimizer = torch.optim.Adam(parameters, recipe.outer_lr, weight_decay=recipe.weight_decay)

    def factor(step: int) -> float:
        return math.prod([f for at, f in recipe.lr_factors if at <= step][-1:])

    return GradientOuter(
        optimizer,
        torch.optim.lr_scheduler.LambdaLR(optimizer, factor),
        workers=place.workers,
        chunk=place.chunk,
        smoothing=recipe.smoothing,
        clip=recipe.clip,
        seed=seed,
        rank=place.processes.rank,
        world=place.processes.world,
        compile=place.compile,
        all_reduce=place.processes.sum if place.processes.world > 1 else None,
    )
