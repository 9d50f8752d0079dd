"""Scores after 0, 1, … K updates: the curve that both literatures print."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from metabench.algorithms.learner import Learner
from metabench.algorithms.meta_gradient import Workers
from metabench.algorithms.outer.gradient import Diverged
from metabench.algorithms.suite import Suite, scores_by_update
from metabench.bench.distributed import Processes


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

    Raises:
        Diverged: the outputs of a task are not finite, or an adapted policy can no longer act, on any process.
    """
    mine = processes.shard(range(count))

    def scored() -> list[list[float]]:
        rows: list[list[float]] = []
        for start in range(0, len(mine), at_once):
            tasks = suite.tasks(mine[start : start + at_once], split)
            if suite.interactive:  # the simulation has threads of its own
                rows += scores_by_update(suite, tasks, learner, updates).tolist()
            else:
                parts = workers.map(
                    lambda some, t=tasks: scores_by_update(suite, t.at(some), learner, updates),  # type: ignore[misc]
                    len(tasks),
                )
                rows += torch.cat(parts).tolist()
            progress(len(rows) * processes.world)
        return rows

    was_training = learner.training
    learner.eval()
    try:
        rows = processes.together(scored) if suite.interactive else scored()
    finally:
        learner.train(was_training)
    return _complete(np.array(processes.gather(rows)))


def _complete(scores: np.ndarray) -> np.ndarray:
    """The scores themselves; raises Diverged where one is NaN."""
    lost = np.isnan(scores)
    if lost.any():
        first = int(lost.any(0).argmax())
        raise Diverged(
            f"outputs of {lost.any(1).sum()} of {len(scores)} tasks are not finite, the first after {first} updates"
        )
    return scores
