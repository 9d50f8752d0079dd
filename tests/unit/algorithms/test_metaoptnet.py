"""MetaOptNet's rule: what it overrides, with what, and that its meta-gradient is exact."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algorithms.learner import Batch, adapt
from metabench.algorithms.learners.metaoptnet import MetaOptNet
from metabench.algorithms.likelihood import Categorical, Gaussian
from metabench.algorithms.network import Network, Params, linear
from metabench.algorithms.ops.convex import crammer_singer


class Body(nn.Module):
    """One tanh layer: (T, N, 4) -> (T, N, features)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features
        self.weight = nn.Parameter(torch.randn(features, 4, generator=torch.Generator().manual_seed(0)))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, fast: Params, x: Tensor) -> Tensor:
        return torch.tanh(linear(x, fast["weight"], fast["bias"]))


def classifier(head: str = "svm", penalty: float = 0.1) -> MetaOptNet:
    return MetaOptNet(Network(Body(6), 3, Categorical()), head=head, penalty=penalty).double()


def policy(**options: float) -> MetaOptNet:
    torch.manual_seed(0)
    return MetaOptNet(
        Network(Body(6), 2, Gaussian(2)), head="ridge", penalty=2.0, **({"inner_lr": 1.0} | options)
    ).double()  # type: ignore[arg-type]


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
    assert (learner.settings.head, learner.settings.penalty) == ("svm", 0.1)
    torch.testing.assert_close(adapt(learner, [support])["head.weight"], crammer_singer(z, support.y, 3, 0.1))
    got = adapt(classifier("ridge", 50.0), [support])["head.weight"]
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


def test_control_moves_the_head_by_the_ridge_regression_of_noise_that_paid_off() -> None:
    learner, support = policy(inner_lr=0.5), transitions(3, 40)
    fast = adapt(learner, [support])
    z = learner.network.features(learner.begin(), support.x).detach().numpy()
    head = learner.network.head
    before = np.concatenate([head.weight.detach().numpy(), head.bias.detach().numpy()[:, None]], 1)
    for task in range(3):
        x = np.concatenate([z[task], np.ones((40, 1))], 1)
        paid = support.w[task].numpy()[:, None] * (support.y[task].numpy() - x @ before.T)
        expected = before + 0.5 * np.linalg.solve(x.T @ x + 2 * np.trace(x.T @ x) / 7 * np.eye(7), x.T @ paid).T
        np.testing.assert_allclose(fast["head.weight"][task].detach().numpy(), expected[:, :-1], atol=1e-12)
        np.testing.assert_allclose(fast["head.bias"][task].detach().numpy(), expected[:, -1], atol=1e-12)


def test_control_without_a_penalty_is_the_natural_gradient_of_the_head() -> None:
    """F⁻¹ g of Σ A log π / N in the head, with the Fisher matrix of the states seen; its variance is σ² = 1."""
    learner, support = policy(inner_lr=0.3), transitions(1, 60)
    learner.settings = dataclasses.replace(learner.settings, penalty=1e-12)
    names = ("head.weight", "head.bias")
    prior = {n: t.detach().requires_grad_(n in names) for n, t in learner.begin().items()}
    encoded = learner.encode(support)
    gradient = torch.autograd.grad(-learner.loss(prior, support).sum(), [prior[n] for n in names])
    g = torch.cat([gradient[0][0], gradient[1][0, :, None]], 1)
    z = learner.network.features(learner.begin(), support.x).detach()[0]
    z = torch.cat([z, torch.ones(60, 1, dtype=torch.float64)], 1)
    expected = 0.3 * torch.linalg.solve(z.mT @ z / 60, g.mT).mT
    after = learner.update(prior, encoded)
    torch.testing.assert_close((after["head.weight"] - prior["head.weight"])[0], expected[:, :-1], atol=1e-8, rtol=0)
    torch.testing.assert_close((after["head.bias"] - prior["head.bias"])[0], expected[:, -1], atol=1e-8, rtol=0)


def test_control_takes_the_learned_length_and_starts_each_update_from_the_head_in_hand() -> None:
    learner, support = policy(), transitions(2, 30)
    prior, whole = learner.begin()["head.weight"], adapt(learner, [support])["head.weight"]
    for fraction in (0.0, 0.25):
        learner.scale.data.fill_(fraction)
        expected = prior + fraction * (whole - prior)
        torch.testing.assert_close(adapt(learner, [support])["head.weight"], expected)
    learner.scale.data.fill_(1.0)
    still = adapt(learner, [support, support._replace(w=torch.zeros_like(support.w))])
    torch.testing.assert_close(still["head.weight"], whole)


def test_control_leans_towards_actions_of_high_advantage() -> None:
    """From the same state the actions ±1 with advantages ±1: all of the 7 features' square is in one direction."""
    x = torch.ones(1, 100, 4, dtype=torch.float64)
    sign = torch.tensor([1.0, -1.0]).double().repeat(1, 50)
    support = Batch(x, sign.unsqueeze(-1).expand(-1, -1, 2), sign)
    learner = policy()
    before, after = (learner.predict(fast, x)[0, 0, 0].item() for fast in (learner.begin(), adapt(learner, [support])))
    assert after - before == pytest.approx(1 / (1 + 2 / 7))


def test_control_moves_alike_by_few_and_many_transitions() -> None:
    learner, support = policy(), transitions(2, 30)
    thrice = Batch(*(t.repeat(1, 3, *[1] * (t.ndim - 2)) for t in (support.x, support.y, support.w)))
    once = adapt(learner, [support])["head.weight"]
    torch.testing.assert_close(adapt(learner, [thrice])["head.weight"], once, atol=1e-12, rtol=0)
    padded = thrice._replace(valid=torch.ones(2, 90).double())
    padded.valid[:, 30:] = 0
    torch.testing.assert_close(adapt(learner, [padded])["head.weight"], once, atol=1e-12, rtol=0)


def test_control_differentiates_in_the_meta_head_and_the_body() -> None:
    learner, support, query = policy(), transitions(2, 20), transitions(2, 10, seed=1)
    learner.loss(adapt(learner, [support]), query).sum().backward()
    for name, parameter in learner.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    weight = body_weight(learner)
    (first,) = torch.autograd.grad(learner.loss(adapt(learner, [support]), query).sum(), weight, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), weight)
    assert second.isfinite().all() and second.abs().max() > 0


@pytest.mark.parametrize("examples", [4, 40])
def test_control_ignores_what_does_not_count(examples: int) -> None:
    """In the primal (many examples) and in the dual (few)."""
    learner, support = policy(), transitions(2, examples)
    more = torch.cat([torch.ones(2, examples), torch.zeros(2, 3)], 1).double()
    huge = [torch.cat([t, torch.full_like(t[:, :3], 1e6)], 1) for t in support[:3]]
    got, expected = (adapt(learner, [b])["head.weight"] for b in (Batch(*huge, valid=more), support))
    torch.testing.assert_close(got, expected, atol=1e-9, rtol=0)
