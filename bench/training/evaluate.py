"""Scores after 0, 1, … K updates: the curve that both literatures print."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from algorithms.learner import Learner
from algorithms.meta_gradient import Workers
from algorithms.suite import Suite, scores_by_update
from bench.training.distributed import Processes


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
        Diverged: an adapted policy can no longer act, on any process.
    """
    was_training = learner.training
    learner.eval()
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

    rows = processes.together(scored) if suite.interactive else scored()
    learner.train(was_training)
    return np.array(processes.gather(rows))
