"""MAML's rule; that it is gradient descent on a plain module is in tests/property."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from metabench.algorithms import MAML, Batch, Likelihood, Network, Workers, adapt, meta_gradient
from metabench.algorithms.network import Params
from metabench.bench.speed.peers import largest_difference
from tests.support.checks import gradient_of
from tests.support.small import images, learner


class Identity(nn.Module):
    """Features are the inputs."""

    features = 4

    def forward(self, fast: Params, x: Tensor) -> Tensor:
        return x


class LinearLaw(Likelihood):
    """log p = outputs · y: the loss is linear in the head, and its second derivatives vanish."""

    def log_prob(self, outputs: Tensor, y: Tensor) -> Tensor:
        return (outputs * y).sum(-1)


def gradients(first_order: bool, law: Likelihood) -> list[Tensor]:
    torch.manual_seed(0)
    rule = MAML(Network(Identity(), 2, law).double(), inner_lr=0.5, first_order=first_order)
    g = torch.Generator().manual_seed(1)
    x, y, w = (torch.randn(2, 6, *s, generator=g, dtype=torch.float64) for s in ((4,), (2,), ()))
    batch = Batch(x, y, w)
    result = meta_gradient(
        rule, [batch] * 2, batch, lambda outputs, _: outputs.pow(3).mean((1, 2)), chunk=2, workers=Workers(1)
    )
    return result.grads


def test_first_order_is_another_gradient_in_general() -> None:
    support, query = images(2, 2), images(2, 2, seed=1)
    exact, first = (gradient_of(learner("maml", first_order=f), [support] * 2, query).grads for f in (False, True))
    assert largest_difference(first, exact) > 0.01


def test_first_order_is_exact_where_second_derivatives_vanish() -> None:
    class SquaredLaw(LinearLaw):
        def log_prob(self, outputs: Tensor, y: Tensor) -> Tensor:
            return -(outputs - y).square().sum(-1)

    assert largest_difference(gradients(True, LinearLaw()), gradients(False, LinearLaw())) < 1e-14
    assert largest_difference(gradients(True, SquaredLaw()), gradients(False, SquaredLaw())) > 0.01


def test_first_order_meta_gradient_is_the_gradient_at_the_adapted_parameters() -> None:
    rule, support, query = learner("maml", first_order=True), images(1, 2), images(1, 2, seed=1)
    fast = {n: t.detach().requires_grad_() for n, t in adapt(rule, [support] * 3).items()}
    expected = torch.autograd.grad(rule.loss(fast, query).sum(), list(fast.values()))
    got = gradient_of(rule, [support] * 3, query).grads
    assert largest_difference(got, [g[0] for g in expected]) < 1e-12


def test_a_rate_of_zero_changes_nothing_but_the_task_axis() -> None:
    rule = learner("maml")
    assert isinstance(rule, MAML)
    rule.settings = dataclasses.replace(rule.settings, inner_lr=1e-30)
    after = adapt(rule, [images(2, 2)])
    assert all(torch.equal(after[n], p.expand(2, *p.shape[1:])) for n, p in rule.begin().items())


def test_it_adapts_every_parameter_and_lowers_the_support_loss() -> None:
    rule, support = learner("maml"), images(3, 3)
    losses = [rule.loss(adapt(rule, [support] * k), support) for k in (0, 1, 5)]
    assert (losses[1] < losses[0]).all()
    assert (losses[2] < losses[1]).all()
    after = adapt(rule, [support])
    moved = {n: float((after[n] - p).detach().abs().max()) for n, p in rule.begin().items()}
    assert moved.pop("body.bias") < 1e-12, "batch norm takes a bias away"
    assert min(moved.values()) > 1e-3
