"""The ProMP step, held against a plain loop, and what it refuses."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from metabench.algorithms import Diverged, Learner, ProximalOuter, Workers
from metabench.algorithms.outer.surrogate import flatten
from tests.support.control import padded
from tests.support.policies import POLICIES, meta_batch, policy
from tests.support.proximal import assert_epochs_are_the_references


def theta(rule: Learner) -> Tensor:
    return flatten(rule.parameters()).detach()


def outer(rule: Learner, *, rate: float = 1e-3, threads: int = 1, **options: object) -> ProximalOuter:
    adam = torch.optim.Adam(rule.parameters(), rate)
    return ProximalOuter(adam, workers=Workers(threads), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", POLICIES)
def test_epochs(kind: str) -> None:
    """A rate and penalty so large that clip and penalty act."""
    assert_epochs_are_the_references(kind)


def test_the_first_epoch_has_no_penalty_and_the_second_has() -> None:
    for epochs, same in ((1, True), (2, False)):
        moved = []
        for penalty in (0.0, 10.0):
            rule = policy("maml")
            supports, query = meta_batch(rule, ratio=True)
            outer(rule, rate=0.05, epochs=epochs, penalty=penalty).step(rule, supports, query)
            moved.append(theta(rule))
        assert (float((moved[0] - moved[1]).abs().max()) < 1e-9) == same


@pytest.mark.parametrize("kind", POLICIES)
def test_threads_chunks_and_padding_do_not_matter(kind: str) -> None:
    start = policy(kind)
    supports, query = meta_batch(start, updates=2, ratio=True)
    got = []
    for chunk, threads, rows in ((1, 1, 0), (3, 1, 0), (1, 2, 0), (0, 1, 4)):
        rule = copy.deepcopy(start)
        seen = [padded(b, rows) for b in (*supports, query)]
        metrics = outer(rule, rate=0.01, chunk=chunk, threads=threads).step(rule, seen[:-1], seen[-1])
        got.append((theta(rule), metrics))
    for moved, metrics in got[1:]:
        torch.testing.assert_close(moved, got[0][0], atol=1e-9, rtol=0)
        assert metrics == pytest.approx(got[0][1], abs=1e-9)


def test_sums_over_processes_are_averaged_over_tasks() -> None:
    """A process told that another has the same sums takes the step of one with its tasks alone."""
    alone, doubled = policy("maml"), policy("maml")
    supports, query = meta_batch(alone, ratio=True)
    metrics = outer(alone).step(alone, supports, query)
    told = outer(doubled, all_reduce=lambda t: t.mul_(2)).step(doubled, supports, query)  # type: ignore[arg-type]
    assert told == pytest.approx(metrics, abs=1e-14)
    torch.testing.assert_close(theta(doubled), theta(alone), atol=1e-12, rtol=0)


@pytest.mark.parametrize("where", ["support", "query"])
def test_it_needs_the_log_probabilities_of_all_actions(where: str) -> None:
    rule = policy("maml")
    supports, query = meta_batch(rule, ratio=where == "query")
    query = query._replace(old=None) if where == "query" else query
    with pytest.raises(ValueError, match=r"(the query|a support) does not hold the log-probabilities of its actions"):
        outer(rule).step(rule, supports, query)


def test_divergence_leaves_learner_and_optimiser_as_they_were() -> None:
    rule = policy("maml")
    supports, query = meta_batch(rule, ratio=True)
    step = outer(rule)
    step.step(rule, supports, query)
    before, state = theta(rule).clone(), copy.deepcopy(step.state_dict())
    query.w[1, 2] = math.nan
    with pytest.raises(Diverged, match="not finite at outer step 1"):
        step.step(rule, supports, query)
    assert torch.equal(theta(rule), before)
    after = step.state_dict()
    assert after["steps"] == state["steps"] == 1
    for name, entry in state["optimizer"]["state"].items():  # type: ignore[index]
        for key, value in entry.items():
            assert torch.equal(after["optimizer"]["state"][name][key], value)  # type: ignore[index]


def test_a_rate_that_leads_to_infinity_is_undone() -> None:
    rule = policy("maml")
    before = theta(rule).clone()
    with pytest.raises(Diverged):
        outer(rule, rate=1e200).step(rule, *meta_batch(rule, ratio=True))
    assert torch.equal(theta(rule), before)


def test_a_restored_step_goes_on_as_if_nothing_had_happened() -> None:
    rule = policy("anil")
    supports, query = meta_batch(rule, ratio=True)
    step = outer(rule)
    step.step(rule, supports, query)
    twin = copy.deepcopy(rule)
    resumed = outer(twin)
    resumed.load_state_dict(copy.deepcopy(step.state_dict()))
    results = [s.step(r, supports, query) for r, s in ((rule, step), (twin, resumed))]
    assert results[0] == results[1] and resumed.steps == 2
    assert torch.equal(theta(rule), theta(twin))


def test_without_supports_it_is_plain_ppo_and_leaves_no_gradient() -> None:
    rule = policy("maml")
    _, query = meta_batch(rule, updates=0)
    metrics = outer(rule).step(rule, [], query)
    assert metrics["inner_kl"] == 0 and metrics["kl"] > 0 and metrics["surrogate"] > 0
    assert all(p.grad is None for p in rule.parameters())
