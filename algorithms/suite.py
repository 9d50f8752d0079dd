"""Tasks of either world as the loop sees them, and what a learner meets of them between updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from metabench.algorithms.learner import Batch, Learner, partway
from metabench.algorithms.network import Params, forward_pass

Scorer = Callable[[Params, int], Tensor]
"""φ after so many updates, and their number -> score of each task, (T,)."""


class Suite(Protocol):
    """Tasks, their examples and their score, in either world."""

    interactive: bool
    """Whether a support depends on the policy that collects it."""
    score_name: str
    later_rate: float
    """At evaluation: how far updates after the first go, as a share of the way; of a gradient step, of its rate."""

    def tasks(self, indices: Sequence[int], split: str) -> Any:
        """The tasks with these indices, of "train", "val" or "test"."""
        ...

    def support(self, tasks: Any, learner: Learner, fast: Params, update: int) -> Batch:
        """What the learner adapts to next, after so many updates."""
        ...

    def query(self, tasks: Any, learner: Learner, fast: Params, update: int) -> Batch:
        """What its adaptation is judged on."""
        ...

    def draws(self, tasks: Any) -> Sequence[torch.Generator]:
        """A generator a task, for what a rule draws at evaluation; none where no task is to have its own."""
        ...

    def scorer(self, tasks: Any, learner: Learner) -> Scorer:
        """Accuracy or mean return of each task, NaN where it diverged; what all updates share is done here, once."""
        ...

    def metrics(self, tasks: Any) -> dict[str, float]:
        """What collecting the examples of these tasks showed, beside what the outer step tells."""
        ...


def collect(suite: Suite, tasks: Any, learner: Learner, updates: int) -> tuple[list[Batch], Batch]:
    """The support of every update, and the query after the last.

    Where a support depends on the policy that collects it, the learner adapts along the way.
    """
    supports: list[Batch] = []
    with torch.no_grad():
        fast = learner.begin()
        for update in range(updates):
            supports.append(suite.support(tasks, learner, fast, update))
            if suite.interactive:
                fast = learner.update(fast, learner.encode(supports[-1]))
        return supports, suite.query(tasks, learner, fast, updates)


def scores_by_update(suite: Suite, tasks: Any, learner: Learner, updates: int) -> Tensor:
    """Score of each task after 0 … K updates, (T, K + 1)."""
    previous: Batch | None = None
    with torch.no_grad(), forward_pass(suite.draws(tasks)):
        fast = learner.begin()
        score = suite.scorer(tasks, learner)
        scores = [score(fast, 0)]
        for update in range(updates):
            support = suite.support(tasks, learner, fast, update)
            if support is not previous:
                encoded, previous = learner.encode(support), support
            fast = partway(fast, learner.update(fast, encoded), suite.later_rate if update else 1.0)
            scores.append(score(fast, update + 1))
    return torch.stack(scores, 1)
