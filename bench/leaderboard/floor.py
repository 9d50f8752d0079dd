"""What a claim to have learned must beat: a guess, or a policy that was never trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from metabench.bench.leaderboard.protocol import TASK
from metabench.bench.records.rows import Measured, Row

UNTRAINED = {"accuracy": "nearest-neighbour", "return": "untrained"}
"""Metric -> the algorithm whose score every other must beat: it learns nothing from the training tasks."""

CLAIMLESS = frozenset({*UNTRAINED.values(), "pretrained"})
"""Algorithms that claim nothing, and need to beat nothing: they are what others are held against."""

BASELINES = CLAIMLESS | {"oracle"}
"""The same and those that are told the task: they compete with nobody."""


class Floor(NamedTuple):
    """A score that needs no learning, in the shown unit."""

    name: str
    value: float
    half_width: float


def floor(row: Row, measured: Measured, rows: Iterable[Row]) -> Floor | None:
    """The highest score without learning on the row's test tasks, after as many updates as `measured`.

    Args:
        rows: where to look for the untrained algorithm's.

    Returns:
        None for returns where no such row was recorded: only an accuracy has a guess to fall back on.
    """
    metric = row.first["metric"]
    found = [Floor("a guess", 100 / row.first["protocol"]["ways"], 0.0)] if metric == "accuracy" else []
    for other in rows:
        score = other.after(measured.updates) if _same_task(row, other) else None
        if score is not None and (metric == "accuracy" or score.updates == measured.updates):
            found.append(Floor(UNTRAINED[metric], score.mean, score.ci95))
    return max(found, key=lambda f: f.value, default=None)


def _same_task(row: Row, other: Row) -> bool:
    """Whether the other row is the untrained algorithm's on the test tasks of this one."""
    ours, theirs = row.first, other.first
    if (theirs["algorithm"], theirs["benchmark"]) != (UNTRAINED[ours["metric"]], ours["benchmark"]):
        return False
    mine, others = row.protocol(None), other.protocol(None)
    return all(mine.get(field) == others.get(field) for field in TASK)
