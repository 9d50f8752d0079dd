"""MetaOptNet's rule: what it overrides, with what, and that its meta-gradient is exact."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algorithms.convex import crammer_singer, ridge
from algorithms.learner import Batch, adapt
from algorithms.likelihood import Categorical, Gaussian
from algorithms.metaoptnet import MetaOptNet, advantage_weights
from algorithms.network import Network, Params, linear


class Body(nn.Module):
    """One tanh layer: (T, N, 4) -> (T, N, features)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features
        self.weight = nn.Parameter(torch.randn(features, 4, generator=torch.Generator().manual_seed(0)))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, fast: Params, x: Tensor) -> Tensor:
        return torch.tanh(linear(x, fast["weight"], fast["bias"]))


def classifier(head: str = "svm", penalty: float | None = None) -> MetaOptNet:
    return MetaOptNet(Network(Body(6), 3, Categorical()), head=head, penalty=penalty).double()


def policy(**options: float) -> MetaOptNet:
    torch.manual_seed(0)
    return MetaOptNet(Network(Body(6), 2, Gaussian(2)), head="ridge", penalty=2.0, **options).double()  # type: ignore[arg-type]


def body_weight(learner: MetaOptNet) -> nn.Parameter:
    body = learner.network.body
    assert isinstance(body, Body)
    return body.weight


def images(tasks: int, shots: int, seed: int = 0) -> Batch:
    x = torch.randn(tasks, 3 * shots, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    y = torch.arange(3).repeat(shots).expand(tasks, -1)
    return Batch(x, y, torch.ones(tasks, 3 * shots, dtype=torch.float64), 3)


def transitions(tasks: int, examples: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    x, y, w = (torch.randn(tasks, examples, k, generator=generator, dtype=torch.float64) for k in (4, 2, 1))
    return Batch(x, y, w.squeeze(-1))


@pytest.mark.parametrize("head", ["svm", "ridge"])
def test_it_overrides_the_head_and_nothing_else(head: str) -> None:
    learner, support = classifier(head), images(2, 2)
    before, after = learner.begin(), adapt(learner, [support])
    changed = {n for n in before if after[n].shape != before[n].shape or not torch.equal(after[n], before[n])}
    assert changed == {"head.weight", "head.bias"}
    assert after["head.weight"].shape == (2, 3, 6) and torch.equal(after["head.bias"], torch.zeros(2, 3).double())


def test_the_heads_are_the_optima_of_the_paper() -> None:
    """C = 0.1; λ = 50 with scores twice the regression's, which is what 1ᵀ(½αᵀ(ZZᵀ + λI)α − 2Yα) gives."""
    support = images(2, 4)
    learner = classifier("svm")
    z = learner.network.features(learner.begin(), support.x)
    assert (learner.penalty, classifier("ridge").penalty) == (0.1, 50.0)
    torch.testing.assert_close(adapt(learner, [support])["head.weight"], crammer_singer(z, support.y, 3, 0.1))
    got = adapt(classifier("ridge"), [support])["head.weight"]
    for task in range(2):
        features, labels = z[task].detach().numpy(), np.eye(3)[support.y[task].numpy()]
        alpha = np.linalg.solve(features @ features.T + 50 * np.eye(12), 2 * labels)
        np.testing.assert_allclose(got[task].detach().numpy(), alpha.T @ features, atol=1e-12)


@pytest.mark.parametrize("head", ["svm", "ridge"])
def test_the_scale_multiplies_the_logits_and_is_learned(head: str) -> None:
    learner, support, query = classifier(head), images(2, 2), images(2, 3, seed=1)
    assert learner.scale.item() == 1.0
    once = learner.predict(adapt(learner, [support]), query.x)
    learner.scale.data.fill_(7.0)
    logits = learner.predict(adapt(learner, [support]), query.x)
    torch.testing.assert_close(logits, 7 * once)
    learner.loss(adapt(learner, [support]), query).sum().backward()
    assert learner.scale.grad is not None
    by_hand = learner.scale.detach().clone().requires_grad_()
    F.cross_entropy((by_hand * once.detach()).flatten(0, 1), query.y.flatten(), reduction="sum").div(9).backward()
    torch.testing.assert_close(learner.scale.grad, by_hand.grad)


@pytest.mark.parametrize("head", ["svm", "ridge"])
def test_the_meta_gradient_is_that_of_finite_differences(head: str) -> None:
    learner, support, query = classifier(head, 0.3), images(2, 2), images(2, 3, seed=1)
    weight = body_weight(learner)

    def loss() -> Tensor:
        return learner.loss(adapt(learner, [support]), query).sum()

    (gradient,) = torch.autograd.grad(loss(), [weight])
    step = 1e-6
    for index in [(0, 0), (3, 2), (5, 1)]:
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[index] += sign * step
                values.append(loss().item())
                weight[index] -= sign * step
        assert gradient[index].item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("head", ["svm", "ridge"])
def test_relabelling_the_ways_permutes_the_logits(head: str) -> None:
    learner, support, query = classifier(head), images(2, 3), images(2, 3, seed=1)
    order = torch.tensor([2, 0, 1])
    relabelled = support._replace(y=order[support.y])
    logits = learner.predict(adapt(learner, [support]), query.x)
    permuted = learner.predict(adapt(learner, [relabelled]), query.x)
    torch.testing.assert_close(permuted[..., order], logits, atol=1e-10, rtol=0)


@pytest.mark.parametrize("head", ["svm", "ridge"])
def test_batched_equals_one_by_one_and_a_second_update_changes_nothing(head: str) -> None:
    learner, support = classifier(head), images(4, 3)
    together = adapt(learner, [support])["head.weight"]
    torch.testing.assert_close(adapt(learner, [support, support])["head.weight"], together, atol=0, rtol=0)
    for task in range(4):
        alone = adapt(learner, [support.at(slice(task, task + 1))])["head.weight"]
        torch.testing.assert_close(alone[0], together[task], atol=1e-10, rtol=0)


def test_it_separates_what_can_be_separated() -> None:
    learner, support = classifier("svm", 10.0), images(3, 1)
    logits = learner.predict(adapt(learner, [support]), support.x)
    assert (logits.argmax(-1) == support.y).all()


def test_an_unknown_head_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="head is 'lda'; choose one of svm, ridge"):
        classifier("lda")


# Control ----------------------------------------------------------------------------------------------------


def test_control_is_weighted_ridge_shrunk_to_the_meta_head() -> None:
    learner, support = policy(), transitions(3, 40)
    fast = adapt(learner, [support])
    z = learner.network.features(learner.begin(), support.x).detach().numpy()
    head = learner.network.head
    prior = np.concatenate([head.weight.detach().numpy(), head.bias.detach().numpy()[:, None]], 1)
    for task in range(3):
        a = support.w[task].numpy()
        w = np.minimum(np.exp((a - a.mean()) / a.std()), 20)
        w = np.diag(w / w.mean())
        x = np.concatenate([z[task], np.ones((40, 1))], 1)
        left, right = x.T @ w @ x + 2 * np.eye(7), x.T @ w @ support.y[task].numpy() + 2 * prior.T
        expected = np.linalg.solve(left, right).T
        np.testing.assert_allclose(fast["head.weight"][task].detach().numpy(), expected[:, :-1], atol=1e-8)
        np.testing.assert_allclose(fast["head.bias"][task].detach().numpy(), expected[:, -1], atol=1e-8)


def test_control_takes_the_learned_fraction_of_the_way_from_the_head_in_hand() -> None:
    learner, support = policy(), transitions(2, 30)
    prior, optimum = learner.begin()["head.weight"], adapt(learner, [support])["head.weight"]
    for fraction in (0.0, 0.25):
        learner.scale.data.fill_(fraction)
        expected = prior + fraction * (optimum - prior)
        torch.testing.assert_close(adapt(learner, [support])["head.weight"], expected)
    learner.scale.data.fill_(1.0)
    again = adapt(learner, [support, support._replace(w=-support.w)])
    assert again["head.weight"].shape == (2, 2, 6) and not torch.allclose(again["head.weight"], optimum)


def test_control_leans_towards_actions_of_high_advantage() -> None:
    """Two actions from the same state, ±1: the mean moves to the better one, and further when colder."""
    x = torch.ones(1, 2, 4, dtype=torch.float64)
    y = torch.tensor([[[1.0, 1.0], [-1.0, -1.0]]], dtype=torch.float64)
    support = Batch(x.repeat(1, 50, 1), y.repeat(1, 50, 1), torch.tensor([[1.0, -1.0]]).double().repeat(1, 50))
    means = [
        policy(temperature=t).predict(adapt(policy(temperature=t), [support]), x)[0, 0, 0].item() for t in (1.0, 0.25)
    ]
    # 100 examples against λ = 2: the mean is nearly the weighted average of ±1, tanh(1 / temperature).
    assert means[0] == pytest.approx(math.tanh(1.0), abs=0.02) and means[1] > 0.95


def test_control_differentiates_in_the_meta_head_and_the_body() -> None:
    learner, support, query = policy(), transitions(2, 20), transitions(2, 10, seed=1)
    learner.loss(adapt(learner, [support]), query).sum().backward()
    for name, parameter in learner.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    weight = body_weight(learner)
    (first,) = torch.autograd.grad(learner.loss(adapt(learner, [support]), query).sum(), weight, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), weight)
    assert second.isfinite().all() and second.abs().max() > 0


def weights_of(advantages: Tensor, valid: Tensor | None = None) -> Tensor:
    return advantage_weights(Batch(advantages, advantages, advantages, valid=valid), 1.0, 20.0)


def test_advantage_weights() -> None:
    a = torch.tensor([[1.0, 2.0, 3.0], [-40.0, 0.0, 40.0]], dtype=torch.float64)
    weights = weights_of(a.requires_grad_())
    assert not weights.requires_grad
    torch.testing.assert_close(weights.mean(1), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(weights[0], weights[1])  # shift and scale do not matter
    ratio = math.exp(math.sqrt(1.5))
    torch.testing.assert_close(weights[0, 1:] / weights[0, :-1], torch.full((2,), ratio, dtype=torch.float64))
    assert torch.equal(weights_of(torch.full((1, 4), 3.0)), torch.ones(1, 4))
    outlier = torch.cat([torch.zeros(1, 999), torch.ones(1, 1)], 1)
    cut = weights_of(outlier)
    assert (cut[0, -1] / cut[0, 0]).item() == pytest.approx(20 / math.exp(-1 / math.sqrt(999)), rel=1e-3)


def test_an_example_that_does_not_count_weighs_nothing_and_changes_no_other() -> None:
    a = torch.tensor([[1.0, 1e30, 2.0, 3.0, -1e30]], dtype=torch.float64)
    valid = torch.tensor([[1.0, 0.0, 1.0, 1.0, 0.0]], dtype=torch.float64)
    got = weights_of(a, valid)
    assert torch.equal(got[0, [1, 4]], torch.zeros(2).double())
    torch.testing.assert_close(got[:, [0, 2, 3]], weights_of(a[:, [0, 2, 3]]), atol=1e-12, rtol=0)


@pytest.mark.parametrize("examples", [4, 40])
def test_control_ignores_what_does_not_count(examples: int) -> None:
    """In the primal (many examples) and in the dual (few)."""
    learner, support = policy(), transitions(2, examples)
    more = torch.cat([torch.ones(2, examples), torch.zeros(2, 3)], 1).double()
    huge = [torch.cat([t, torch.full_like(t[:, :3], 1e6)], 1) for t in support[:3]]
    got, expected = (adapt(learner, [b])["head.weight"] for b in (Batch(*huge, valid=more), support))
    torch.testing.assert_close(got, expected, atol=1e-9, rtol=0)


def test_ridge_with_a_prior_of_one_task_serves_all() -> None:
    support = transitions(3, 5)
    prior = torch.randn(1, 2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shared, own = (ridge(support.x, support.y, 1.0, prior=p) for p in (prior, prior.expand(3, -1, -1)))
    assert torch.equal(shared, own)
