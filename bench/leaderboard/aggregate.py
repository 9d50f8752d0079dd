"""Algorithms beside one another on the same benchmark: which scores are drawn together, and their statistics.

Benchmarks are never pooled: their scores have different scales, and an algorithm that ran only the easy ones would look
best. Scores are those after `judged` updates, the only ones that a record keeps task by task.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from metabench.bench.leaderboard.board import ALGORITHMS, Line, index
from metabench.bench.records.metric import METRICS
from metabench.bench.records.statistics import Floats, Interval, Resampled, probability_of_improvement, resample

LARGEST = 10_000
"""Scores of an algorithm on a benchmark that are looked at: the first seeds' that make so many."""

PANELS = 8
"""Benchmarks of a world that are drawn: those that most algorithms ran."""


@dataclass(frozen=True)
class Sample:
    """The scores of an algorithm on a benchmark, in the shown unit."""

    algorithm: str
    style: int
    """Its number among the algorithms of its world: the colour and the marker of every picture."""
    scores: Floats
    """(S, N): of each seed on each test task."""

    @cached_property
    def over_tasks(self) -> Resampled:
        """Test tasks resampled."""
        return resample(self.scores, seeds=False, seed=self.style)

    @cached_property
    def over_both(self) -> Resampled:
        """Test tasks and, where there are several, seeds resampled."""
        return self.over_tasks if len(self.scores) == 1 else resample(self.scores, seeds=True, seed=self.style)


@dataclass(frozen=True)
class Panel:
    """One benchmark."""

    benchmark: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Duel:
    """How often a score of one algorithm is better than one of another, averaged over the benchmarks that both ran."""

    better: str
    worse: str
    benchmarks: int
    probability: Interval


def panels(lines: Sequence[Line], metric: str) -> tuple[Panel, ...]:
    """Benchmarks of a world with their algorithms; of several rows of one algorithm the first."""
    cells: dict[str, dict[str, Line]] = {}
    for line in lines:
        first = line.row.first
        if first["metric"] == metric and line.row.complete:
            cells.setdefault(first["benchmark"], {}).setdefault(first["algorithm"], line)
    shown = sorted(cells, key=lambda benchmark: -len(cells[benchmark]))[:PANELS]
    names = {algorithm for benchmark in shown for algorithm in cells[benchmark]}
    order = sorted(names, key=lambda name: (index(ALGORITHMS, name), name))
    return tuple(
        Panel(
            benchmark,
            tuple(
                Sample(name, order.index(name), _scores(cells[benchmark][name]))
                for name in order
                if name in cells[benchmark]
            ),
        )
        for benchmark in cells
        if benchmark in shown
    )


def _scores(line: Line) -> Floats:
    records = line.row.complete
    tasks = min(len(records[0]["per_task"]), LARGEST)
    scores = np.array([r["per_task"][:tasks] for r in records[: LARGEST // tasks]])
    return scores * METRICS[line.row.first["metric"]].scale


def duels(drawn: Sequence[Panel]) -> Iterator[Duel]:
    """Every pair of algorithms that share a benchmark, the better one first."""
    by_name = [{sample.algorithm: sample for sample in panel.samples} for panel in drawn]
    styles = {s.algorithm: s.style for panel in drawn for s in panel.samples}
    for one, other in itertools.combinations(sorted(styles, key=styles.__getitem__), 2):
        shared = [(p[one].over_both, p[other].over_both) for p in by_name if one in p and other in p]
        if not shared:
            continue
        found = probability_of_improvement(shared)
        if found.value < 0.5:
            one, other, found = other, one, Interval(1 - found.value, 1 - found.high, 1 - found.low)
        yield Duel(one, other, len(shared), found)
