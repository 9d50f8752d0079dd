"""Recipes of control by name: `control("maml", "cheetah-vel")`.

Like those of few-shot images, a recipe is put together from small tables, the later winning: what all runs share, what
the environment's published line fixes, what the algorithm needs there, what its variant changes, the short schedule.
"""

from __future__ import annotations

from typing import Any

from algorithms import LEARNERS
from bench.recipes.recipe import ControlRecipe, RecipeError, unknown

Fields = dict[str, Any]

COMMON: Fields = {
    "inner_lr": 0.1, "inner_steps": 1, "test_steps": 3, "meta_batch": 40, "iterations": 500,
    "head": "ridge", "penalty": 10.0, "val_every": 10, "val_tasks": 20, "test_tasks": 40,
}  # fmt: skip
"""Finn et al. 2017 and its code: 20 episodes a task, 40 tasks, one update at rate 0.1, tested on 40 tasks.

At test their later updates are half as long; here they are not. Raghu et al. 2020 leave ANIL's settings to an appendix,
which was not read: MAML's are assumed.
"""

PROMP_LINE: Fields = {"hidden": (64, 64), "activation": "tanh", "iterations": 1000}
"""Rothfuss et al. 2019 and its code."""

ENVIRONMENT_FIELDS: dict[str, Fields] = {
    "navigation": {"meta_batch": 20, "iterations": 100, "inner_lr": 0.5},
    "navigation-promp": PROMP_LINE,
    "navigation-corner": PROMP_LINE,
    "cheetah-dir-promp": PROMP_LINE,
    "cheetah-vel-promp": PROMP_LINE,
    "ant-forward-backward-promp": PROMP_LINE,
    "ant-dir": PROMP_LINE,
    "ant-goal-promp": PROMP_LINE | {"inner_steps": 2},
    "humanoid-dir": PROMP_LINE,
    "walker-params": PROMP_LINE | {"inner_lr": 0.05},
    "hopper-params": PROMP_LINE | {"inner_lr": 0.05},
    "ant-forward-backward-maml": {"rollouts": 40},
}
"""What the code of an environment's published line uses instead."""

LEARNER_FIELDS: dict[str, Fields] = {"metaoptnet": {"inner_lr": 4.0, "penalty": 1000.0}}
"""What a learner needs in control. MetaOptNet's is metabench's own."""

VARIANTS: dict[str, tuple[str, Fields]] = {
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

SHORT: Fields = {"iterations": 200, "meta_batch": 20, "curvature": 0.1}
"""The short schedule: at most half of the tasks, and curvature from every tenth transition, since the Fisher matrix is
only a metric. Records of "short" that were
made when it was every fifth say so in their recipe.
"""


def control(algorithm: str, environment: str, schedule: str = "paper") -> ControlRecipe:
    """The recipe of a row of control (see `bench.recipes.few_shot.resolve`)."""
    learner, variant = VARIANTS.get(algorithm, (algorithm, {}))
    if learner not in LEARNERS:
        raise RecipeError(unknown("algorithm", algorithm, [*LEARNERS, *VARIANTS]))
    fields = COMMON | ENVIRONMENT_FIELDS.get(environment, {}) | LEARNER_FIELDS.get(learner, {})
    if schedule == "short":
        fields |= SHORT | {"iterations": min(SHORT["iterations"], fields["iterations"])}
    fields |= variant
    fields |= {"algorithm": algorithm, "benchmark": environment, "environment": environment, "schedule": schedule}
    return ControlRecipe(**fields).check()
