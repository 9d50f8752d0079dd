"""Scores after 0, 1, … K updates: the curve that both literatures print."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from algorithms.learner import Batch, Learner
from algorithms.meta_gradient import Workers
from algorithms.network import Params
from bench.distributed import Processes


class Suite(Protocol):
    """Tasks, their examples and their score, in either world."""

    interactive: bool
    """Whether a support depends on the policy that collects it."""
    score_name: str

    def tasks(self, indices: Sequence[int], split: str) -> Any:
        """The tasks with these indices, of "train", "val" or "test"."""
        ...

    def support(self, tasks: Any, learner: Learner, fast: Params, update: int) -> Batch:
        """What the learner adapts to next, after so many updates."""
        ...

    def query(self, tasks: Any, learner: Learner, fast: Params, update: int) -> Batch:
        """What its adaptation is judged on."""
        ...

    def score(self, tasks: Any, learner: Learner, fast: Params, update: int) -> Tensor:
        """Accuracy or mean return of each task, (T,)."""
        ...

    def metrics(self, tasks: Any) -> dict[str, float]:
        """What collecting the examples of these tasks showed, beside what the outer step tells."""
        ...


def scores_by_update(suite: Suite, tasks: Any, learner: Learner, updates: int) -> Tensor:
    """Score of each task after 0 … K updates, (T, K + 1)."""
    previous: Batch | None = None
    with torch.no_grad():
        fast = learner.begin()
        scores = [suite.score(tasks, learner, fast, 0)]
        for update in range(updates):
            support = suite.support(tasks, learner, fast, update)
            if support is not previous:
                encoded, previous = learner.encode(support), support
            fast = learner.update(fast, encoded)
            scores.append(suite.score(tasks, learner, fast, update + 1))
    return torch.stack(scores, 1)


def evaluate(
    suite: Suite,
    learner: Learner,
    split: str,
    count: int,
    updates: int,
    *,
    workers: Workers,
    processes: Processes,
    at_once: int,
    progress: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """Scores of the tasks 0 … count − 1 of a split, shared over processes and threads.

    Args:
        updates: K.
        at_once: tasks drawn together, on each process.
        progress: told how many tasks are done.

    Returns:
        (count, K + 1), in the order of the tasks, on every process.
    """
    was_training = learner.training
    learner.eval()
    mine = processes.shard(range(count))
    rows: list[list[float]] = []
    for start in range(0, len(mine), at_once):
        tasks = suite.tasks(mine[start : start + at_once], split)
        if suite.interactive:  # the simulation has threads of its own
            rows += scores_by_update(suite, tasks, learner, updates).tolist()
        else:
            parts = workers.map(lambda some, t=tasks: scores_by_update(suite, t.at(some), learner, updates), len(tasks))  # type: ignore[misc]
            rows += torch.cat(parts).tolist()
        progress(len(rows) * processes.world)
    learner.train(was_training)
    return np.array(processes.gather(rows))
