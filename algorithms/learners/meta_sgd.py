"""Meta-SGD: one gradient step on everything, with a learned rate per parameter.

Li, Zhou, Chen & Li, "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning", arXiv 1707.09835 (2017):
φ = θ − α ∘ ∇ L(θ; support), where α has the shape of θ and is learned with it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from metabench.algorithms.learner import Batch, Learner, gradient_step, per_task
from metabench.algorithms.learners.maml import GradientSettings
from metabench.algorithms.network import Network, Params


class MetaSGD(Learner):
    """Gradient descent on every parameter, each element with its own learned rate, `inner_lr` at first."""

    Settings = GradientSettings
    settings: GradientSettings

    def __init__(self, network: Network, **arguments: Any) -> None:
        super().__init__(network, **arguments)
        inner_lr = self.settings.inner_lr
        self.rates = nn.ParameterList([torch.full_like(p, inner_lr) for p in network.parameters()])

    def learned(self) -> dict[str, nn.Parameter]:
        """What is not frozen, without the rates of what is."""
        idle = {f"rates.{i}" for i, p in enumerate(self.network.parameters()) if not p.requires_grad}
        return {name: p for name, p in super().learned().items() if name not in idle}

    def rule(self, fast: Params, support: Batch) -> Params:
        """One step, elementwise scaled by the learned rates."""
        named = zip(self.network.named_parameters(), self.rates, strict=True)
        rates = {name: rate for (name, p), rate in named if p.requires_grad}
        fast = per_task(fast, list(rates), support.x.shape[0])
        grads = gradient_step(self, fast, list(rates), support, exact=not self.settings.first_order)
        return fast | {n: fast[n] - r * g for (n, r), g in zip(rates.items(), grads, strict=True)}
