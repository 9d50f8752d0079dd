"""Softmax classifiers of T tasks at once, fitted by mini-batch gradient descent with momentum.

A classifier's logits are x Wᵀ + b, where W and b are functions of its parameters: a `Head` says which, and takes the
gradient in (W, b) back to the parameters. The loss is mean cross-entropy, whose gradient in the logits is p − 1[y], so
that no graph is built, and where gradients are enabled the whole fit can be differentiated.

Legend: T tasks, N examples, K classes, D features, B examples of a mini-batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from metabench.algorithms.learner import Batch
from metabench.algorithms.ops.convex import one_hot


class Linear(NamedTuple):
    """A classifier's weight (T, K, D) and bias (T, K), or its gradient in these."""

    weight: Tensor
    bias: Tensor


class Head(Protocol):
    """A way to parametrise a classifier."""

    def read(self, parameters: Sequence[Tensor]) -> Linear:
        """The classifier that the parameters, (T, *shape) each, stand for."""
        ...

    def pull(self, parameters: Sequence[Tensor], grad: Linear) -> list[Tensor]:
        """The gradient in the parameters, from that in the weight and the bias."""
        ...


class LinearHead:
    """The parameters are weight and bias."""

    def read(self, parameters: Sequence[Tensor]) -> Linear:
        """As they are."""
        return Linear(*parameters)

    def pull(self, parameters: Sequence[Tensor], grad: Linear) -> list[Tensor]:
        """As it is."""
        return list(grad)


@dataclass(frozen=True)
class CosineHead:
    """Of features of length one: scale · g_k · cos(v_k, x), without a bias. Parameters: g (T, K) and v (T, K, D)."""

    scale: float

    def read(self, parameters: Sequence[Tensor]) -> Linear:
        """W_k = scale · g_k v_k / ‖v_k‖."""
        magnitude, direction = parameters
        weight = (self.scale * magnitude / direction.norm(dim=-1)).unsqueeze(-1) * direction
        return Linear(weight, torch.zeros_like(magnitude))

    def pull(self, parameters: Sequence[Tensor], grad: Linear) -> list[Tensor]:
        """Along v_k the gradient is of g_k alone; across, it is of v_k alone."""
        magnitude, direction = parameters
        length = direction.norm(dim=-1, keepdim=True)
        unit = direction / length
        along = (grad.weight * unit).sum(-1)
        across = grad.weight - along.unsqueeze(-1) * unit
        return [self.scale * along, (self.scale * magnitude).unsqueeze(-1) / length * across]


@dataclass(frozen=True)
class SGD:
    """Gradient descent with momentum, as `torch.optim.SGD` does it.

    lr, momentum, dampening, decay: α, μ, δ and λ. u ← μ u + (1 − δ)(∇ + λθ), the first u being ∇ + λθ whole; then
        θ ← θ − α u.
    batch: examples a step, B; the last step of a pass takes what is left.
    """

    lr: float
    batch: int
    decay: float = 0.0
    momentum: float = 0.0
    dampening: float = 0.0

    def step(
        self, parameters: Sequence[Tensor], grads: Sequence[Tensor], velocity: Sequence[Tensor] | None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Parameters and velocity after a step."""
        grads = [g + self.decay * p for g, p in zip(grads, parameters, strict=True)]
        moved = grads
        if velocity is not None:
            fresh = 1 - self.dampening
            moved = [self.momentum * u + fresh * g for u, g in zip(velocity, grads, strict=True)]
        return [p - self.lr * u for p, u in zip(parameters, moved, strict=True)], moved


def fit(head: Head, parameters: Sequence[Tensor], support: Batch, order: Tensor, sgd: SGD) -> list[Tensor]:
    """The parameters after as many passes over each task's support as `order` has.

    Args:
        parameters: where each task starts, (T, *shape).
        support: x are features (T, N, D), y labels; an example's loss counts w times.
        order: (T, passes, N), in which a pass takes the examples.

    Returns:
        Tensors in the shapes of `parameters`.
    """
    target = one_hot(support.y, support.ways, support.x)
    current, velocity = list(parameters), None
    for epoch in order.unbind(1):
        for rows in epoch.split(sgd.batch, 1):
            picked = rows.unsqueeze(-1)
            x, wanted = (t.take_along_dim(picked, 1) for t in (support.x, target))
            weight, bias = head.read(current)
            residual = torch.softmax(torch.baddbmm(bias.unsqueeze(1), x, weight.mT), -1) - wanted
            residual = residual * support.w.take_along_dim(rows, 1).unsqueeze(-1) / rows.shape[1]
            grads = head.pull(current, Linear(residual.mT @ x, residual.sum(1)))
            current, velocity = sgd.step(current, grads, velocity)
    return current
