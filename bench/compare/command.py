"""`metabench compare A B`: two algorithms side by side, or two sets of records, say of two branches or two machines.

Rows of two algorithms are matched by benchmark, those of two sets by algorithm, benchmark and schedule. Where both
sides have records of the same seeds, only these count, and differences are taken seed by seed; where both used the same
test tasks, task by task.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console

from metabench.bench.compare.arguments import parse_compare
from metabench.bench.compare.records import row_key
from metabench.bench.compare.sides import paired, same_tasks
from metabench.bench.compare.table import JSON_SCHEMA, as_json, table
from metabench.bench.records.metric import METRICS
from metabench.bench.records.rows import Row
from metabench.bench.records.statistics import (
    Floats,
    Interval,
    Resampled,
    mean_interval,
    probability_of_improvement,
    resample,
)
from metabench.bench.terminal import say, table_console
from metabench.bench.training.record import write_record

FACTS = ("commit", "dirty", "device", "threads", "processes", "precision", "python")
"""Fields of a provenance that are compared, beside the versions of packages."""


@dataclass(frozen=True)
class Comparison:
    """A row of both sides, in the shown unit (accuracies in percent); no numbers where one side only diverged.

    over_tasks, over_seeds: half-widths of 95 % intervals of `difference`. improvement: P(B > A) + ½ P(B = A) of one
    test task's score against another's.
    """

    name: str
    metric: str
    seeds: tuple[tuple[int, ...], tuple[int, ...]]
    paired: bool
    """Whether both sides used the same test tasks."""
    differs: Mapping[str, tuple[Any, Any]]
    means: tuple[float, float] | None = None
    difference: float | None = None
    over_tasks: float | None = None
    over_seeds: float | None = None
    improvement: Interval | None = None


def compare_command(arguments: list[str]) -> int:
    """metabench compare A B: 1 where a file had to be set aside."""
    command = parse_compare(arguments)
    a, b, pairs, alone = paired(command.a, command.b, command.results, command.benchmark)
    found = [compared(*pair) for pair in pairs]
    total = overall(pairs)
    console = table_console()
    console.print(table(found, total, a.name, b.name))
    for name in alone:
        say(f"not compared: {name}", console)
    refused = list(dict.fromkeys(f"{r.file} {r.reason}" for side in (a, b) for r in side.refused))
    for line in refused:
        say(f"not used: {line}", Console(stderr=True))
    if command.out is not None:
        sides = {"schema": JSON_SCHEMA, "kind": "comparison", "a": a.name, "b": b.name}
        write_record(command.out, {**sides, **as_json(found, total), "alone": alone, "refused": refused})
    return 1 if refused else 0


def compared(a: Row, b: Row) -> Comparison:
    """One row of both sides."""
    runs = _runs(a, b)
    on_same_tasks = same_tasks(a.first, b.first)
    plain = Comparison(
        name=_name(a, b),
        metric=a.first["metric"],
        seeds=(_seeds(runs[0]), _seeds(runs[1])),
        paired=on_same_tasks,
        differs=differences(a.first, b.first),
    )
    if plain.metric != b.first["metric"] or not all(runs):
        return plain
    x, y = (_scores(side) for side in runs)
    if on_same_tasks:
        over_tasks = mean_interval(y.mean(0) - x.mean(0)).ci95
    else:
        over_tasks = math.hypot(*(mean_interval(side.mean(0)).ci95 for side in (x, y)))
    means = float(x.mean()), float(y.mean())
    return dataclasses.replace(
        plain,
        means=means,
        difference=means[1] - means[0],
        over_tasks=over_tasks,
        over_seeds=_over_seeds(y.mean(1) - x.mean(1)) if plain.seeds[0] == plain.seeds[1] else None,
        improvement=probability_of_improvement([_resampled(x, y)]),
    )


def _name(a: Row, b: Row) -> str:
    """Algorithm, benchmark and schedule; without the algorithm where the sides are two, which the title names."""
    (algorithm, *ours), (other, *theirs) = row_key(a.first), row_key(b.first)
    words = [x if x == y else f"{x} | {y}" for x, y in zip(ours, theirs, strict=True)]
    return " ".join([algorithm, *words] if algorithm == other else words)


def _seeds(records: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    return tuple(r["seed"] for r in records)


def _resampled(x: Floats, y: Floats, place: int = 0) -> tuple[Resampled, Resampled]:
    """B's scores and A's, drawn again with seeds of their own for each place in a list of rows."""
    of_b = resample(y, seeds=len(y) > 1, seed=2 * place)
    return of_b, resample(x, seeds=len(x) > 1, seed=2 * place + 1)


def _runs(a: Row, b: Row) -> tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]:
    """The completed records that are compared: those of the seeds that both have, else all."""
    both = {r["seed"] for r in a.complete} & {r["seed"] for r in b.complete}
    left, right = ([r for r in row.complete if not both or r["seed"] in both] for row in (a, b))
    return left, right


def _scores(records: Sequence[Mapping[str, Any]]) -> Floats:
    """(S, N), in the shown unit."""
    return np.array([r["per_task"] for r in records], np.float64) * METRICS[records[0]["metric"]].scale


def _over_seeds(d: Floats) -> float | None:
    """Half-width of the interval of a mean; None for fewer than two."""
    return mean_interval(d).ci95 if len(d) > 1 else None


def overall(pairs: Sequence[tuple[Row, Row]]) -> Interval | None:
    """Probability of improvement, averaged over the rows that both sides completed; None where there is none."""
    runs = [_runs(a, b) for a, b in pairs if a.first["metric"] == b.first["metric"]]
    drawn = [_resampled(_scores(x), _scores(y), i) for i, (x, y) in enumerate(runs) if x and y]
    return probability_of_improvement(drawn) if drawn else None


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What the difference may come from: "recipe.inner_lr" -> (in A, in B), and so on for protocol and provenance."""
    found = {}
    for part in ("recipe", "protocol"):
        for field in sorted(a[part].keys() | b[part].keys()):
            found[f"{part}.{field}"] = (a[part].get(field), b[part].get(field))
    ours, theirs = a["provenance"], b["provenance"]
    for field in FACTS:
        found[field] = (ours.get(field), theirs.get(field))
    versions = ours.get("packages", {}), theirs.get("packages", {})
    for package in sorted(versions[0].keys() | versions[1].keys()):
        found[package] = (versions[0].get(package), versions[1].get(package))
    return {name: pair for name, pair in found.items() if pair[0] != pair[1]}
