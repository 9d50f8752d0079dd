"""Rows that are a learner with something changed: name -> (learner, the fields that are changed), in each world."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metabench.algorithms import LEARNERS, LearnerSettings

Fields = dict[str, Any]
"""Fields of a recipe, by name."""

FEW_SHOT: dict[str, tuple[str, Fields]] = {
    "maml-fo": ("maml", {"first_order": True}),
    "maml-noconv": ("maml", {"backbone": "mlp"}),
    "metaoptnet-rr": ("metaoptnet", {"head": "ridge", "penalty": 50.0}),
}
"""Rows of the papers that are an algorithm with one thing changed."""

CONTROL: dict[str, tuple[str, Fields]] = {
    "maml-fo": ("maml", {"first_order": True}),
    "maml-promp": ("maml", {"outer": "ppo", "outer_lr": 1e-3}),
    "untrained": ("maml", {"iterations": 0}),
    "pretrained": ("maml", {"inner_steps": 0}),
    "oracle": ("maml", {"inner_steps": 0, "test_steps": 0, "sees_task": True}),
}
"""Rows that are an algorithm with one thing changed, and the baselines of MAML's figures.

"untrained" adapts random weights (before any update it is the random policy), "pretrained" was trained on all tasks
without adapting, "oracle" sees the task.
"""


def settings_of(algorithm: str, variants: Mapping[str, tuple[str, Fields]]) -> type[LearnerSettings]:
    """The settings of an algorithm's learner; of no learner, those that all have."""
    learner = LEARNERS.get(variants.get(algorithm, (algorithm, {}))[0])
    return learner.Settings if learner is not None else LearnerSettings
