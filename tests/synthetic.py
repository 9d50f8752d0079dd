"""Records and published numbers made up for the tests of the report."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.published import Entry, Interval
from bench.recipes import resolve
from bench.records import SCHEMA, file_name, write_record
from bench.results import Row
from bench.statistics import mean_interval

SPLITS = {
    "omniglot": {"random": "random-1200-423/seed0", "vinyals": "vinyals", "within-alphabet": "vinyals-within-alphabet"},
    "mini-imagenet": {"ravi-larochelle": "ravi-larochelle"},
    "quick-draw": {"20-samples": "classes-64-16-20/20-samples/seed0"},
    "glyphs": {"embedded": "embedded"},
}


def protocol_of(recipe: Any) -> dict[str, Any]:
    """What `bench.records.protocol` gives for the recipe where the data are whole."""
    return {
        "dataset": recipe.dataset,
        "split": SPLITS[recipe.dataset].get(recipe.split, recipe.split),
        "data_digest": "0" * 64,
        "data_notes": "",
        **{f: getattr(recipe, f) for f in ("ways", "shots", "queries", "train_ways", "train_shots", "norm")},
        "within_group_train": "train" in recipe.within_group,
        "within_group_test": "test" in recipe.within_group,
        "rotations_train": "train" in recipe.rotations,
        "rotations_test": "test" in recipe.rotations,
        "image_size": 84 if recipe.dataset == "mini-imagenet" else 28,
        "backbone": recipe.backbone if "conv4" not in recipe.backbone else f"{recipe.backbone}-{recipe.width}",
        "train_steps": recipe.inner_steps,
        "test_steps": recipe.test_steps,
        "second_order": not recipe.first_order,
        "test_tasks": recipe.tests,
        "episodes": "drawn",
        "selection": f"best of {recipe.val_tasks} validation episodes every {recipe.val_every} iterations",
    }


def record(
    algorithm: str = "maml",
    benchmark: str = "omniglot-5w1s",
    schedule: str = "paper",
    *,
    seed: int = 0,
    mean: float = 0.987,
    spread: float = 0.02,
    diverged: bool = False,
    protocol: Mapping[str, Any] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """A record whose scores have exactly this mean: half of the tasks lie `spread` above it, half below.

    Args:
        protocol: fields that differ from the recipe's own.
        fields: of the recipe.
    """
    recipe = dataclasses.replace(resolve(algorithm, benchmark, schedule), **fields)
    n = recipe.tests
    scores = [] if diverged else [round(mean + spread * (1 if i % 2 else -1), 6) for i in range(n)]
    estimate = mean_interval(scores) if scores else None
    return {
        "schema": SCHEMA,
        "kind": "result",
        "algorithm": algorithm,
        "benchmark": benchmark,
        "seed": seed,
        "status": "diverged: loss is nan at iteration 7" if diverged else "complete",
        "recipe": _jsonable(dataclasses.asdict(recipe)),
        "recipe_digest": recipe.digest(),
        "protocol": {**protocol_of(recipe), **(protocol or {})},
        "metric": "accuracy",
        "test": {
            "updates": [0, 1] if estimate else [],
            "mean": [0.2, estimate.mean] if estimate else [],
            "ci95": [0.01, estimate.ci95] if estimate else [],
            "tasks": len(scores),
        },
        "per_task": scores,
        "selected_iteration": 500,
        "curve": [],
        "provenance": {
            "command": f"python -m bench run {algorithm} {benchmark} --seed {seed} --publish",
            "device": "cpu: Imaginary 1000",
            "threads": 1,
            "processes": 1,
            "precision": "fp32",
            "python": "3.11.0",
            "packages": {"torch": "2.15.0"},
            "commit": "0123456789abcdef0123456789abcdef01234567",
            "dirty": False,
            "train_seconds": 4000.0,
            "test_seconds": 12.0,
            "peak_memory_mib": 900,
        },
    }


def _jsonable(value: Any) -> Any:
    """Tuples as lists, as they are after a JSON file."""
    if isinstance(value, dict):
        return {k: _jsonable(v) for k, v in value.items()}
    return [_jsonable(v) for v in value] if isinstance(value, tuple) else value


def row(*records: dict[str, Any]) -> Row:
    """The records as a row."""
    return Row(tuple(sorted(records or (record(),), key=lambda r: r["seed"])))


def write(folder: Path, *records: dict[str, Any]) -> list[Path]:
    """File the records under a results folder."""
    paths = [folder / "records" / file_name(r) for r in records]
    for path, content in zip(paths, records, strict=True):
        write_record(path, content)
    return paths


def entry(
    value: float | None = 98.7,
    half_width: float | None = 0.4,
    *,
    verification: str = "primary",
    protocol: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Entry:
    """A published number with the protocol of MAML's recipe on Omniglot, 5 ways and 1 shot.

    Args:
        protocol: fields that differ from it.
    """
    own = protocol_of(resolve("maml", "omniglot-5w1s"))
    agreed = {k: v for k, v in own.items() if not k.startswith("data_")} | {
        "split": "random-1200-423",
        "selection": "validation",
    }
    plain: dict[str, Any] = {
        "id": "made-up",
        "authors": "Nobody et al.",
        "paper": "A paper",
        "system": "",
        "venue": "Nowhere",
        "year": 2017,
        "table": "Table 1",
        "algorithm": "maml",
        "benchmark": "omniglot-5w1s",
        "metric": "accuracy",
        "value": value,
        "interval": Interval(half_width, "none" if half_width is None else "ci95"),
        "verification": verification,
        "source": "a dream",
        "protocol": {**agreed, **(protocol or {})},
        "training": {"iterations": 60000},
        "notes": "",
    }
    return Entry(**{**plain, **fields})


def half_width(spread: float, n: int = 600) -> float:
    """The interval over test tasks of a record with this spread, as a percentage."""
    return 100 * 1.96 * float(np.sqrt(n / (n - 1))) * spread / float(np.sqrt(n))
