"""A job of a sweep is one run. Where it stands is read from its run folder: there is no other account of a sweep."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from metabench.bench.recipes.recipe import Recipe
from metabench.bench.records.check import BadRecord, read_record
from metabench.bench.records.metric import METRICS
from metabench.bench.records.rows import judged
from metabench.bench.records.schema import file_name
from metabench.bench.training.record import write_record
from metabench.bench.worlds import world_of

TAIL = 1 << 18
"""Bytes of a log's end that are read: some thousand iterations, which hold a validation."""

Word = Literal["running", "failed", "diverged", "stopped", "to do", "complete"]
WORDS: tuple[Word, ...] = get_args(Word)


@dataclass(frozen=True)
class Job:
    """One run."""

    arguments: tuple[str, ...]
    """The words after `metabench run`: the row and its flags, without seed and folder."""
    recipe: Recipe
    seed: int
    folder: Path
    """Run folder."""

    @property
    def name(self) -> str:
        """ "maml omniglot-5w1s short seed 0"; a custom recipe is told by its digest."""
        schedule = self.recipe.schedule
        return f"{self.recipe.name} {schedule}{f'-{self.recipe.digest()}' * (schedule == 'custom')} seed {self.seed}"

    @property
    def file(self) -> str:
        """Name under which its record is filed."""
        row = {"algorithm": self.recipe.algorithm, "benchmark": self.recipe.benchmark}
        return file_name({**row, "recipe_digest": self.recipe.digest(), "seed": self.seed})


class Standing(NamedTuple):
    """How far a job is."""

    word: Word
    iteration: int = 0
    """The iteration of the last checkpoint."""
    score: str = ""
    """The last validation, or the test of a complete run, in the shown unit."""
    reason: str = ""
    """Why it diverged or failed."""

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        return self.word in ("complete", "diverged")


def standing(job: Job, records: Path | None) -> Standing:
    """Where a job stands.

    Args:
        records: folder of filed records: a job whose record is there is over, wherever it was run. None looks at the
            run folder alone.
    """
    record = _record(job, job.folder / "record.json")
    if record is None and records is not None:
        record = _record(job, records / job.file)
    if record is not None:
        return _ended(record)
    iteration, score = _last(job.folder / "log.jsonl", job.recipe)
    if _held(job.folder):
        return Standing("running", iteration, score)
    begun = (job.folder / "checkpoint.pt").exists()
    return Standing("stopped", iteration, score) if begun else Standing("to do")


def publish(job: Job, records: Path) -> None:
    """File the record of a job that is over, unless one is filed: as `run --publish` does."""
    record = _record(job, job.folder / "record.json")
    if record is not None and _record(job, records / job.file) is None:
        write_record(records / job.file, record)


def _record(job: Job, path: Path) -> dict[str, Any] | None:
    """The job's own record there; None for another's, or what is none."""
    try:
        record = read_record(path, filed=False)
    except BadRecord:
        return None
    own = record["kind"] == "result" and (record["recipe_digest"], record["seed"]) == (job.recipe.digest(), job.seed)
    return record if own else None


def _ended(record: dict[str, Any]) -> Standing:
    if record["status"] != "complete":
        return Standing("diverged", reason=record["status"].removeprefix("diverged: "))
    at = record["test"]["updates"].index(judged(record))
    mean, ci95 = (record["test"][field][at] for field in ("mean", "ci95"))
    return Standing("complete", record["recipe"]["iterations"], "test " + METRICS[record["metric"]].shown(mean, ci95))


def _last(log: Path, recipe: Recipe) -> tuple[int, str]:
    """Iteration and validation that a run's log ends with."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            lines = file.read().splitlines()
    except OSError:
        return 0, ""
    iteration, score = 0, ""
    for line in lines:
        try:
            entry = json.loads(line)
            iteration = int(entry["iteration"])
            if "val" in entry:
                score = world_of(recipe).metric.shown(entry["val"], entry["val_ci95"])
        except (ValueError, LookupError, TypeError):
            continue  # cut short by a kill, or by where the tail begins
    return iteration, score


def _held(folder: Path) -> bool:
    """Whether a process is at work in the folder."""
    try:
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(lock)
    return False
