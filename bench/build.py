"""From a recipe to what runs it: suite, learner and outer step."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from algorithms import LEARNERS, Categorical, GradientOuter, Learner, Network, Workers
from algorithms.meta_gradient import tasks_at_once
from bench.distributed import Processes
from bench.evaluate import Suite
from bench.recipe import Recipe, RecipeError
from bench.recipes import VARIANTS
from vision import DATASETS
from vision.augment import Augment
from vision.backbones import MLP, Conv4, ResNet12
from vision.episodes import Drawn, Episodes, FixedEpisodes, Shape
from vision.images import Dataset
from vision.suite import FewShot

TEST_SEED = 20170806
"""Validation and test episodes are the same for every algorithm and seed."""


FIRST_LAYER_BYTES = 64 * 4
"""Of each pixel, in the widest activation that an evaluation holds (64 filters, float32)."""


@dataclass
class Built:
    """What a recipe stands for. `at_once`: tasks to evaluate together, as memory and speed like it."""

    suite: Suite
    learner: Learner
    outer: GradientOuter
    dataset: Dataset
    at_once: int


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
    """Load the data, initialise the learner from the seed, and set up the outer optimiser."""
    dataset = DATASETS[recipe.dataset].load(root, recipe.split, cache=cache)
    _, channels, size, _ = dataset.images.images.shape
    train = Shape(recipe.train_ways, recipe.train_shots, recipe.train_queries)
    test = Shape(recipe.ways, recipe.shots, recipe.queries)
    episodes: dict[str, Drawn] = {
        split: Episodes(
            dataset,
            split,
            train if split == "train" else test,
            rotations=split in recipe.rotations,
            within_group=split in recipe.within_group,
            seed=seed if split == "train" else TEST_SEED,
        )
        for split in ("train", "val", "test")
    }
    if recipe.lake_runs:
        from vision.omniglot import lake_runs

        episodes["test"] = FixedEpisodes(lake_runs(root))
    suite = FewShot(episodes, processes.device, Augment() if recipe.augment else None)
    if compile and recipe.backbone == "resnet12":
        raise RecipeError("--compile cannot carry DropBlock's random draws; run resnet12 without it")
    learner = make_learner(recipe, seed, channels, size).to(processes.device)
    outer = make_outer(recipe, learner, seed, workers, processes, chunk, compile)
    pixels = test.ways * (test.shots + test.queries) * size * size
    fit = int(1e9 / (pixels * FIRST_LAYER_BYTES))
    fast = workers.threads * tasks_at_once(learner.reads, pixels * channels, workers.device)
    return Built(suite, learner, outer, dataset, max(workers.threads, min(fit, fast)))


def make_body(recipe: Recipe, channels: int, size: int) -> nn.Module:
    """The recipe's backbone for images (channels, size, size)."""
    if recipe.backbone == "mlp":
        return MLP(channels, size)
    if recipe.backbone == "resnet12":
        return ResNet12(channels, size)
    return Conv4(channels, size, recipe.width, pool=recipe.backbone == "conv4")


def make_learner(recipe: Recipe, seed: int, channels: int, size: int) -> Learner:
    """The recipe's learner, initialised from the seed: a learner takes the recipe's fields that it names."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(make_body(recipe, channels, size), recipe.ways, Categorical())
        kind = LEARNERS[VARIANTS.get(recipe.algorithm, (recipe.algorithm, {}))[0]]
        if recipe.ways != recipe.train_ways and not kind.any_ways:
            able = ", ".join(name for name, learner in LEARNERS.items() if learner.any_ways)
            raise RecipeError(
                f"{recipe.name}: the head is learned for {recipe.train_ways} ways and cannot answer for {recipe.ways}; "
                f"train and test on the same number ({able} may differ, they make the head from the support)"
            )
        wanted = inspect.signature(kind).parameters
        return kind(network, **{name: getattr(recipe, name) for name in wanted if hasattr(recipe, name)})


def make_outer(
    recipe: Recipe, learner: Learner, seed: int, workers: Workers, processes: Processes, chunk: int, compile: bool
) -> GradientOuter:
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
        workers=workers,
        chunk=chunk,
        smoothing=recipe.smoothing,
        clip=recipe.clip,
        seed=seed,
        rank=processes.rank,
        world=processes.world,
        compile=compile,
        all_reduce=processes.sum if processes.world > 1 else None,
    )
