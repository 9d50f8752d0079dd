"""A plain ProMP: one task at a time, torch's distributions, and the reference adaptation of `tests.support.trpo`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Independent, kl_divergence

from metabench.algorithms import Batch, Learner, ProximalOuter, Workers
from metabench.algorithms.outer.surrogate import flatten
from tests.support.policies import meta_batch, policy
from tests.support.trpo import adapted, counted, frozen, law, one_by_one

RATE, CLIP, PENALTY, EPOCHS = 0.05, 0.1, 0.2, 3


def passed(learner: Learner, theta: Tensor, supports: list[Batch], query: Batch) -> list[Independent]:
    """One task's φ_k on support k for each k, then φ_K on the query."""
    return [
        law(learner, adapted(learner, theta, supports[:k]), counted(seen)[0])
        for k, seen in enumerate([*supports, query])
    ]


def objective(policies: list[Independent], olds: list[Independent], query: Batch) -> Tensor:
    _, y, w, old = counted(query)
    assert old is not None
    ratio = (policies[-1].log_prob(y) - old).exp()
    gain = torch.minimum(ratio * w, ratio.clamp(1 - CLIP, 1 + CLIP) * w).mean()
    inner = torch.stack([kl_divergence(a, b).mean() for a, b in zip(olds[:-1], policies[:-1])]).mean()
    return gain - PENALTY * inner


def reference_epochs(learner: Learner, supports: list[Batch], query: Batch) -> Tensor:
    """θ after the epochs, by torch's Adam on one flat vector."""
    theta = flatten(learner.parameters()).detach().requires_grad_()
    adam = torch.optim.Adam([theta], RATE)
    tasks = one_by_one(supports, query)
    olds = [frozen(passed(learner, theta, *task)) for task in tasks]
    for _ in range(EPOCHS):
        adam.zero_grad()
        values = [objective(passed(learner, theta, *t), old, t[1]) for t, old in zip(tasks, olds)]
        (-torch.stack(values).mean()).backward()
        adam.step()
    return theta.detach()


def assert_epochs_are_the_references(kind: str) -> None:
    """θ after a step of few, long epochs is the plain program's."""
    rule = policy(kind)
    supports, query = meta_batch(rule, tasks=2, updates=2, ratio=True)
    expected = reference_epochs(rule, supports, query)
    adam = torch.optim.Adam(rule.parameters(), RATE)
    step = ProximalOuter(adam, workers=Workers(1), epochs=EPOCHS, clip=CLIP, penalty=PENALTY)
    step.step(rule, supports, query)
    off = float((flatten(rule.parameters()).detach() - expected).abs().max())
    assert off < 1e-8, f"{kind}: θ is off by {off:.1e}"
