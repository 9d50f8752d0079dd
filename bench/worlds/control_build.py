"""From a recipe of control to what runs it: task distribution, policy and outer step."""

from __future__ import annotations

from typing import Any

import torch

from metabench.algorithms import LEARNERS, Gaussian, Learner, Network, ProximalOuter, TrustRegionOuter, Workers
from metabench.algorithms.perceptron import Perceptron
from metabench.algorithms.references import is_reference
from metabench.bench.recipes.recipe import ControlRecipe, RecipeError
from metabench.bench.recipes.variants import CONTROL as VARIANTS
from metabench.bench.records.protocol import policy_name
from metabench.bench.worlds.built import TEST_SEED, Built, ResumableOuter, selection, settings_in, start
from metabench.bench.worlds.world import Place
from metabench.envs import ENVIRONMENTS, family
from metabench.envs.environment import Environment
from metabench.envs.own import own
from metabench.envs.suite import Control

SEEDS = {"val": TEST_SEED + 1, "test": TEST_SEED + 2}


def build(recipe: ControlRecipe, seed: int, place: Place) -> Built:
    """Tasks that are simulated on the CPU, a policy that learns on the device."""
    if place.compile:
        raise RecipeError("--compile is for few-shot images; a policy's step is already a few large operations")
    suite = make_suite(recipe, seed, place.workers, place.processes.device)
    learner = make_policy(recipe, seed, suite).to(place.processes.device)
    outer = make_outer(recipe, learner, place)
    return Built(suite, learner, outer, protocol(recipe, suite.spec), recipe.test_tasks)


def make_suite(recipe: ControlRecipe, seed: int, workers: Workers, device: torch.device) -> Control:
    """The environment's tasks; those of training come from the seed, the others are always the same."""
    return Control(
        tested_in(recipe),
        recipe.rollouts,
        {"train": seed, **SEEDS},
        test_rollouts=recipe.test_rollouts,
        later_rate=recipe.later_rate,
        discount=recipe.discount,
        trace=recipe.trace,
        ratio=recipe.outer == "ppo",
        sees_task=recipe.sees_task,
        threads=workers.threads,
        device=device,
    )


def tested_in(recipe: ControlRecipe) -> Environment:
    """The environment of a recipe's tests; one of the user's own is trained and tested in itself."""
    return own(recipe.environment) if is_reference(recipe.environment) else ENVIRONMENTS[recipe.benchmark]


def make_policy(recipe: ControlRecipe, seed: int, suite: Control) -> Learner:
    """The recipe's learner on a Gaussian policy, initialised from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = Perceptron(suite.observation_size, recipe.hidden, recipe.activation)
        actions = suite.spec.action_size
        network = Network(body, actions, Gaussian(actions))
        torch.nn.init.xavier_uniform_(network.head.weight)
        torch.nn.init.zeros_(network.head.bias)
        kind = LEARNERS[VARIANTS.get(recipe.algorithm, (recipe.algorithm, {}))[0]]
        return kind(network, **settings_in(recipe, kind))


def make_outer(recipe: ControlRecipe, learner: Learner, place: Place) -> ResumableOuter:
    """A trust region, or Adam on ProMP's objective."""
    sums = place.processes.sum if place.processes.world > 1 else None
    if recipe.outer == "ppo":
        adam = torch.optim.Adam(learner.parameters(), recipe.outer_lr)
        return ProximalOuter(adam, workers=place.workers, chunk=place.chunk, all_reduce=sums)
    return TrustRegionOuter(
        workers=place.workers, radius=recipe.max_kl, curvature=recipe.curvature, chunk=place.chunk, all_reduce=sums
    )


def protocol(recipe: ControlRecipe, spec: Environment) -> dict[str, Any]:
    """What two returns must agree on before they can be compared."""
    return {
        "environment": family(recipe.benchmark),
        "variant": recipe.benchmark,
        **({"trained_in": recipe.environment} if _elsewhere(recipe) else {}),
        **start(recipe),
        "observations": spec.observation_size,
        "goals": spec.tasks.text,
        "horizon": spec.horizon,
        "time_step": round(spec.dt, 6),
        "action_scaling": int(spec.action_scale) if spec.action_scale >= 1 else spec.action_scale,
        "rollouts": recipe.tested_rollouts,
        "updates": recipe.judged,
        "second_order": not getattr(recipe, "first_order", False),
        "policy": policy_name(recipe.activation, recipe.hidden),
        "test_tasks": recipe.tests,
        "selection": selection(recipe, "tasks"),
    }


def _elsewhere(recipe: ControlRecipe) -> bool:
    """Whether it is tested in another variant than it was trained in."""
    return not is_reference(recipe.environment) and recipe.environment != recipe.benchmark
