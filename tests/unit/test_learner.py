"""The contract: the prior, the fold, what is encoded once, and the loss."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from algorithms import MAML, Batch, Categorical, Gaussian, Network, adapt
from algorithms.learner import gradient_step, per_task
from tests.small import WAYS, Smooth, images, learner, network


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


def test_two_likelihoods_share_one_network() -> None:
    assert isinstance(network().likelihood, Categorical)
    assert Network(Smooth(4), 2, Gaussian(2)).head.out_features == 2
