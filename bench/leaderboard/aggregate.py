"""Algorithms beside one another on the same benchmark: which scores are drawn together, and their statistics.

Drawn are the rows of the table, and side by side only those that were asked the same test episodes. Benchmarks are
never pooled: their scores have different scales, and an algorithm that ran only the easy ones would look best. Scores
are those after `judged` updates, the only ones that a record keeps task by task.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from metabench.bench.leaderboard.board import Cell, Line
from metabench.bench.leaderboard.protocol import TASK
from metabench.bench.records.metric import METRICS
from metabench.bench.records.statistics import Floats, Interval, Resampled, probability_of_improvement, resample

LARGEST = 10_000
"""Scores of an algorithm on a benchmark that are looked at: the first seeds' that make so many."""

PANELS = 8
"""Panels of a world that are drawn: those of most algorithms."""

EPISODES = (*sorted(TASK), "queries", "test_tasks", "data_digest")
"""Fields of a protocol that decide which test episodes are drawn."""


@dataclass(frozen=True)
class Sample:
    """The scores of an algorithm on a benchmark, in the shown unit."""

    algorithm: str
    number: int
    """Its place in the panel, from which its resamples are drawn: two that are compared want two of them."""
    scores: Floats
    """(S, N): of each seed on each test task."""

    @cached_property
    def over_tasks(self) -> Resampled:
        """Test tasks resampled."""
        return resample(self.scores, seeds=False, seed=self.number)

    @cached_property
    def over_both(self) -> Resampled:
        """Test tasks and, where there are several, seeds resampled."""
        return self.over_tasks if len(self.scores) == 1 else resample(self.scores, seeds=True, seed=self.number)


@dataclass(frozen=True)
class Panel:
    """Two or more algorithms on the same test episodes of one benchmark."""

    benchmark: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Duel:
    """How often a score of one algorithm is better than one of another, averaged over the benchmarks that both ran."""

    better: str
    worse: str
    benchmarks: int
    probability: Interval


def panels(cells: Sequence[Cell], metric: str) -> tuple[Panel, ...]:
    """The rows of a world that share their test episodes with another algorithm's, in the cells' order."""
    shared: dict[tuple[str, ...], list[Line]] = {}
    for cell in cells:
        if cell.line is not None and cell.metric == metric and cell.line.row.complete:
            protocol = cell.line.row.first["protocol"]
            episodes = tuple(repr(protocol.get(field)) for field in EPISODES)
            shared.setdefault((cell.benchmark, *episodes), []).append(cell.line)
    several = [lines for lines in shared.values() if len(lines) > 1]
    drawn = sorted(several, key=len, reverse=True)[:PANELS]
    return tuple(_panel(lines) for lines in several if any(lines is one for one in drawn))


def _panel(lines: Sequence[Line]) -> Panel:
    samples = (Sample(line.row.first["algorithm"], i, _scores(line)) for i, line in enumerate(lines))
    return Panel(lines[0].row.first["benchmark"], tuple(samples))


def _scores(line: Line) -> Floats:
    records = line.row.complete
    tasks = min(len(records[0]["per_task"]), LARGEST)
    scores = np.array([r["per_task"][:tasks] for r in records[: LARGEST // tasks]])
    return scores * METRICS[line.row.first["metric"]].scale


def duels(drawn: Sequence[Panel]) -> Iterator[Duel]:
    """Every pair of algorithms that share a panel, the better one first."""
    by_name = [{sample.algorithm: sample for sample in panel.samples} for panel in drawn]
    names = dict.fromkeys(name for panel in by_name for name in panel)
    for one, other in itertools.combinations(names, 2):
        shared = [(p[one].over_both, p[other].over_both) for p in by_name if one in p and other in p]
        if not shared:
            continue
        found = probability_of_improvement(shared)
        if found.value < 0.5:
            one, other, found = other, one, Interval(1 - found.value, 1 - found.high, 1 - found.low)
        yield Duel(one, other, len(shared), found)
