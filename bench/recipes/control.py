"""Recipes of control by name: `control("maml", "cheetah-vel")`.

Like those of few-shot images, a recipe is put together from small tables, the later winning: what all runs share, what
the environment's published line fixes, what the algorithm needs there, what its variant changes, the short schedule.
"""

from __future__ import annotations

from metabench.algorithms import LEARNERS
from metabench.algorithms.references import is_reference
from metabench.bench.recipes.recipe import ControlRecipe, Fields, RecipeError, put_together, unknown
from metabench.bench.recipes.variants import CONTROL as VARIANTS

COMMON: Fields = {
    "inner_lr": 0.1, "inner_steps": 1, "test_steps": 3, "meta_batch": 40, "iterations": 500,
    "val_every": 10, "val_tasks": 20, "test_tasks": 40,
}  # fmt: skip
"""What the published lines share: 20 episodes a task, 40 tasks, one update at rate 0.1, tested on 40 tasks, and the
rest as `ControlRecipe` has it (γ 0.99, λ 1, KL 0.01). This is also the recipe of PEARL's and VariBAD's variants, for
which no code of MAML's is at hand.
"""

MAML_LINE: Fields = {"hidden": (100, 100), "activation": "relu", "test_rollouts": 20, "later_rate": 0.5}
"""Finn et al. 2017 by its code (cbfinn/maml_rl@9c8e2eb, maml_examples): the settings of the run that each test script
loads. At test 4000 steps an update (here 20 episodes of 200 steps), and every update but the first at half of the rate.
"""

LINE_2019: Fields = {"hidden": (100, 100), "activation": "relu", "max_kl": 6 * 0.01, "iterations": 1000}
"""tristandeleu/pytorch-maml-rl@493e677 of August 2019, the command of its README. Its `--max-kl 0.01` bounds the mean
of the divergence over the dimensions of an action, of which the cheetah has six; the trust region here bounds the sum.

Raghu et al. 2020 (ANIL) do not name their code; by its date it is likely to have been this.
"""

LINE_2020: Fields = {"hidden": (64, 64), "activation": "tanh", "iterations": 500}
"""tristandeleu/pytorch-maml-rl@21d4ba1, configs/maml: its divergence is a sum (`Independent`). An environment of one's
own has these settings too."""

PROMP_LINE: Fields = {"hidden": (64, 64), "activation": "tanh", "iterations": 1001}
"""Rothfuss et al. 2019 and its code (jonasrothfuss/ProMP@93ae339)."""

ENVIRONMENT_FIELDS: dict[str, Fields] = {
    "navigation": {"meta_batch": 20, "iterations": 100, "inner_lr": 0.5},
    "navigation-maml": MAML_LINE | {"meta_batch": 20, "iterations": 100, "inner_lr": 0.5, "test_rollouts": 40},
    "navigation-promp": PROMP_LINE,
    "navigation-corner": PROMP_LINE,
    "cheetah-dir": LINE_2020,
    "cheetah-dir-2019": LINE_2019,
    "cheetah-dir-maml": MAML_LINE | {"max_kl": 0.02, "iterations": 100},
    "cheetah-dir-maml-damped": MAML_LINE | {"max_kl": 0.02, "iterations": 100},
    "cheetah-dir-promp": PROMP_LINE,
    "cheetah-vel": LINE_2020,
    "cheetah-vel-2019": LINE_2019,
    "cheetah-vel-maml": MAML_LINE | {"rollouts": 10, "iterations": 475},
    "cheetah-vel-promp": PROMP_LINE,
    "ant-vel": LINE_2020,
    "ant-vel-maml": MAML_LINE | {"iterations": 375},
    "ant-forward-backward": LINE_2020,
    "ant-forward-backward-maml": MAML_LINE
    | {"rollouts": 40, "iterations": 575, "test_rollouts": 40, "later_rate": 0.01},
    "ant-forward-backward-promp": PROMP_LINE,
    "ant-dir": PROMP_LINE,
    "ant-goal": LINE_2020,
    "ant-goal-maml": MAML_LINE | {"iterations": 800},
    "ant-goal-promp": PROMP_LINE | {"inner_steps": 2},
    "humanoid-dir": PROMP_LINE,
    "walker-params": PROMP_LINE | {"inner_lr": 0.05},
    "hopper-params": PROMP_LINE | {"inner_lr": 0.05},
}
"""What the code of an environment's published line uses. `navigation` has the environment of pytorch-maml-rl and the
settings of maml_rl."""

BASELINE_FIELDS: dict[tuple[str, str], Fields] = {
    ("untrained", "navigation-maml"): {"activation": "tanh"},
    ("untrained", "cheetah-dir-maml"): {"inner_lr": 1.0},
    ("untrained", "cheetah-dir-maml-damped"): {"inner_lr": 1.0},
    ("pretrained", "cheetah-dir-maml"): {"inner_lr": 0.2},
    ("pretrained", "cheetah-vel-maml"): {"inner_lr": 0.02},
    ("untrained", "ant-vel-maml"): {"inner_lr": 1.0},
    ("pretrained", "ant-vel-maml"): {"inner_lr": 0.2},
    ("untrained", "ant-forward-backward-maml"): {"inner_lr": 1.0},
    ("pretrained", "ant-forward-backward-maml"): {"inner_lr": 0.2},
}
"""What the test scripts of maml_rl give its baselines instead of MAML's rate."""

LEARNER_FIELDS: dict[str, Fields] = {"metaoptnet": {"inner_lr": 1.0, "head": "ridge", "penalty": 10.0}}
"""What a learner needs in control. MetaOptNet's is metabench's own."""

SHORT: Fields = {"iterations": 200, "meta_batch": 20}
"""The short schedule: at most half of the tasks. Records of "short" that were made when its curvature came from every
fifth or tenth transition say so in their recipe.
"""


def control(algorithm: str, environment: str, schedule: str = "paper", filed_as: str = "") -> ControlRecipe:
    """The recipe of a row of control (see `bench.worlds.resolve`).

    Args:
        filed_as: name of its results; the environment's if empty.
    """
    learner, variant = VARIANTS.get(algorithm, (algorithm, {}))
    if learner not in LEARNERS:
        raise RecipeError(unknown("algorithm", algorithm, [*LEARNERS, *VARIANTS]))
    line = LINE_2020 if is_reference(environment) else ENVIRONMENT_FIELDS.get(environment, {})
    fields = COMMON | line | LEARNER_FIELDS.get(learner, {})
    if schedule == "short":
        fields |= SHORT | {"iterations": min(SHORT["iterations"], fields["iterations"])}
    fields |= variant | BASELINE_FIELDS.get((algorithm, environment), {})
    fields |= {"algorithm": algorithm, "benchmark": filed_as or environment, "environment": environment}
    fields |= {"schedule": schedule}
    return put_together(ControlRecipe, fields)
