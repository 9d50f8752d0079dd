"""What a recipe of few-shot images costs, from the operations that `few_shot_flops` counts."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from metabench.algorithms import ClassifierSettings
from metabench.bench.recipes.recipe import FewShotRecipe, Fields
from metabench.bench.text import bytes_text, duration, flops_text, tasks_text
from metabench.bench.worlds.few_shot_flops import Cost, blocks_of, cost, speed, tasks_at_once
from metabench.bench.worlds.world import Place
from metabench.vision import DATASETS
from metabench.vision.data.archive import readable
from metabench.vision.data.source import DataError

BRIEF_FLOPS, BRIEF_TIMINGS = 2e9, 2
"""Work that a brief look times, at most, and how often."""


def cost_rows(recipe: FewShotRecipe, place: Place) -> list[tuple[str, str]]:
    """What `describe` says of the cost: (what, how much)."""
    one, workers = cost(recipe), place.workers
    exact = getattr(recipe, "first_order", True) is False
    without: Fields = {"first_order": True}
    first = cost(dataclasses.replace(recipe, **without)).task_bytes if exact else one.task_bytes
    parts = flops_of(recipe, one)
    total = sum(parts.values())
    rate, peak = speed(recipe, workers, place.chunk)
    blocks = blocks_of(recipe, workers)
    iteration = recipe.meta_batch * one.task_flops
    shares = ", ".join(f"{name} {100 * part / max(total, 1):.0f}%" for name, part in parts.items())
    memory = f"{bytes_text(one.task_bytes)} a task"
    if one.task_bytes > first:
        memory += f" (first order would keep {bytes_text(first)})"
    head = f", with a head of {recipe.ways} of the training classes" if isinstance(recipe, ClassifierSettings) else ""
    rows = [
        ("learned parameters", f"{one.parameters:,}{head}"),
        (
            "training iteration",
            f"{tasks_text(recipe.meta_batch)} × {flops_text(one.task_flops)} = {flops_text(iteration)}",
        ),
        ("whole schedule", f"{flops_text(total)}: {shares}"),
        ("memory of second order" if one.task_bytes > first else "memory of the backward pass", memory),
    ]
    for chunk in dict.fromkeys((place.chunk, 0, 1)):
        n = tasks_at_once(recipe, workers, chunk)
        rows.append((f"  with --chunk {chunk}", f"{bytes_text(n * one.task_bytes)}, {tasks_text(n)} at once"))
    share = f"{blocks} × {workers.threads // blocks} core(s)" if workers.device == "cpu" else "the GPU"
    rows += [
        ("speed here", f"{rate / 1e9:.1f} GFLOP/s, {peak / 1e9:.1f} in matrix products; on {share}"),
        ("time here", f"about {duration(total / rate / blocks)}"),
        ("data", _data(recipe.dataset, place.root)),
    ]
    return rows


def seconds(recipe: FewShotRecipe, place: Place) -> float:
    """About how long a run takes in this place, by a brief look at its work."""
    total = sum(flops_of(recipe, cost(recipe)).values())
    rate, _ = speed(recipe, place.workers, place.chunk, work=BRIEF_FLOPS, timings=BRIEF_TIMINGS)
    return total / rate / blocks_of(recipe, place.workers)


def flops_of(recipe: FewShotRecipe, one: Cost) -> dict[str, float]:
    """Part of a run -> its FLOPs, from those of one task and one episode."""
    validations = math.ceil(recipe.iterations / recipe.val_every)
    return {
        "training": recipe.iterations * recipe.meta_batch * one.task_flops,
        "validation": validations * recipe.val_tasks * one.episode_flops,
        "test": recipe.tests * one.episode_flops,
    }


def _data(name: str, root: Path) -> str:
    try:
        with readable():
            return "present" if DATASETS[name].locate(root) else "absent: see `metabench data list`"
    except DataError as error:
        return f"damaged: {error}"
