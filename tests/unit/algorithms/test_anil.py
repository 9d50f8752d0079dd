"""ANIL's rule: MAML on the head over features that stay."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from metabench.algorithms import ANIL, adapt
from metabench.bench.speed.peers import largest_difference
from tests.support.checks import gradient_of
from tests.support.small import images, learner


def test_it_is_logistic_regression_by_gradient_descent_on_the_features() -> None:
    rule, support = learner("anil"), images(2, 3)
    assert isinstance(rule, ANIL)
    after, z = adapt(rule, [support] * 4), rule.network.features(rule.begin(), support.x).detach()
    for task in range(2):
        weight, bias = rule.network.head.weight.detach().clone(), rule.network.head.bias.detach().clone()
        for _ in range(4):
            p = F.softmax(z[task] @ weight.T + bias, -1) - F.one_hot(support.y[task])  # ∂ cross-entropy / ∂ logits
            weight, bias = weight - 0.3 * p.T @ z[task] / 9, bias - 0.3 * p.mean(0)
        torch.testing.assert_close(after["head.weight"][task], weight, atol=1e-12, rtol=0)
        torch.testing.assert_close(after["head.bias"][task], bias, atol=1e-12, rtol=0)


def test_the_body_learns_through_the_features_of_the_support() -> None:
    """The exact gradient of the body is not the one with the inner loop's features held constant."""
    support, query = images(2, 2), images(2, 2, seed=1)
    exact, first = (gradient_of(learner("anil", first_order=f), [support] * 3, query).grads for f in (False, True))
    assert largest_difference(first[:4], exact[:4]) > 0.01


def test_it_agrees_with_maml_whose_body_stays() -> None:
    support, query = images(2, 2), images(2, 2, seed=1)
    maml = learner("maml")
    maml.adapted = lambda: ["head.weight", "head.bias"]  # type: ignore[method-assign,assignment]
    ours, theirs = (gradient_of(rule, [support] * 3, query).grads for rule in (learner("anil"), maml))
    assert largest_difference(ours, theirs) < 1e-12
    assert torch.equal(adapt(maml, [support])["body.weight"], maml.begin()["body.weight"])
