"""Records read back: checked one by one, gathered into rows over seeds, and summarised.

A record is data from somewhere else: it may be cut short, of a later schema, edited, or made to break the page that
shows it. What fails a check is set aside with its file name and the reason; nothing of it is used.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.records import SCHEMA, file_name
from bench.statistics import mean_interval

LARGEST = 32 * 2**20
"""Bytes of a record; a larger file is not read."""

SCALE = {"accuracy": 100.0, "return": 1.0}
"""Metric -> factor from a record's unit to the one that is shown: accuracies become percentages."""

T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Student's t, 97.5 % quantile, for 1 … 9 degrees of freedom; the normal 1.96 is taken beyond."""


class RefusedRecord(NamedTuple):
    """A file among the records that is not used."""

    file: str
    reason: str


class _Bad(ValueError):
    """Why a record is set aside."""


@dataclass(frozen=True)
class Measured:
    """The score of a row's completed seeds after the last update, in the shown unit."""

    mean: float
    ci95: float
    """Half-width over test tasks, of the score averaged over seeds."""
    seeds_ci95: float | None
    """Half-width over seeds; None for fewer than two."""
    seeds: int


@dataclass(frozen=True)
class Row:
    """The records of one algorithm, benchmark, schedule, recipe and protocol: they differ in the seed alone."""

    records: tuple[Mapping[str, Any], ...]
    """By seed."""

    @property
    def first(self) -> Mapping[str, Any]:
        """The record with the smallest seed; it stands for what all have in common."""
        return self.records[0]

    @property
    def diverged(self) -> tuple[int, ...]:
        """Seeds whose training diverged."""
        return tuple(r["seed"] for r in self.records if r["status"] != "complete")

    @property
    def schedule(self) -> str:
        """ "paper", "short" or "custom"."""
        return str(self.first["recipe"]["schedule"])

    @cached_property
    def measured(self) -> Measured | None:
        """None where no seed completed."""
        complete = [r for r in self.records if r["status"] == "complete"]
        return summarise(complete, SCALE[self.first["metric"]]) if complete else None


def summarise(records: Sequence[Mapping[str, Any]], scale: float) -> Measured:
    """Mean, and the intervals over test tasks and over seeds.

    The test tasks are the same for every seed, so the interval over tasks is that of each task's mean over seeds.
    """
    scores = np.array([r["per_task"] for r in records]) * scale
    over_tasks = mean_interval(scores.mean(0))
    per_seed = scores.mean(1)
    n = len(per_seed)
    over_seeds = None
    if n > 1:
        t = T975[n - 2] if n - 2 < len(T975) else 1.96
        over_seeds = t * float(per_seed.std(ddof=1)) / math.sqrt(n)
    return Measured(float(per_seed.mean()), over_tasks.ci95, over_seeds, n)


def read(folder: Path) -> tuple[list[Row], list[RefusedRecord]]:
    """Every result under a folder, as rows; and what was set aside. Both are in a fixed order."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    refused = []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        try:
            record = read_record(path)
        except (_Bad, RecursionError) as error:
            refused.append(RefusedRecord(path.name, str(error)))
            continue
        if record["kind"] == "result":
            key = (record["algorithm"], record["benchmark"], record["recipe"]["schedule"], record["recipe_digest"])
            groups.setdefault((*key, json.dumps(record["protocol"], sort_keys=True)), []).append(record)
    rows = [Row(tuple(sorted(group, key=lambda r: r["seed"]))) for _, group in sorted(groups.items())]
    return rows, refused


def read_record(path: Path) -> dict[str, Any]:
    """One record; of a kind other than "result", only schema and kind are checked."""
    if path.is_symlink() or not path.is_file():
        raise _Bad("is not a plain file")
    if path.stat().st_size > LARGEST:
        raise _Bad(f"is larger than {LARGEST // 2**20} MiB")
    try:
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise _Bad(f"is not readable JSON ({error})") from error
    if not isinstance(record, dict) or type(record.get("schema")) is not int:
        raise _Bad("has no schema")
    if record["schema"] != SCHEMA:
        raise _Bad(f"has schema {record['schema']}, this version reads {SCHEMA}")
    if not isinstance(record.get("kind"), str):
        raise _Bad("has no kind")
    if record["kind"] == "result":
        _check_names(record, path.name)
        _check_scores(record)
        _check_provenance(record)
    return record


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def _check_names(record: Mapping[str, Any], file: str) -> None:
    recipe, protocol = record.get("recipe"), record.get("protocol")
    if not isinstance(recipe, dict) or not isinstance(protocol, dict):
        raise _Bad("lacks its recipe or its protocol")
    names = {field: record.get(field) for field in ("algorithm", "benchmark")} | {"schedule": recipe.get("schedule")}
    for field, value in names.items():
        if not (isinstance(value, str) and _NAME.fullmatch(value)):
            raise _Bad(f"{field} is {_short(value)}, no name")
        if recipe.get(field) != value:
            raise _Bad(f"{field} is {value}, its recipe says {_short(recipe.get(field))}")
    if type(record.get("seed")) is not int or not 0 <= record["seed"] < 2**63:
        raise _Bad(f"seed is {_short(record.get('seed'))}, expected a whole number of at least 0")
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]
    if record.get("recipe_digest") != digest:
        raise _Bad(f"recipe_digest is {_short(record.get('recipe_digest'))}, its recipe has {digest}")
    for field, value in protocol.items():
        if not isinstance(value, (str, int, float, bool)) or len(str(value)) > 1000:
            raise _Bad(f"protocol.{_short(field)} is {_short(value)}, expected a text or a number")
    if file != file_name(dict(record)):
        raise _Bad(f"is filed under another name than {file_name(dict(record))}")


def _check_scores(record: Mapping[str, Any]) -> None:
    metric, status, test = record.get("metric"), record.get("status"), record.get("test")
    if metric not in ("accuracy", "return"):
        raise _Bad(f"metric is {_short(metric)}, expected accuracy or return")
    if not isinstance(status, str) or (status != "complete" and not status.startswith("diverged")):
        raise _Bad(f"status is {_short(status)}, expected complete or diverged")
    if not isinstance(test, dict) or not all(numbers(test.get(field)) for field in ("updates", "mean", "ci95")):
        raise _Bad("test lacks finite numbers under updates, mean and ci95")
    per_task: Any = record.get("per_task")
    if not numbers(per_task):
        raise _Bad("per_task holds something else than finite numbers")
    if status != "complete":
        return
    lengths = {len(test[field]) for field in ("updates", "mean", "ci95")}
    if len(lengths) != 1 or lengths == {0}:
        raise _Bad("test has not one mean and one interval for each number of updates")
    planned = record["protocol"].get("test_tasks")
    if len(per_task) < 2 or not len(per_task) == test.get("tasks") == planned:
        raise _Bad(f"it has {len(per_task)} scores, its protocol {_short(planned)} test tasks")
    if metric == "accuracy" and not all(0 <= v <= 1 for v in (*test["mean"], *per_task)):
        raise _Bad("an accuracy lies outside 0 … 1")
    mean, ci95, tasks = mean_interval(per_task)
    if _apart(mean, test["mean"][-1]) or _apart(ci95, test["ci95"][-1]):
        raise _Bad(f"its mean or interval is not that of its {tasks} tasks")


def _apart(computed: float, recorded: float) -> bool:
    """More than the six decimals allow to which the scores of tasks are rounded."""
    return abs(computed - recorded) > 1e-5 * max(1.0, abs(computed))


def _check_provenance(record: Mapping[str, Any]) -> None:
    provenance = record.get("provenance")
    if not isinstance(provenance, dict):
        raise _Bad("lacks its provenance")
    for field in ("command", "device", "commit", "precision"):
        if not isinstance(provenance.get(field), str) or len(provenance[field]) > 10_000:
            raise _Bad(f"provenance.{field} is {_short(provenance.get(field))}, expected a text")
    for field in ("threads", "processes", "train_seconds", "test_seconds"):
        if not numbers([provenance.get(field)]) or provenance[field] < 0:
            raise _Bad(f"provenance.{field} is {_short(provenance.get(field))}, expected a number of at least 0")
    if type(record["recipe"].get("iterations")) is not int:
        raise _Bad("its recipe has no number of iterations")


def numbers(values: Any) -> bool:
    """A list of numbers, none of them NaN or so large that arithmetic on them overflows."""
    return isinstance(values, list) and all(type(v) in (int, float) and -1e15 < v < 1e15 for v in values)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
