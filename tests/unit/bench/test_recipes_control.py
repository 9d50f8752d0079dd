"""Recipes of control: what the papers and their code state, variants, the short schedule, bounds."""

import dataclasses
import re

import pytest

from metabench.algorithms import LEARNERS
from metabench.bench.cli.run import parse_run
from metabench.bench.recipes.control import BASELINE_FIELDS, ENVIRONMENT_FIELDS, SHORT, VARIANTS, control
from metabench.bench.recipes.recipe import ControlRecipe, RecipeError, from_fields
from metabench.bench.worlds import resolve
from metabench.bench.worlds.control import CONTROL
from metabench.bench.worlds.naming import labelled
from metabench.envs import ENVIRONMENTS, family

FIELDS = {f.name for f in dataclasses.fields(ControlRecipe)} | {"inner_lr", "first_order"}

STATED = {
    # pytorch-maml-rl@21d4ba1 (2020), configs/maml/halfcheetah-vel.yaml
    ("maml", "cheetah-vel"): {
        "inner_lr": 0.1, "inner_steps": 1, "meta_batch": 40, "rollouts": 20, "hidden": (64, 64), "iterations": 500,
        "activation": "tanh", "outer": "trpo", "max_kl": 0.01, "discount": 0.99, "trace": 1.0, "first_order": False,
        "sees_task": False, "test_steps": 3, "test_tasks": 40, "curvature": 1.0, "tested_rollouts": 20,
        "later_rate": 1.0,
    },
    # the same at 493e677 (2019), README: --max-kl 0.01, a mean over six dimensions
    ("anil", "cheetah-dir-2019"): {
        "inner_lr": 0.1, "meta_batch": 40, "rollouts": 20, "hidden": (100, 100), "activation": "relu",
        "iterations": 1000, "max_kl": 0.06, "later_rate": 1.0,
    },
    # maml_rl@9c8e2eb: the runs that maml_examples/test_maml_*.py load, and how they test them
    ("maml", "cheetah-dir-maml"): {
        "inner_lr": 0.1, "meta_batch": 40, "rollouts": 20, "hidden": (100, 100), "activation": "relu",
        "iterations": 100, "max_kl": 0.02, "tested_rollouts": 20, "later_rate": 0.5,
    },
    ("maml", "cheetah-vel-maml"): {"rollouts": 10, "tested_rollouts": 20, "iterations": 475, "max_kl": 0.01},
    ("maml", "ant-vel-maml"): {"rollouts": 20, "iterations": 375, "later_rate": 0.5},
    ("maml", "ant-forward-backward-maml"): {
        "rollouts": 40, "tested_rollouts": 40, "iterations": 575, "later_rate": 0.01,
    },
    ("maml", "navigation-maml"): {
        "inner_lr": 0.5, "meta_batch": 20, "rollouts": 20, "tested_rollouts": 40, "iterations": 100, "later_rate": 0.5,
    },
    ("untrained", "cheetah-dir-maml"): {"inner_lr": 1.0, "later_rate": 0.5, "iterations": 0},
    ("pretrained", "cheetah-dir-maml"): {"inner_lr": 0.2, "inner_steps": 0, "activation": "relu"},
    ("untrained", "navigation-maml"): {"inner_lr": 0.5, "activation": "tanh"},
    ("maml", "navigation"): {"meta_batch": 20, "rollouts": 20, "inner_lr": 0.5, "later_rate": 1.0},
    # Rothfuss et al. 2019, appendix C and code: 64 × 64 tanh, 1001 iterations, 40 tasks of 20 episodes.
    ("maml-promp", "cheetah-dir-promp"): {
        "hidden": (64, 64), "activation": "tanh", "iterations": 1001, "outer": "ppo", "outer_lr": 1e-3,
        "inner_lr": 0.1, "meta_batch": 40, "rollouts": 20,
    },
    ("maml", "walker-params"): {"inner_lr": 0.05, "hidden": (64, 64)},
    ("maml", "ant-goal-promp"): {"inner_steps": 2},
    ("maml-fo", "cheetah-dir"): {"first_order": True},
    ("untrained", "cheetah-dir"): {"iterations": 0, "inner_steps": 1},
    ("pretrained", "cheetah-dir"): {"inner_steps": 0, "test_steps": 3},
    ("oracle", "cheetah-dir"): {"inner_steps": 0, "test_steps": 0, "sees_task": True},
    ("metaoptnet", "cheetah-dir"): {"head": "ridge"},
}  # fmt: skip


@pytest.mark.parametrize(("row", "stated"), STATED.items(), ids=lambda v: " ".join(v) if isinstance(v, tuple) else "")
def test_what_the_papers_state(row, stated):
    recipe = resolve(*row)
    assert isinstance(recipe, ControlRecipe)
    assert {field: getattr(recipe, field) for field in stated} == stated
    assert (recipe.name, recipe.schedule) == (" ".join(row), "paper")


@pytest.mark.parametrize("algorithm", CONTROL.algorithms)
@pytest.mark.parametrize("name", ENVIRONMENTS)
@pytest.mark.parametrize("schedule", ["paper", "short"])
def test_every_row_resolves(algorithm, name, schedule):
    recipe = resolve(algorithm, name, schedule)
    assert recipe.check() is recipe
    assert (recipe.algorithm, recipe.benchmark, recipe.environment) == (algorithm, name, name)
    assert recipe.schedule == schedule
    assert recipe.judged == min(recipe.inner_steps, recipe.test_steps)
    assert from_fields(dataclasses.asdict(recipe)) == recipe


@pytest.mark.parametrize("algorithm", ["baseline", "baseline-pp", "simpleshot"])
def test_a_learner_of_labels_is_refused(algorithm):
    with pytest.raises(
        RecipeError, match=f"{algorithm} needs labels, of which control has none; navigation has maml, "
    ):
        resolve(algorithm, "navigation")


def test_the_tables_name_only_what_exists():
    tables = [*ENVIRONMENT_FIELDS.values(), *(fields for _, fields in VARIANTS.values()), SHORT]
    tables += BASELINE_FIELDS.values()
    assert set().union(*tables) <= FIELDS
    assert set(ENVIRONMENT_FIELDS) <= set(ENVIRONMENTS)
    assert {name for pair in BASELINE_FIELDS for name in pair} <= set(VARIANTS) | set(ENVIRONMENTS)
    assert {learner for learner, _ in VARIANTS.values()} <= set(LEARNERS)
    assert not set(VARIANTS) & set(LEARNERS)
    assert {family(name) for name in ENVIRONMENTS} <= set(ENVIRONMENTS) | {"ant-forward-backward", "navigation"}


def test_the_short_schedule_changes_the_effort_and_nothing_that_is_compared():
    paper, short = control("maml", "cheetah-vel"), control("maml", "cheetah-vel", "short")
    changed = {f for f in FIELDS if getattr(paper, f) != getattr(short, f)}
    assert changed == {"schedule", *SHORT}
    assert short.iterations < paper.iterations
    assert control("maml", "navigation", "short").iterations <= control("maml", "navigation").iterations
    assert control("untrained", "cheetah-vel", "short").iterations == 0, "a variant keeps what makes it one"


def test_a_changed_flag_is_filed_as_custom():
    plain = parse_run("maml", "navigation", ["--schedule", "short"]).recipe
    assert labelled(plain).schedule == "short"
    other = parse_run("maml", "navigation", ["--schedule", "short", "--inner-lr", "0.3"]).recipe
    assert (labelled(other).schedule, other.inner_lr) == ("custom", 0.3)
    assert labelled(other).digest() != plain.digest()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("rollouts", 0, "rollouts is 0; it must be at least 1"),
        ("test_rollouts", -1, "test_rollouts is -1; it must be at least 0"),
        ("later_rate", 0.0, "later_rate is 0.0; it must be a positive number"),
        ("hidden", (), "hidden is (); each layer needs at least one unit"),
        ("hidden", (64, 0), "hidden is (64, 0); each layer needs at least one unit"),
        ("discount", 1.01, "discount is 1.01; it must be between 0 and 1"),
        ("discount", 0.0, "discount is 0.0; it must be a positive number"),
        ("trace", -0.1, "trace is -0.1; it must be between 0 and 1"),
        ("curvature", 0.0, "curvature is 0.0; it must be a positive number"),
        ("curvature", 1.1, "curvature is 1.1; it must be between 0 and 1"),
        ("max_kl", float("inf"), "max_kl is inf; it must be a positive number"),
        ("inner_lr", float("nan"), "inner_lr is nan; it must be a positive number"),
        ("inner_steps", -1, "inner_steps is -1; it must be at least 0"),
        ("iterations", -1, "iterations is -1; it must be at least 0"),
    ],
)
def test_bounds(field, value, message):
    recipe = dataclasses.replace(control("maml", "navigation"), **{field: value})
    with pytest.raises(RecipeError, match=re.escape(f"maml navigation: {message}")):
        recipe.check()


def test_edges_that_are_allowed():
    edges = {"discount": 1.0, "trace": 0.0, "curvature": 1.0, "rollouts": 1, "inner_steps": 0}
    assert dataclasses.replace(control("maml", "navigation"), **edges).check()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("mmal", "navigation"), "no algorithm 'mmal'; did you mean 'maml'?"),
        (("maml", "navigaton"), "no benchmark 'navigaton'; did you mean 'navigation'?"),
        (("maml", "navigation", "fast"), "no schedule 'fast'"),
        (("maml-noconv", "navigation"), "maml-noconv is of few-shot images only; navigation has maml,"),
        (("pretrained", "omniglot-5w1s"), "pretrained is of control only; omniglot-5w1s has"),
    ],
)
def test_what_does_not_exist(row, message):
    with pytest.raises(RecipeError, match=re.escape(message)):
        resolve(*row)


def test_fields_of_another_version_are_named():
    fields = dataclasses.asdict(control("maml", "navigation")) | {"horizon": 3}
    with pytest.raises(RecipeError, match="a recipe has no field 'horizon'; this one is of another version"):
        from_fields(fields)
