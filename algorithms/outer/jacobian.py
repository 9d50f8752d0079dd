"""J, the derivative of the adapted policies' outputs in all that is learned, as two products: J·v and Jᵀ·u.

Both go through the adaptation. The outer step of control takes everything from them: its gradient is Jᵀ of the
surrogate's, and its curvature is JᵀMJ.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from metabench.algorithms.learner import Learner, adapt, gradients
from metabench.algorithms.ops.perceptron_curvature import PerceptronJacobian, can_be_written_out
from metabench.algorithms.outer.surrogate import Piece


class Jacobian(Protocol):
    """At the θ where it was made; of `learner.learned()`, in its order."""

    outputs: Tensor
    """Of the adapted policies on the query, (T, N, 2A), without a graph."""

    def push(self, along: Sequence[Tensor]) -> Tensor:
        """J · along, (T, N, 2A)."""
        ...

    def pull(self, along: Tensor) -> list[Tensor]:
        """Jᵀ · along, summed over tasks."""
        ...


def jacobian_of(learner: Learner, piece: Piece) -> Jacobian:
    """That of a piece's tasks: written out where it is known how, else through autograd."""
    if can_be_written_out(learner, piece.supports):
        return PerceptronJacobian(learner, piece.supports, piece.query.x)
    return TracedJacobian(learner, piece)


class TracedJacobian:
    """J of any learner. Jᵀu is a backward pass; it is linear in u, so its own backward pass gives Jv.

    Both graphs are built once (the second when it is first needed), and a product is one backward pass through each.
    """

    def __init__(self, learner: Learner, piece: Piece) -> None:
        self._learned = list(learner.learned().values())
        with torch.enable_grad():
            self._traced = learner.predict(adapt(learner, piece.supports), piece.query.x)
        self.outputs = self._traced.detach()

    @cached_property
    def _back(self) -> tuple[Tensor, list[Tensor]]:
        """u, and Jᵀu as a function of it."""
        with torch.enable_grad():
            u = torch.zeros_like(self.outputs, requires_grad=True)
            return u, gradients(self._traced, self._learned, u, create_graph=True)

    def push(self, along: Sequence[Tensor]) -> Tensor:
        """J · along, (T, N, 2A)."""
        u, back = self._back
        reached = [(g, v) for g, v in zip(back, along, strict=True) if g.requires_grad]
        (out,) = torch.autograd.grad([g for g, _ in reached], u, [v for _, v in reached], retain_graph=True)
        return out

    def pull(self, along: Tensor) -> list[Tensor]:
        """Jᵀ · along, summed over tasks."""
        grads = torch.autograd.grad(self._traced, self._learned, along, retain_graph=True, materialize_grads=True)
        return list(grads)
