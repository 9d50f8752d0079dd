"""What a network's outputs parametrise: log p(y | outputs), for labels and for actions."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Likelihood(nn.Module):
    """p(y | outputs). Its own parameters, if any, are overridden through `fast` like every other."""

    def parametrise(self, fast: Mapping[str, Tensor], scores: Tensor) -> Tensor:
        """The head's scores (T, N, O) -> what `log_prob` reads."""
        return scores

    def log_prob(self, outputs: Tensor, y: Tensor) -> Tensor:
        """log p(y | outputs), (T, N)."""
        raise NotImplementedError


class Categorical(Likelihood):
    """Labels 0..K-1; outputs are logits (T, N, K)."""

    def log_prob(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Logits (T, N, K) and labels (T, N) -> (T, N)."""
        return -F.cross_entropy(outputs.flatten(0, 1), y.flatten(), reduction="none").view(y.shape)


class Gaussian(Likelihood):
    """Actions (T, N, A) with a diagonal covariance that does not depend on the state.

    Outputs are mean and log standard deviation side by side, (T, N, 2A). The log standard deviation is a
    parameter: among what a rule over all parameters adapts, and not among what a head rule adapts.

    Args:
        actions: A.
        std: its initial value.
        floor: the smallest standard deviation (Duan et al., 2016, use 1e-6).
    """

    def __init__(self, actions: int, std: float = 1.0, floor: float = 1e-6) -> None:
        super().__init__()
        self.log_std = nn.Parameter(torch.full((actions,), math.log(std)))
        self.least = math.log(floor)

    def parametrise(self, fast: Mapping[str, Tensor], scores: Tensor) -> Tensor:
        """Means (T, N, A) -> means and log standard deviations (T, N, 2A)."""
        log_std = fast["log_std"].clamp(min=self.least)
        return torch.cat([scores, log_std.unsqueeze(1).expand_as(scores)], -1)

    def log_prob(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Outputs (T, N, 2A) and actions (T, N, A) -> (T, N)."""
        mean, log_std = outputs.chunk(2, -1)
        z = (y - mean) * torch.exp(-log_std)
        return -(0.5 * z.square() + log_std + 0.5 * math.log(2 * math.pi)).sum(-1)

    def kl(self, old: Tensor, new: Tensor) -> Tensor:
        """KL(old ‖ new) of two outputs (T, N, 2A) -> (T, N), in nats."""
        (mean, log_std), (new_mean, new_log_std) = old.chunk(2, -1), new.chunk(2, -1)
        change = log_std - new_log_std
        z = (mean - new_mean) * torch.exp(-new_log_std)
        return (0.5 * (torch.exp(2 * change) + z.square() - 1) - change).sum(-1)

    def fisher(self, outputs: Tensor) -> Tensor:
        """The diagonal of the Fisher information in the outputs, (T, N, 2A): 1/σ² of a mean, 2 of a log σ.

        It is the second derivative of `kl` where old and new agree.
        """
        mean, log_std = outputs.chunk(2, -1)
        return torch.cat([torch.exp(-2 * log_std), torch.full_like(mean, 2.0)], -1)
