"""The outer step: its objective, its optimiser, the running statistics, and what it does when the loss diverges."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.algorithms import Batch, Diverged, GradientOuter, Learner, Workers, cross_entropy
from tests.support.checks import gradient_of
from tests.support.small import WAYS, images, learner


def outer(rule: Learner, *, sgd: float = 0.0, **options: object) -> GradientOuter:
    optimizer: torch.optim.Optimizer = torch.optim.Adam(rule.parameters(), 0.01)
    if sgd:
        optimizer = torch.optim.SGD(rule.parameters(), sgd)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    return GradientOuter(optimizer, schedule, workers=Workers(1), **options)  # type: ignore[arg-type]


def logits_and_query() -> tuple[Tensor, Batch]:
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 4, generator=g, dtype=torch.float64)
    y = torch.randint(4, (2, 5), generator=g)
    return logits, Batch(torch.empty(2, 5), y, torch.ones(2, 5), 4)


def test_cross_entropy_is_torchs_mean_for_each_task() -> None:
    logits, query = logits_and_query()
    expected = torch.stack([F.cross_entropy(a, y) for a, y in zip(logits, query.y, strict=True)])
    torch.testing.assert_close(cross_entropy(logits, query), expected, atol=1e-12, rtol=0)


def test_label_smoothing_by_hand() -> None:
    """Probabilities ½, ¼, ⅛, ⅛ and ε = 0.3: 0.7 ln 2 + 0.1 (2 + 3 + 3) ln 2 = 1.5 ln 2."""
    logits = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64).log().view(1, 1, 4)
    query = Batch(torch.empty(1, 1), torch.tensor([[0]]), torch.ones(1, 1), 4)
    assert cross_entropy(logits, query, 0.3).item() == pytest.approx(1.5 * math.log(2), abs=1e-12)


def test_label_smoothing_against_torchs_which_spreads_over_all_classes() -> None:
    """torch's ε' gives every class ε'/K, the right one too: ε' = ε K / (K − 1)."""
    logits, query = logits_and_query()
    expected = [F.cross_entropy(a, y, label_smoothing=0.3 * 4 / 3) for a, y in zip(logits, query.y, strict=True)]
    torch.testing.assert_close(cross_entropy(logits, query, 0.3), torch.stack(expected), atol=1e-12, rtol=0)


def test_a_step_is_the_optimisers_on_the_mean_over_tasks() -> None:
    rule, support, query = learner("maml"), images(4, 2), images(4, 2, seed=1)
    before = [p.detach().clone() for p in rule.parameters()]
    result = gradient_of(rule, [support], query)
    step = outer(rule, sgd=0.2)
    metrics = step.step(rule, [support], query)
    for p, old, g in zip(rule.parameters(), before, result.grads, strict=True):
        torch.testing.assert_close(p.detach(), old - 0.2 * g / 4, atol=1e-12, rtol=0)
    assert metrics["loss"] == pytest.approx(float(result.losses.mean()), abs=1e-12)
    assert metrics["accuracy"] == pytest.approx(float(result.correct.mean()), abs=1e-12)
    assert step.steps == 1
    assert step.optimizer.param_groups[0]["lr"] == 0.1


def test_the_chunk_changes_no_step() -> None:
    support, query = images(4, 2), images(4, 2, seed=1)
    rules = [learner("meta-sgd") for _ in range(3)]
    for rule, chunk in zip(rules, (0, 1, 3), strict=True):
        outer(rule, sgd=0.2, chunk=chunk).step(rule, [support], query)
    for other in rules[1:]:
        for a, b in zip(rules[0].parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_every_element_of_the_gradient_is_clamped() -> None:
    rule, support, query = learner("maml"), images(2, 2), images(2, 2, seed=1)
    before = [p.detach().clone() for p in rule.parameters()]
    grads = [g / 2 for g in gradient_of(rule, [support], query).grads]
    limit = 0.5 * max(float(g.abs().max()) for g in grads)
    outer(rule, sgd=1.0, clip=limit).step(rule, [support], query)
    for p, old, g in zip(rule.parameters(), before, grads, strict=True):
        torch.testing.assert_close(old - p.detach(), g.clamp(-limit, limit), atol=1e-12, rtol=0)


@pytest.mark.parametrize("norm", ["running", "transductive"])
def test_running_statistics_follow_as_torchs_do(norm: str) -> None:
    """With momentum 0.1, from where they were to the mean over passes and tasks; only where they are used."""
    rule, support, query = learner("protonet", norm=norm), images(3, 2), images(3, 2, seed=1)
    before = {n: b.clone() for n, b in rule.network.named_buffers()}
    body = rule.network.body
    with torch.no_grad():
        z = [b.x.flatten(2) @ body.weight.T + body.bias for b in (support, query)]  # type: ignore[operator]
    moments = {
        "body.norm.mean": torch.stack([p.mean(1) for p in z]).mean((0, 1)),
        "body.norm.var": torch.stack([p.var(1) for p in z]).mean((0, 1)),
    }
    outer(rule).step(rule, [support], query)
    for name, buffer in rule.network.named_buffers():
        expected = 0.9 * before[name] + 0.1 * moments[name] if norm == "running" else before[name]
        torch.testing.assert_close(buffer, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("poison", ["query", "support"])
def test_divergence_leaves_the_learner_as_it_was(poison: str) -> None:
    rule, batches = learner("maml", norm="running"), {"support": images(2, 2), "query": images(2, 2, seed=1)}
    batches[poison].x[1, 0] = math.nan
    before, step = copy.deepcopy(rule.state_dict()), outer(rule)
    with pytest.raises(
        Diverged, match="the loss is nan, or its gradient or a batch's statistics are not finite, at outer step 0"
    ):
        step.step(rule, [batches["support"]], batches["query"])
    assert all(torch.equal(t, before[n]) for n, t in rule.state_dict().items())
    assert step.steps == 0


def test_all_reduce_sees_sums_so_that_processes_with_other_numbers_of_tasks_average_rightly() -> None:
    """A process with one task, told that another had two, steps as one process with all three does."""
    support, query = images(3, 2), images(3, 2, seed=1)
    whole, part = learner("protonet", norm="running"), learner("protonet", norm="running")
    outer(whole, sgd=0.1).step(whole, [support], query)
    sent: list[Tensor] = []

    def shard(tasks: slice, all_reduce: object) -> dict[str, float]:
        rule = part if tasks.start == 0 else learner("protonet", norm="running")
        return outer(rule, sgd=0.1, all_reduce=all_reduce).step(rule, [support.at(tasks)], query.at(tasks))

    shard(slice(1, 3), lambda flat: sent.append(flat.clone()))
    shard(slice(0, 1), lambda flat: flat.add_(sent[0]))
    for a, b in zip(whole.state_dict().values(), part.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_a_restored_step_goes_on_as_if_nothing_had_happened() -> None:
    support, query = images(2, 2), images(2, 2, seed=1)
    rule = learner("anil")
    step = outer(rule)
    step.step(rule, [support], query)
    twin = copy.deepcopy(rule)
    resumed = outer(twin)
    resumed.load_state_dict(copy.deepcopy(step.state_dict()))
    for r, s in ((rule, step), (twin, resumed)):
        s.step(r, [support], query)
    assert resumed.steps == 2
    assert all(torch.equal(a, b) for a, b in zip(rule.parameters(), twin.parameters(), strict=True))


def test_training_learns() -> None:
    """Twenty steps on the same three tasks at least halve the query loss."""
    rule, support, query = learner("maml"), images(3, 2), images(3, 2, seed=1)
    optimizer = torch.optim.Adam(rule.parameters(), 0.05)
    step = GradientOuter(
        optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0), workers=Workers(1), smoothing=0.0
    )
    losses = [step.step(rule, [support], query)["loss"] for _ in range(20)]
    assert losses[-1] < losses[0] / 2
    assert losses[0] < 3 * math.log(WAYS)
