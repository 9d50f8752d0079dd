"""Bugs that more than one test plants, to show that a check turns red."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from torch import Tensor

from metabench.algorithms import Batch, Learner
from metabench.algorithms.learner import gradient_step
from metabench.algorithms.network import Params

Plant = Callable[[pytest.MonkeyPatch], None]


def altered_step(change: Callable[[Tensor], Tensor]) -> Plant:
    """The inner gradients, changed."""

    def step(rule: Learner, fast: Params, names: Sequence[str], support: Batch, *, exact: bool = True) -> list[Tensor]:
        return [change(g) for g in gradient_step(rule, fast, names, support, exact=exact)]

    def plant(patch: pytest.MonkeyPatch) -> None:
        patch.setattr("metabench.algorithms.learners.maml.gradient_step", step)
        patch.setattr("metabench.algorithms.learners.meta_sgd.gradient_step", step)

    return plant
