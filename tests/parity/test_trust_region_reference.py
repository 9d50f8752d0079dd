"""The trust-region step is that of a plain program: one task at a time, dense Hessian of the mean KL, own solver."""

from __future__ import annotations

import pytest
import torch

from metabench.algorithms import Learner, TrustRegionOuter, Workers
from metabench.algorithms.outer.surrogate import Piece, flatten
from tests.support.checks import EXACT, assert_close
from tests.support.control import product_of
from tests.support.policies import POLICIES, meta_batch, policy
from tests.support.trpo import assert_step_is_the_references, fisher


@pytest.mark.parametrize("kind", POLICIES)
def test_a_step_of_one_update(kind: str) -> None:
    rule = policy(kind)
    assert_step_is_the_references(rule, *meta_batch(rule))


@pytest.mark.parametrize("ratio", [False, True])
@pytest.mark.parametrize("kind", POLICIES)
def test_a_step_of_two_updates_that_weigh_by_scores_or_ratios(kind: str, ratio: bool) -> None:
    """δ = 0.3 is beyond where the KL is quadratic: the line search has work to do."""
    rule = policy(kind)
    assert_step_is_the_references(rule, *meta_batch(rule, tasks=2, updates=2, ratio=ratio), radius=0.3)


def test_a_step_without_updates() -> None:
    rule = policy("maml")
    assert_step_is_the_references(rule, *meta_batch(rule, updates=0))


@pytest.mark.parametrize("kind", ["maml", "anil", "meta-sgd"])
def test_a_first_order_step(kind: str) -> None:
    rule = policy(kind, first_order=True)
    assert_step_is_the_references(rule, *meta_batch(rule, tasks=2, updates=2))


@pytest.mark.parametrize("kind", ["maml", "metaoptnet"])
def test_conjugate_gradient_run_to_the_end_is_a_dense_solve(kind: str) -> None:
    rule = policy(kind)
    assert_step_is_the_references(rule, *meta_batch(rule, tasks=2), iterations=0, damping=0.5)


@pytest.mark.parametrize("kind", POLICIES)
def test_a_step_with_the_published_damping(kind: str) -> None:
    rule = policy(kind)
    assert_step_is_the_references(rule, *meta_batch(rule, tasks=2), damping=1e-5, iterations=3, tolerance=1e-6)


@pytest.mark.parametrize("ratio", [False, True])
@pytest.mark.parametrize("kind", POLICIES)
def test_the_fisher_matrix_is_the_hessian_of_the_mean_kl(kind: str, ratio: bool) -> None:
    rule = policy(kind)
    supports, query = meta_batch(rule, tasks=2, updates=2, ratio=ratio)
    theta = flatten(rule.parameters()).detach()
    product = product_of(rule, Piece(supports, query))
    ours = torch.stack([product(e) for e in torch.eye(len(theta)).to(theta)]) / 2
    dense = fisher(rule, theta, supports, query)
    assert_close([ours], [dense], EXACT, "F")


@pytest.mark.parametrize("seed", range(1, 3))
def test_whatever_the_seed(seed: int) -> None:
    rule: Learner = policy("maml", seed=seed, activation="relu")
    assert_step_is_the_references(rule, *meta_batch(rule, tasks=2, updates=3, seed=seed), radius=0.2)


def test_a_standard_deviation_at_its_floor_is_not_moved() -> None:
    rule = policy("maml")
    rule.network.likelihood.log_std.data[0] = -20.0
    rule.network.likelihood.least = -2.0  # type: ignore[assignment]
    supports, query = meta_batch(rule)
    assert_step_is_the_references(rule, supports, query)
    assert rule.network.likelihood.log_std[0].item() == pytest.approx(-20.0, abs=1e-12)


def test_single_precision_takes_nearly_the_same_step() -> None:
    exact, single = policy("maml"), policy("maml").float()
    supports, query = meta_batch(exact)
    outer = TrustRegionOuter(workers=Workers(1), damping=0.5, iterations=5)
    first = outer.step(exact, supports, query)
    second = outer.step(single, [s._each(torch.Tensor.float) for s in supports], query._each(torch.Tensor.float))
    assert second == pytest.approx(first, rel=1e-3)
