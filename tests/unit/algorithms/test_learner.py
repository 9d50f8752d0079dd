"""The contract: the prior, the fold, what is encoded once, and the loss."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from metabench.algorithms import MAML, Batch, Categorical, Gaussian, Network, adapt, finite
from metabench.algorithms.learner import gradient_step, per_task, trajectory
from tests.support.policies import POLICIES, meta_batch, policy
from tests.support.small import WAYS, Smooth, images, learner, network


def test_the_prior_is_every_parameter_with_a_task_axis_of_one() -> None:
    rule = learner("maml")
    prior = rule.begin()
    assert prior.keys() == {n for n, _ in rule.network.named_parameters()}
    for name, p in rule.network.named_parameters():
        assert prior[name].shape == (1, *p.shape)
        assert torch.equal(prior[name][0], p)


@pytest.mark.parametrize(
    ("norm", "training", "holds"),
    [("running", False, True), ("running", True, False), ("transductive", False, False), ("support", False, False)],
)
def test_the_prior_holds_running_statistics_only_where_they_are_used(norm: str, training: bool, holds: bool) -> None:
    rule = learner("maml", norm=norm).train(training)
    assert ({"body.norm.mean", "body.norm.var"} <= rule.begin().keys()) == holds


def test_an_unknown_norm_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="norm is 'batch'; choose one of transductive, running, support"):
        MAML(network(), inner_lr=0.1, norm="batch")


def test_adapt_is_the_fold_of_update() -> None:
    rule, supports = learner("maml"), [images(2, 2, seed=s) for s in (0, 1)]
    fast = rule.begin()
    for support in supports:
        fast = rule.update(fast, rule.encode(support))
    folded = adapt(rule, supports)
    assert all(torch.equal(fast[n], folded[n]) for n in fast)
    assert all(t.shape[0] == 2 for t in folded.values())


@pytest.mark.parametrize(("kind", "calls"), [("anil", 1), ("protonet", 1), ("maml", 5)])
def test_a_repeated_support_is_embedded_once_where_only_features_are_read(
    kind: str, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule, support = learner(kind), images(2, 2)
    seen: list[int] = []
    forward = Smooth.forward
    monkeypatch.setattr(Smooth, "forward", lambda self, fast, x: seen.append(1) or forward(self, fast, x))
    adapt(rule, [support] * 5)
    assert len(seen) == calls
    seen.clear()
    adapt(rule, [images(2, 2), images(2, 2)])
    assert len(seen) == 2, "equal supports that are different objects may hold different data"


def test_the_loss_is_the_weighted_mean_negative_log_likelihood_of_each_task() -> None:
    rule, batch = learner("maml"), images(2, 2)
    batch = batch._replace(w=torch.rand(batch.w.shape, generator=torch.Generator().manual_seed(0)).double())
    logits = rule.predict(rule.begin(), batch.x)
    each = F.cross_entropy(logits.flatten(0, 1), batch.y.flatten(), reduction="none").view(2, -1)
    torch.testing.assert_close(rule.loss(rule.begin(), batch), (batch.w * each).mean(1))


def test_the_support_loss_reads_features_where_the_rule_does() -> None:
    rule, support = learner("anil"), images(2, 2)
    encoded = rule.encode(support)
    assert encoded.given is support
    assert encoded.read.x.shape == (2, 2 * WAYS, 4)
    torch.testing.assert_close(rule.support_loss(rule.begin(), encoded.read), rule.loss(rule.begin(), support))


def test_gradients_are_each_tasks_own() -> None:
    rule, support = learner("maml"), images(2, 2)
    names = ["head.weight", "body.norm.bias"]
    fast = per_task(rule.begin(), names, 2)
    together = gradient_step(rule, fast, names, support)
    for task in range(2):
        one = support.at(slice(task, task + 1))
        for a, b in zip(together, gradient_step(rule, rule.begin(), names, one), strict=True):
            torch.testing.assert_close(a[task], b[0], atol=1e-12, rtol=0)


@pytest.mark.parametrize(("exact", "has_graph"), [(True, True), (False, False)])
def test_a_first_order_gradient_has_no_graph(exact: bool, has_graph: bool) -> None:
    rule, support = learner("maml"), images(1, 2)
    (grad,) = gradient_step(rule, rule.begin(), ["head.weight"], support, exact=exact)
    assert grad.requires_grad == has_graph
    with torch.no_grad():
        (grad,) = gradient_step(rule, rule.begin(), ["head.weight"], support, exact=exact)
    assert not grad.requires_grad


def test_a_slice_of_a_batch_keeps_its_ways() -> None:
    part = images(3, 2).at(slice(1, 3))
    assert part.ways == WAYS
    assert part.x.shape[0] == part.y.shape[0] == part.w.shape[0] == 2
    torch.testing.assert_close(part.x, images(3, 2).x[1:])


def test_policy_gradient_step_by_hand() -> None:
    """A linear Gaussian policy: ∂/∂b of −mean w log π = −mean w (a − μ) / σ², and MAML also moves log σ."""
    rule = MAML(Network(Smooth(4), 2, Gaussian(2, std=0.5)).double(), inner_lr=0.1)
    g = torch.Generator().manual_seed(0)
    x, y, w = (torch.randn(1, 6, *s, generator=g, dtype=torch.float64) for s in ((4,), (2,), ()))
    after = adapt(rule, [Batch(x, y, w)])
    mean = rule.predict(rule.begin(), x).chunk(2, -1)[0]
    bias = rule.network.head.bias + 0.1 * (w.unsqueeze(-1) * (y - mean) / 0.25).mean(1)
    torch.testing.assert_close(after["head.bias"], bias)
    log_std = torch.full((1, 2), 0.5, dtype=torch.float64).log()
    log_std = log_std + 0.1 * (w.unsqueeze(-1) * ((y - mean).square() / 0.25 - 1)).mean(1)
    torch.testing.assert_close(after["likelihood.log_std"], log_std, atol=1e-7, rtol=0)  # log 0.5 begins in float32


def test_a_slice_of_a_batch_keeps_what_counts_and_the_old_log_probabilities() -> None:
    x, w = torch.arange(24.0).view(3, 4, 2), torch.arange(12.0).view(3, 4)
    batch = Batch(x, x, w, valid=w + 100, old=w + 200)
    part = batch.at(slice(1, 2))
    assert [t.tolist() for t in (part.w, part.valid, part.old)] == [  # type: ignore[union-attr]
        [[4.0, 5.0, 6.0, 7.0]],
        [[104.0, 105.0, 106.0, 107.0]],
        [[204.0, 205.0, 206.0, 207.0]],
    ]
    assert torch.equal(batch.every(3).x, x[:, [0, 3]]) and torch.equal(batch.every(3).old, w[:, [0, 3]] + 200)  # type: ignore[arg-type]
    assert batch._replace(valid=None, old=None).at(slice(0, 2))[4:] == (None, None)


def test_means_are_over_what_counts() -> None:
    values = torch.tensor([[1.0, 2.0, 6.0], [1.0, 2.0, 1e30], [5.0, 5.0, 5.0]])
    valid = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    batch = Batch(values, values, values, valid=valid)
    assert batch.mean(values).tolist() == [3.0, 1.5, 0.0]
    assert torch.equal(batch.mean(values.unsqueeze(-1)), torch.tensor([[3.0], [1.5], [0.0]]))
    assert batch._replace(valid=None).mean(values)[0] == 3.0


@pytest.mark.parametrize("kind", POLICIES)
def test_the_loss_and_an_update_ignore_what_does_not_count(kind: str) -> None:
    rule = policy(kind)
    for ratio in (False, True):
        (support,), _ = meta_batch(rule, ratio=ratio)
        short, rows = support.at(slice(1, 2)), 6  # of nine, the last three do not count
        cut = short._replace(x=short.x[:, :rows], y=short.y[:, :rows], w=short.w[:, :rows], valid=None)
        cut = cut._replace(old=short.old[:, :rows]) if short.old is not None else cut
        torch.testing.assert_close(rule.loss(rule.begin(), short), rule.loss(rule.begin(), cut))
        full, bare = adapt(rule, [short]), adapt(rule, [cut])
        for name in full:
            torch.testing.assert_close(full[name], bare[name], atol=1e-12, rtol=0)


def test_ratios_have_the_scores_gradient_and_the_returns_curvature() -> None:
    """∇²(p / p_old) at p = p_old is ∇²log p + ∇log p ∇log pᵀ; for the mean of N(μ, 1), −1 + (y − μ)²."""
    law = Gaussian(1).double()
    rule = MAML(Network(Smooth(4), 1, law).double(), inner_lr=0.1)
    y, w = torch.tensor([[[0.5], [2.0]]]).double(), torch.tensor([[3.0, -1.0]]).double()
    old = law.log_prob(torch.zeros(1, 2, 2).double(), y)
    batch = Batch(y, y, w, old=old)

    def loss(mean: torch.Tensor, of: Batch) -> torch.Tensor:
        outputs = torch.cat([mean.expand(1, 2, 1), torch.zeros(1, 2, 1).double()], -1)
        return rule.loss_of(outputs, of).sum()

    for of, curvature in ((batch._replace(old=None), 3 - 1), (batch, 3 * (1 - 0.25) - 1 * (1 - 4))):
        mean = torch.zeros((), dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(loss(mean, of), mean, create_graph=True)
        (second,) = torch.autograd.grad(slope, mean)
        assert slope.item() == pytest.approx(-(3 * 0.5 - 2) / 2)
        assert second.item() == pytest.approx(curvature / 2)


def test_a_ratio_needs_what_was_drawn() -> None:
    (support,), _ = meta_batch(policy("maml"))
    with pytest.raises(ValueError, match="the batch does not hold the log-probabilities of its actions"):
        support.ratio(support.w)


def test_a_trajectory_ends_where_adapt_does() -> None:
    rule, supports = learner("maml"), [images(2, 2, seed=s) for s in (0, 1)]
    first, second, third = trajectory(rule, supports)
    assert all(torch.equal(first[n], t) for n, t in rule.begin().items())
    assert all(torch.equal(second[n], t) for n, t in adapt(rule, supports[:1]).items())
    assert all(torch.equal(third[n], t) for n, t in adapt(rule, supports).items())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_task_is_finite_where_all_its_outputs_are(bad: float) -> None:
    outputs = torch.full((3, 5, 2), 1e30)
    outputs[1, 4, 0] = bad
    assert finite(outputs).tolist() == [True, False, True]


def test_two_likelihoods_share_one_network() -> None:
    assert isinstance(network().likelihood, Categorical)
    assert Network(Smooth(4), 2, Gaussian(2)).head.out_features == 2
