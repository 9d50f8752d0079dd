"""A plain TRPO over adapted policies: one task at a time, from formulas, sharing no code with the program.

θ is a flat vector in the order of `learner.parameters()`. What is asked of the learner is its kind and its numbers
(rates, λ), never its functions.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from metabench.algorithms import ANIL, MAML, Batch, Learner, MetaOptNet, MetaSGD, ProtoNet, TrustRegionOuter, Workers
from metabench.algorithms.outer.surrogate import flatten

Named = dict[str, Tensor]


def named(learner: Learner, theta: Tensor) -> Named:
    """θ cut into the learner's parameters by name."""
    sizes = [p.numel() for p in learner.parameters()]
    pieces = zip(learner.named_parameters(), theta.split(sizes), strict=True)
    return {name: piece.view(p.shape) for (name, p), piece in pieces}


def features(net: Named, x: Tensor, relu: bool) -> Tensor:
    for i in (0, 1):
        x = x @ net[f"network.body.{i}.weight"].T + net[f"network.body.{i}.bias"]
        x = x.clamp(min=0) if relu else x.tanh()
    return x


def law(learner: Learner, net: Named, x: Tensor) -> Independent:
    body: Any = learner.network.body
    mean = features(net, x, body.activation == "relu") @ net["network.head.weight"].T + net["network.head.bias"]
    log_std = net["network.likelihood.log_std"].clamp(min=learner.network.likelihood.least)  # type: ignore[arg-type]
    return Independent(Normal(mean, log_std.exp().expand_as(mean)), 1)


def counted(task: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """x, y, w and old of one task's examples that count."""
    keep = torch.ones_like(task.w[0], dtype=torch.bool) if task.valid is None else task.valid[0] == 1
    return task.x[0][keep], task.y[0][keep], task.w[0][keep], None if task.old is None else task.old[0][keep]


def adapted(learner: Learner, theta: Tensor, supports: list[Batch]) -> Named:
    """φ_K of one task."""
    prior = named(learner, theta)
    net = dict(prior)
    for support in supports:
        x, y, w, old = counted(support)
        if isinstance(learner, MAML | MetaSGD):
            log_prob = law(learner, net, x).log_prob(y)
            loss = -(w * (log_prob if old is None else (log_prob - old).exp())).mean()
            names = [n for n in net if n.startswith("network.") and (type(learner) is not ANIL or ".head." in n)]
            grads = torch.autograd.grad(loss, [net[n] for n in names], create_graph=True)
            for i, (n, g) in enumerate(zip(names, grads)):
                rate = prior[f"rates.{i}"] if isinstance(learner, MetaSGD) else learner.settings.inner_lr
                net[n] = net[n] - rate * (g.detach() if learner.settings.first_order else g)
        elif isinstance(learner, ProtoNet):
            seen = torch.cat([x, y], 1)
            for i in (0, 2):
                seen = (seen @ prior[f"prototype.embed.{i}.weight"].T + prior[f"prototype.embed.{i}.bias"]).tanh()
            shift = prior["prototype.shift.weight"] @ (w[:, None] * seen).mean(0)
            net["network.body.0.bias"] = net["network.body.0.bias"] + shift
        else:
            assert isinstance(learner, MetaOptNet)
            z = torch.cat([features(prior, x, False), torch.ones_like(w)[:, None]], 1)
            head = torch.cat([net["network.head.weight"], net["network.head.bias"][:, None]], 1)
            paid = w[:, None] * (y - z @ head.T)
            gram, eye = z.T @ z, torch.eye(z.shape[1]).to(z)
            move = torch.linalg.solve(gram + learner.settings.penalty * gram.trace() / len(gram) * eye, z.T @ paid).T
            head = head + learner.settings.inner_lr * prior["scale"] * move
            net["network.head.weight"], net["network.head.bias"] = head[:, :-1], head[:, -1]
    return net


def one_by_one(supports: list[Batch], query: Batch) -> list[tuple[list[Batch], Batch]]:
    return [([s.at(slice(t, t + 1)) for s in supports], query.at(slice(t, t + 1))) for t in range(len(query.x))]


def laws(learner: Learner, theta: Tensor, supports: list[Batch], query: Batch) -> list[Independent]:
    """The adapted policy of each task, on its query's observations."""
    tasks = one_by_one(supports, query)
    return [law(learner, adapted(learner, theta, s), counted(q)[0]) for s, q in tasks]


def surrogate_of(policies: list[Independent], query: Batch) -> Tensor:
    values = []
    for (_, task), policy in zip(one_by_one([], query), policies):
        _, y, w, old = counted(task)
        assert old is not None
        values.append(((policy.log_prob(y) - old).exp() * w).mean())
    return torch.stack(values).mean()


def mean_kl(olds: list[Independent], news: list[Independent]) -> Tensor:
    return torch.stack([kl_divergence(a, b).mean() for a, b in zip(olds, news)]).mean()


def frozen(policies: list[Independent]) -> list[Independent]:
    return [Independent(Normal(p.base_dist.loc.detach(), p.base_dist.scale.detach()), 1) for p in policies]  # type: ignore[attr-defined]


def fisher(learner: Learner, theta: Tensor, supports: list[Batch], query: Batch) -> Tensor:
    """The Hessian of the mean KL at θ, dense."""
    theta = theta.detach().requires_grad_()
    news = laws(learner, theta, supports, query)
    (grad,) = torch.autograd.grad(mean_kl(frozen(news), news), theta, create_graph=True)
    return torch.stack([torch.autograd.grad(g, theta, retain_graph=True)[0] for g in grad])


def solve(matrix: Tensor, b: Tensor, steps: int) -> Tensor:
    """So many steps of conjugate gradient from zero, in the textbook's form."""
    x = torch.zeros_like(b)
    r = p = b
    for _ in range(steps):
        alpha = (r @ r) / (p @ matrix @ p)
        x, before, r = x + alpha * p, r, r - alpha * matrix @ p
        p = r + (r @ r) / (before @ before) * p
    return x


def reference_step(
    learner: Learner, supports: list[Batch], query: Batch, radius: float, damping: float, iterations: int
) -> tuple[Tensor, dict[str, float]]:
    """θ after the step, and the metrics; a dense solve for 0 iterations."""
    theta = flatten(learner.parameters()).detach().requires_grad_()
    news = laws(learner, theta, supports, query)
    olds, value = frozen(news), surrogate_of(news, query)
    (g,) = torch.autograd.grad(value, theta)
    matrix = fisher(learner, theta, supports, query) + damping * torch.eye(len(g)).to(g)
    x = solve(matrix, g, iterations) if iterations else torch.linalg.solve(matrix, g)
    full = math.sqrt(2 * radius / float(x @ matrix @ x)) * x
    for i in range(15):
        moved = theta.detach() + 0.8**i * full
        after = laws(learner, moved.requires_grad_(), supports, query)
        gain, kl = (float(v.detach()) for v in (surrogate_of(after, query) - value, mean_kl(olds, after)))
        if kl <= radius and gain > 0:
            return moved.detach(), {"surrogate": gain, "kl": kl, "tries": i + 1.0}
    return theta.detach(), {"surrogate": 0.0, "kl": 0.0, "tries": 15.0}


def assert_step_is_the_references(
    learner: Learner,
    supports: list[Batch],
    query: Batch,
    *,
    radius: float = 0.01,
    damping: float = 0.1,
    iterations: int = 5,
    tolerance: float = 1e-7,
) -> dict[str, float]:
    """θ after a step, and its metrics, are the plain program's; differences relative to the step.

    0 iterations: the program runs as many as θ is long, the reference solves. Conjugate gradient makes rounding grow
    with every iteration, so few of them and much damping let the two be held to many digits.
    """
    before = flatten(learner.parameters()).detach()
    theta, expected = reference_step(learner, supports, query, radius, damping, iterations)
    steps = iterations or len(before)
    outer = TrustRegionOuter(workers=Workers(1), radius=radius, damping=damping, iterations=steps)
    metrics = outer.step(learner, supports, query)
    off = float((flatten(learner.parameters()).detach() - theta).abs().max() / (theta - before).abs().max())
    assert off <= tolerance, f"θ is off by {off:.1e} of the step"
    for name, value in expected.items():
        assert abs(metrics[name] - value) <= tolerance * max(abs(value), 1e-3), f"{name}: {metrics[name]}, not {value}"
    return metrics
