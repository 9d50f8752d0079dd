"""MetaOptNet: the head is the optimum of a convex problem on the support's features.

Lee, Maji, Ravichandran & Soatto, "Meta-Learning with Differentiable Convex Optimization", CVPR 2019: a
multi-class SVM (C = 0.1) or ridge regression (λ = 50) without a bias, differentiated implicitly, its scores
times a learned scale γ. The problems themselves are in `algorithms.ops.convex`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from metabench.algorithms.learner import Batch, Learner, LearnerSettings
from metabench.algorithms.network import Network, Params
from metabench.algorithms.ops.convex import crammer_singer, one_hot, ridge

HEADS = ("svm", "ridge")


@dataclass(frozen=True)
class HeadSettings(LearnerSettings):
    """Settings of MetaOptNet."""

    head: Literal["svm", "ridge"] = "svm"
    """The head's problem: the SVM of Crammer & Singer, or ridge regression. Control is always ridge."""
    penalty: float = 0.1
    """C of the SVM head, the price of a margin error; λ of the ridge head, the price of a large weight (50 in the
    paper; in control, in units of the features' mean square)."""
    inner_lr: float = 0.01
    """Control only: the rate that γ multiplies."""

    def problem(self) -> str | None:
        """A head that does not exist, or a number that is not positive."""
        known = ", ".join(HEADS)
        return (
            self.not_positive("penalty", "inner_lr")
            if self.head in HEADS
            else f"head is {self.head!r}; choose one of {known}"
        )


class MetaOptNet(Learner):
    """W = γ · the optimum of the head's problem, b = 0. It learns the body and γ."""

    Settings = HeadSettings
    settings: HeadSettings
    reads = "features"
    any_ways = True
    iterations, tolerance = 16, 1e-9
    """The SVM's (see `algorithms.ops.convex.dual_optimum`). To trace or capture an update, set them to 3 and 0."""

    def __init__(self, network: Network, **arguments: Any) -> None:
        super().__init__(network, **arguments)
        if problem := self.settings.problem():
            raise ValueError(problem)
        self.scale = nn.Parameter(torch.ones(()))

    def rule(self, fast: Params, support: Batch) -> Params:
        """The head's optimum on the support, whatever the head was (in control, a step from it)."""
        if support.ways == 0:
            return self._control_rule(fast, support)
        if self.settings.head == "svm":
            weight = crammer_singer(
                support.x, support.y, support.ways, self.settings.penalty, self.iterations, tolerance=self.tolerance
            )
        else:
            # The authors' program minimises ½αᵀ(ZZᵀ + λI)α − 2yᵀα, so its scores are twice the regression's.
            weight = ridge(support.x, 2 * one_hot(support.y, support.ways, support.x), self.settings.penalty)
        return fast | {"head.weight": self.scale * weight, "head.bias": weight.new_zeros(weight.shape[:2])}

    def _control_rule(self, fast: Params, support: Batch) -> Params:
        """Advantage-weighted ridge regression: the head's move is that of what paid off on the features.

        The form that "the optimum of a convex problem" takes for a policy with a linear mean μ(s) = W z(s): the head
        moves by rate · γ · argmin_Δ Σ ‖A (a − μ(s)) − Δ z(s)‖² + λ c ‖Δ‖². Without λ that is the natural policy
        gradient of the head (Kakade, 2001; Peters & Schaal, 2008, "compatible features"): noise that paid off is made
        the mean. c is the mean eigenvalue of Σ z zᵀ, so that λ is the same for few and many transitions, small and
        large features; directions with a smaller one, which the support knows little of, move as the gradient says.
        It is convex whatever the sign of an advantage, and it keeps the head in hand, φ_k (the meta-head before
        any update). To fit the actions themselves, as advantage-weighted regression does (Peng et al., 2019), cannot
        be meta-learned: the fit forgets the meta-head, which then drifts where the data come from. A constant 1 joins
        the features for the bias. **A metabench extension: no number was published for it.**
        """
        features = torch.cat([support.x, support.x.new_ones(*support.x.shape[:2], 1)], -1)
        weight, bias = fast["head.weight"], fast["head.bias"].unsqueeze(-1)
        tasks = max(len(weight), len(bias))  # one of them is still shared by all where it is frozen
        head = torch.cat([weight.expand(tasks, -1, -1), bias.expand(tasks, -1, -1)], -1)
        paid = support.w.detach().unsqueeze(-1) * (support.y - features @ head.mT)
        squares = features.square() if support.valid is None else features.square() * support.valid.unsqueeze(-1)
        penalty = self._control_penalty() * squares.sum((1, 2)) / features.shape[-1]
        head = head + self.settings.inner_lr * self.scale * ridge(features, paid, penalty, support.valid)
        return self.moved(fast, {"head.weight": head[..., :-1], "head.bias": head[..., -1]})

    def _control_penalty(self) -> float:
        """λ: an SVM's C is the price of errors, so its inverse is the price of weights."""
        return self.settings.penalty if self.settings.head == "ridge" else 1 / self.settings.penalty
