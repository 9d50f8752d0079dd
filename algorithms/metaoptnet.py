"""MetaOptNet: the head is the optimum of a convex problem on the support's features.

Lee, Maji, Ravichandran & Soatto, "Meta-Learning with Differentiable Convex Optimization", CVPR 2019: a
multi-class SVM (C = 0.1) or ridge regression (λ = 50) without a bias, differentiated implicitly, its scores
times a learned scale γ. The problems themselves are in `algorithms.convex`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from algorithms.convex import crammer_singer, one_hot, ridge
from algorithms.learner import Batch, Learner
from algorithms.network import Network, Params

PENALTIES = {"svm": 0.1, "ridge": 50.0}
"""The paper's C, the price of a margin error, and its λ, the price of a large weight."""


class MetaOptNet(Learner):
    """W = γ · the optimum of the head's problem, b = 0. It learns the body and γ.

    Args:
        head: "svm" (Crammer & Singer) or "ridge". Control is always ridge (see `_control_rule`).
        penalty: C for "svm", λ for "ridge"; the paper's where None.
        temperature: control only, the advantage in standard deviations that multiplies a weight by e.
        largest: control only, where the weights are cut off (20 in Peng et al., 2019).
    """

    reads = "features"
    any_ways = True
    iterations, tolerance = 16, 1e-9
    """The SVM's (see `algorithms.convex.dual_optimum`). To trace or capture an update, set them to 3 and 0."""

    def __init__(
        self,
        network: Network,
        *,
        head: str = "svm",
        penalty: float | None = None,
        temperature: float = 1.0,
        largest: float = 20.0,
        norm: str = "transductive",
    ) -> None:
        super().__init__(network, norm=norm)
        if head not in PENALTIES:
            raise ValueError(f"head is {head!r}; choose one of {', '.join(PENALTIES)}")
        self.solver = head
        self.penalty = PENALTIES[head] if penalty is None else penalty
        self.temperature = temperature
        self.largest = largest
        self.scale = nn.Parameter(torch.ones(()))

    def rule(self, fast: Params, support: Batch) -> Params:
        """The head's optimum on the support, whatever the head was (in control, shrunk to what it was)."""
        if support.ways == 0:
            return self._control_rule(fast, support)
        if self.solver == "svm":
            weight = crammer_singer(
                support.x, support.y, support.ways, self.penalty, self.iterations, tolerance=self.tolerance
            )
        else:
            # The authors' program minimises ½αᵀ(ZZᵀ + λI)α − 2yᵀα, so its scores are twice the regression's.
            weight = ridge(support.x, 2 * one_hot(support.y, support.ways, support.x), self.penalty)
        return fast | {"head.weight": self.scale * weight, "head.bias": weight.new_zeros(weight.shape[:2])}

    def _control_rule(self, fast: Params, support: Batch) -> Params:
        """Advantage-weighted ridge regression of the actions on the features, shrunk to the head in hand.

        The form that "the optimum of a convex problem" takes for a policy with a linear mean: the update of
        advantage-weighted regression (Peng, Kumar, Zhang & Levine, 2019) maximises Σ exp(A/temperature)
        log π(a | s), which for a Gaussian is a weighted least-squares problem in the head. Its weights are
        positive, so it stays convex, where REINFORCE's signed advantages would not. Advantages are constants,
        normalised per task; weights are cut off as there, and scaled to mean 1, so that λ counts examples.
        A constant 1 joins the features for the bias. The prior is the head in hand, φ_k (the meta-head before
        any update), and without it a linear policy would forget what the meta-learner knows. γ is the learned
        fraction of the way to the optimum. **A metabench extension: no number was published for it.**
        """
        features = torch.cat([support.x, support.x.new_ones(*support.x.shape[:2], 1)], -1)
        prior = torch.cat([fast["head.weight"], fast["head.bias"].unsqueeze(-1)], -1)
        weights = advantage_weights(support, self.temperature, self.largest)
        optimum = ridge(features, support.y, self._control_penalty(), weights, prior)
        head = prior + self.scale * (optimum - prior)
        return fast | {"head.weight": head[..., :-1], "head.bias": head[..., -1]}

    def _control_penalty(self) -> float:
        """λ: an SVM's C is the price of errors, so its inverse is the price of weights."""
        return self.penalty if self.solver == "ridge" else 1 / self.penalty


def advantage_weights(support: Batch, temperature: float, largest: float) -> Tensor:
    """min(exp(normalised advantage / temperature), largest), scaled to mean 1 per task: (T, N), all > 0.

    Mean and standard deviation are those of the examples that count; an example that does not weighs 0.
    """
    advantages = support.w.detach()
    centred = advantages - support.mean(advantages).unsqueeze(1)
    std = support.mean(centred.square()).sqrt().unsqueeze(1)
    weights = torch.exp(centred / (std + 1e-8) / temperature).clamp(max=largest)
    weights = weights / support.mean(weights).unsqueeze(1)
    return weights if support.valid is None else weights * support.valid
