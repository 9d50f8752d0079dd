"""Records read back: checked one by one, gathered into rows over seeds, and summarised.

What fails `record_check` is set aside with its file name and the reason; nothing of it is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metabench.bench.records.check import BadRecord, read_record
from metabench.bench.records.metric import METRICS
from metabench.bench.records.protocol import protocol_key, protocol_of
from metabench.bench.records.statistics import mean_interval


class RefusedRecord(NamedTuple):
    """A file among the records that is not used."""

    file: str
    reason: str


class Contents(NamedTuple):
    """What a folder of records holds; all in a fixed order."""

    rows: list[Row]
    speeds: list[tuple[str, Mapping[str, Any]]]
    """Records of speed, each after its file name."""
    refused: list[RefusedRecord]


@dataclass(frozen=True)
class Measured:
    """The score of a row's completed seeds after some number of updates, in the shown unit."""

    mean: float
    ci95: float
    """Half-width over test tasks, of the score averaged over seeds."""
    seeds_ci95: float | None
    """Half-width over seeds; None for fewer than two."""
    seeds: int
    updates: int


@dataclass(frozen=True)
class Row:
    """The records of one algorithm, benchmark, recipe and protocol: they differ in the seed alone."""

    records: tuple[Mapping[str, Any], ...]
    """The records, by seed."""

    @property
    def first(self) -> Mapping[str, Any]:
        """The record with the smallest seed; it stands for what all have in common."""
        return self.records[0]

    @property
    def diverged(self) -> tuple[int, ...]:
        """Seeds whose training diverged."""
        return tuple(r["seed"] for r in self.records if r["status"] != "complete")

    @property
    def complete(self) -> tuple[Mapping[str, Any], ...]:
        """The records that hold scores."""
        return tuple(r for r in self.records if r["status"] == "complete")

    @property
    def key(self) -> str:
        """Algorithm, benchmark and digest: no other row has them."""
        return f"{self.first['algorithm']} {self.first['benchmark']} {self.first['recipe_digest']}"

    @cached_property
    def measured(self) -> Measured | None:
        """The score that is compared with a source that does not say after how many updates."""
        return self.after(None)

    def after(self, updates: int | None) -> Measured | None:
        """The score after so many updates; after `judged` for None, or where a record holds none for that many.

        Returns:
            None where no seed completed.
        """
        if not self.complete:
            return None
        return summarise(self.complete, METRICS[self.first["metric"]].scale, updates)

    def protocol(self, measured: Measured | None) -> Mapping[str, Any]:
        """The protocol of a score of this row: returns are recorded after several numbers of updates."""
        precisions = sorted({r["provenance"]["precision"] for r in self.records})
        own = {**protocol_of(self.first), "precision": ", ".join(precisions)}
        if self.first["metric"] != "return" or measured is None:
            return own
        return {**own, "updates": measured.updates}


def summarise(records: Sequence[Mapping[str, Any]], scale: float, updates: int | None = None) -> Measured:
    """Mean, and the intervals over test tasks and over seeds.

    The test tasks are the same for every seed, so the interval over tasks is that of each task's mean over seeds. The
    scores of single tasks are recorded after `judged` updates only. After another number the interval over tasks is the
    seeds' average, which is never narrower: a standard deviation of a mean is at most the mean of the deviations.
    """
    tests = [r["test"] for r in records]
    if updates is None or updates == judged(records[0]) or any(updates not in t["updates"] for t in tests):
        scores = np.array([r["per_task"] for r in records]) * scale
        per_seed, ci95, updates = scores.mean(1), mean_interval(scores.mean(0)).ci95, judged(records[0])
    else:
        places = [t["updates"].index(updates) for t in tests]
        per_seed = np.array([t["mean"][k] for t, k in zip(tests, places, strict=True)]) * scale
        ci95 = float(np.mean([t["ci95"][k] for t, k in zip(tests, places, strict=True)])) * scale
    mean, over_seeds, n = mean_interval(per_seed)
    return Measured(mean, ci95, over_seeds if n > 1 else None, n, updates)


def judged(record: Mapping[str, Any]) -> int:
    """After how many updates the tasks' own scores are recorded; the last where a record does not say."""
    return int(record.get("judged_update", record["test"]["updates"][-1]))


def read(folder: Path) -> Contents:
    """Every result under a folder, as rows; every record of speed; and what was set aside."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    speeds: list[tuple[str, Mapping[str, Any]]] = []
    refused = []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        try:
            record = read_record(path)
        except (BadRecord, RecursionError) as error:
            refused.append(RefusedRecord(path.name, str(error)))
            continue
        if record["kind"] == "speed":
            speeds.append((path.name, record))
        elif record["kind"] == "result":
            groups.setdefault(_row(record), []).append(record)
    rows = [Row(tuple(sorted(group, key=lambda r: r["seed"]))) for _, group in sorted(groups.items())]
    return Contents(rows, speeds, refused)


def _row(record: Mapping[str, Any]) -> tuple[str, ...]:
    """What the seeds of a row agree in."""
    named = (record["algorithm"], record["benchmark"], record["recipe_digest"])
    # A diverged record holds no updates: it belongs to the row of its protocol all the same.
    return (*named, record["metric"], protocol_key(record))
