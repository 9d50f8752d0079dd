"""Protocols: the fields under which a number was measured, and in which of them two numbers differ.

A field is *decisive* where another value makes another task or another learner of it: two numbers that differ there
answer different questions. The rest is *noted*: it moves the width of an interval (test tasks), or how one iterate is
picked without a look at the test split (selection), or it is a setting that a re-implementation is free in: the filter
that made a picture smaller (resampling), precision, the units of a policy. Queries are decisive where batch
normalisation is transductive, because each query then helps to normalise the others; elsewhere they too only move the
interval. A learner that was trained on something else than what it is tested on answers a question of its own.

The length of training is no protocol field. A number that is reached in fewer iterations is reached; one that is not
reached may only want more of them. A row with a short schedule is therefore a fair test and carries that label.

What a source leaves unstated is assumed to be as here, and listed as assumed. Where that is most of what decides, or
where a field of the task is among it, a verdict says so in its word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

UNSTATED = "unstated"
"""What a protocol field holds that the source does not state, or whose statement was not read."""

VISION_FIELDS: Mapping[str, type] = {
    "dataset": str,
    "split": str,
    "ways": int,
    "shots": int,
    "queries": int,
    "train_ways": int,
    "train_shots": int,
    "within_group_train": bool,
    "within_group_test": bool,
    "rotations_train": bool,
    "rotations_test": bool,
    "image_size": int,
    "backbone": str,
    "norm": str,
    "train_steps": int,
    "test_steps": int,
    "second_order": bool,
    "augmentation": str,
    "smoothing": float,
    "test_tasks": int,
    "episodes": str,
    "resampling": str,
    "precision": str,
    "selection": str,
}
"""Protocol of an accuracy: fields of `bench.training.record.protocol`, with their type."""

CONTROL_FIELDS: Mapping[str, type] = {
    "environment": str,
    "observations": int,
    "goals": str,
    "horizon": int,
    "time_step": float,
    "action_scaling": int,
    "rollouts": int,
    "updates": int,
    "second_order": bool,
    "policy": str,
    "test_tasks": int,
    "precision": str,
    "selection": str,
}
"""Protocol of a return. `time_step`: seconds of a control step, 0 where the environment has no clock. `policy`: its
units and their numbers, "tanh 64x64"."""

ELSEWHERE: Mapping[str, str] = {"trained_in": "the same", "trained_on": "the same", "initial_weights": "drawn"}
"""Fields that only a protocol has whose learner comes from elsewhere -> what all others have: it was trained in the
environment, or on the data set, that it is tested on, from weights that were drawn. Always decisive."""

FIELDS = {"accuracy": VISION_FIELDS, "return": CONTROL_FIELDS}
"""Metric -> the fields of its protocol."""

NOTED = frozenset({"test_tasks", "selection", "resampling", "precision", "policy"})
"""Fields that decide nothing."""

TASK = frozenset({
    "dataset", "split", "ways", "shots", "within_group_test", "rotations_test", "image_size", "episodes",
    "environment", "observations", "goals", "horizon", "time_step", "action_scaling", "rollouts",
})  # fmt: skip
"""Fields of what is asked of a learner at test, whatever the learner: two scores are on one scale where they agree."""


@dataclass(frozen=True)
class Difference:
    """One field in which two protocols differ."""

    field: str
    ours: Any
    published: Any

    def __str__(self) -> str:
        return f"{self.field.replace('_', ' ')} {shown(self.published)}, here {shown(self.ours)}"


@dataclass(frozen=True)
class Comparison:
    """Two protocols side by side, each part in the order of the fields."""

    decisive: tuple[Difference, ...] = ()
    noted: tuple[Difference, ...] = ()
    assumed: tuple[str, ...] = ()
    """Fields that the source leaves unstated."""
    deciding: tuple[str, ...] = ()
    """Fields in which a difference is decisive."""

    @property
    def open(self) -> tuple[str, ...]:
        """Fields that would decide, and that the source leaves unstated."""
        return tuple(field for field in self.deciding if field in self.assumed)

    @property
    def mostly_open(self) -> bool:
        """Whether they are more than half of those that decide."""
        return 2 * len(self.open) > len(self.deciding)

    @property
    def task_open(self) -> bool:
        """Whether one of them is of what is asked at test, so that the score may be on another scale."""
        return bool(TASK & set(self.open))


def compare(ours: Mapping[str, Any], published: Mapping[str, Any], metric: str) -> Comparison:
    """Field by field; a field that our record lacks differs from any stated one."""
    decisive: list[Difference] = []
    noted: list[Difference] = []
    assumed: list[str] = []
    transductive = "transductive" in (ours.get("norm"), published.get("norm"))
    lenient = NOTED if transductive else NOTED | {"queries"}
    for field, usual in ELSEWHERE.items():
        theirs, mine = published.get(field, usual), ours.get(field, usual)
        if mine != theirs:
            decisive.append(Difference(field, mine, theirs))
    for field in FIELDS[metric]:
        theirs, mine = published.get(field, UNSTATED), ours.get(field, "not recorded")
        if UNSTATED in _parts(theirs):
            assumed.append(field)
        if not _same(field, mine, theirs):
            (noted if field in lenient else decisive).append(Difference(field, mine, theirs))
    deciding = tuple(field for field in FIELDS[metric] if field not in lenient)
    return Comparison(tuple(decisive), tuple(noted), tuple(assumed), deciding)


def _same(field: str, mine: Any, theirs: Any) -> bool:
    if theirs == UNSTATED:
        return True
    if field == "selection" and str(mine).startswith("best of "):
        mine = "validation"
    if field != "split":
        return bool(mine == theirs)
    # "random-1200-423/seed0" is one draw of the scheme "random-1200-423": papers do not publish their draw.
    parts = [part for part in _parts(mine) if not re.fullmatch(r"seed\d+", part)]
    wanted = _parts(theirs)
    return len(parts) == len(wanted) and all(w in (UNSTATED, p) for p, w in zip(parts, wanted, strict=True))


def _parts(value: Any) -> list[str]:
    return str(value).split("/")


def shown(value: Any) -> str:
    """A field's value as both pages show it."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
