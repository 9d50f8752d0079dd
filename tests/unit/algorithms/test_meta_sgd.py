"""Meta-SGD's rule: a learned rate for every element."""

from __future__ import annotations

import torch

from metabench.algorithms import MAML, MetaSGD, adapt
from metabench.bench.speed.peers import largest_difference
from tests.support.checks import gradient_of
from tests.support.small import images, learner, network


def constant() -> MetaSGD:
    return MetaSGD(network(), inner_lr=0.3)


def test_equal_rates_are_maml() -> None:
    support, query = images(2, 2), images(2, 2, seed=1)
    maml = MAML(network(), inner_lr=0.3)
    for steps in (1, 3):
        ours, theirs = (adapt(rule, [support] * steps) for rule in (constant(), maml))
        assert all(torch.equal(ours[n], theirs[n]) for n in theirs)
        count = len(list(maml.parameters()))
        ours, theirs = (gradient_of(rule, [support] * steps, query).grads[:count] for rule in (constant(), maml))
        assert largest_difference(ours, theirs) < 1e-12


def test_there_is_a_rate_for_every_element_and_all_begin_alike() -> None:
    rule = constant()
    assert [r.shape for r in rule.rates] == [p.shape for p in rule.network.parameters()]
    assert all(torch.equal(r, torch.full_like(r, 0.3)) for r in rule.rates)
    assert len(list(rule.parameters())) == 2 * len(list(rule.network.parameters()))


def test_an_element_moves_by_its_own_rate() -> None:
    rule, support = constant(), images(2, 2)
    names = [n for n, _ in rule.network.named_parameters()]
    once = adapt(rule, [support])["head.weight"] - rule.begin()["head.weight"]
    rate = rule.rates[names.index("head.weight")]
    rate.data[0, 1], rate.data[2] = 0.0, -0.6
    other = adapt(rule, [support])["head.weight"] - rule.begin()["head.weight"]
    factor = torch.ones(3, 4, dtype=torch.float64)
    factor[0, 1], factor[2] = 0.0, -2.0
    torch.testing.assert_close(other, once * factor, atol=1e-12, rtol=0)


def test_the_gradient_of_a_rate_is_minus_inner_times_outer_gradient() -> None:
    """φ = θ − α ∘ g, so ∂L/∂α = −g ∘ ∂L/∂φ."""
    rule, support, query = learner("meta-sgd"), images(1, 2), images(1, 2, seed=1)
    prior = rule.begin()
    names = list(prior)
    inner = torch.autograd.grad(rule.loss(prior, support).sum(), [prior[n] for n in names])
    fast = {n: t.detach().requires_grad_() for n, t in adapt(rule, [support]).items()}
    outer = torch.autograd.grad(rule.loss(fast, query).sum(), [fast[n] for n in names])
    got = gradient_of(rule, [support], query).grads[len(names) :]
    assert largest_difference(got, [(-g * o)[0] for g, o in zip(inner, outer, strict=True)]) < 1e-12
