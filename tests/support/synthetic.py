"""Records and published numbers made up for the tests of the report."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metabench.bench.leaderboard.published import Entry, Interval
from metabench.bench.recipes.recipe import digest
from metabench.bench.records.rows import Row
from metabench.bench.records.schema import SCHEMA, file_name, sealed
from metabench.bench.records.statistics import mean_interval, t975
from metabench.bench.training.record import write_record
from metabench.bench.worlds import resolve
from metabench.bench.worlds.built import selection

SPLITS = {
    "omniglot": {"random": "random-1200-423/seed0", "within-alphabet": "vinyals-within-alphabet"},
    "mini-imagenet": {"ravi-larochelle": "ravi-larochelle"},
    "quick-draw": {"20-samples": "hashed-60-20-20/20-samples/seed0"},
    "glyphs": {"embedded": "embedded"},
}


def protocol_of(recipe: Any) -> dict[str, Any]:
    """What `bench.training.record.protocol` gives for the recipe where the data are whole."""
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
        "second_order": not getattr(recipe, "first_order", False),
        "augmentation": recipe.augment,
        "smoothing": recipe.smoothing,
        "test_tasks": recipe.tests,
        "episodes": "drawn",
        "resampling": "lanczos",
        "selection": selection(recipe, "episodes"),
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


def control_record(
    algorithm: str = "maml",
    benchmark: str = "cheetah-dir",
    *,
    seed: int = 0,
    means: Sequence[float] = (-10.0, 160.0, 180.0, 190.0),
    spread: float = 60.0,
    tasks: int = 40,
    protocol: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A record of control: returns after 0, 1, … updates with these means, half of the tasks `spread` above them.

    Args:
        protocol: fields that differ; the environment is the benchmark's without a horizon at its end.
    """
    environment = re.sub(r"-\d+$", "", benchmark)
    recipe = {
        "algorithm": algorithm,
        "benchmark": benchmark,
        "schedule": "paper",
        "environment": environment,
        "iterations": 500,
        "meta_batch": 40,
    }
    judged = min(1, len(means) - 1)
    scores = [round(means[judged] + spread * (1 if i % 2 else -1), 6) for i in range(tasks)]
    own = {
        "environment": environment,
        "observations": 20,
        "goals": "{-1,+1}",
        "horizon": 200 if benchmark.endswith("-2019") else 100,
        "time_step": 0.05,
        "action_scaling": 10,
        "rollouts": 20,
        "updates": 1,
        "second_order": True,
        "policy": "tanh 64x64",
        "test_tasks": tasks,
        "selection": "best of 20 validation tasks every 10 iterations",
    }
    return {
        **record(algorithm="maml", benchmark="omniglot-5w1s", seed=seed),
        "algorithm": algorithm,
        "benchmark": benchmark,
        "recipe": recipe,
        "recipe_digest": digest(recipe),
        "protocol": {**own, **(protocol or {})},
        "metric": "return",
        "test": {
            "updates": list(range(len(means))),
            "mean": list(means),
            "ci95": [mean_interval(scores).ci95] * len(means),
            "tasks": tasks,
        },
        "judged_update": judged,
        "per_task": scores,
    }


def write_history(folder: Path, rows: int, seeds: int) -> int:
    """Records of this many rows in both worlds, with a learning curve each; returns how many were filed.

    Written without the care for a power cut that takes most of the time of a real record.
    """
    (folder / "records").mkdir(parents=True)
    rng = np.random.default_rng(0)
    algorithms = ("maml", "maml-fo", "anil", "meta-sgd", "protonet", "metaoptnet", "untrained", "oracle")
    curve = [{"iteration": 500 * i, "mean": 0.5 + 0.01 * i, "ci95": 0.01} for i in range(1, 21)]
    images, control = record(), control_record()
    for i in range(rows):
        base = images if i % 2 else control
        names = {
            "algorithm": algorithms[i // 2 % 8],
            "benchmark": f"{'omniglot' if i % 2 else 'cheetah-dir'}-{i // 16 % 30}",
        }
        recipe = {**base["recipe"], **names, "iterations": 1000 + i}
        for seed in range(seeds):
            found = {**base, **names, "recipe": recipe, "recipe_digest": digest(recipe), "seed": seed, "curve": curve}
            tasks = len(base["per_task"])
            scores = rng.binomial(5, 0.9, tasks) / 5 if i % 2 else rng.normal(200, 80, tasks).round(6)
            estimate = mean_interval(scores)
            found["test"] = base["test"] | {"mean": [*base["test"]["mean"]], "ci95": [*base["test"]["ci95"]]}
            found["test"]["mean"][1], found["test"]["ci95"][1] = estimate.mean, estimate.ci95
            found["per_task"] = scores.tolist()
            (folder / "records" / file_name(found)).write_text(json.dumps(sealed(found)))
    return rows * seeds


def speed_record(workload: str = "maml conv4, 5 ways 1 shot", **fields: Any) -> dict[str, Any]:
    """A record of speed with one workload."""
    row = {
        "workload": workload,
        "peer": "learn2learn",
        "ratio": {"min": 1.31, "median": 1.4, "max": 1.52},
        "ours_tasks_per_second": 41.234,
        "peer_tasks_per_second": 29.5,
        "target": 1.3,
        **fields,
    }
    origin = {
        "command": "python -m bench bench vision",
        "device": "cpu: Imaginary 1000",
        "threads": 2,
        "commit": "c" * 40,
    }
    return {"schema": SCHEMA, "kind": "speed", "suite": "vision", "rounds": 5, "rows": [row], "provenance": origin}


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
        "precision": "fp32",
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
        "beside": {},
        "metric": "accuracy",
        "value": value,
        "adaptation": (),
        "interval": Interval(half_width, "none" if half_width is None else "ci95"),
        "verification": verification,
        "source": "a dream",
        "url": "",
        "protocol": {**agreed, **(protocol or {})},
        "training": {"iterations": 60000},
        "notes": "",
    }
    return Entry(**{**plain, **fields})


def half_width(spread: float, n: int = 600) -> float:
    """The interval over test tasks of a record with this spread, as a percentage."""
    return 100 * t975(n - 1) * float(np.sqrt(n / (n - 1))) * spread / float(np.sqrt(n))
