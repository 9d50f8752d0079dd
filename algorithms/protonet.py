"""ProtoNet: the head is one moment of the support, its class means.

Snell, Swersky & Zemel, "Prototypical Networks for Few-shot Learning", NIPS 2017. A softmax over squared
Euclidean distances to the class means c_k is a linear head (their §2.7): −‖z − c‖² = 2c·z − ‖c‖² − ‖z‖²,
and the last term is the same for every class.
"""

from __future__ import annotations

import torch
from torch import Tensor

from algorithms.learner import Batch, Learner
from algorithms.network import Params


class ProtoNet(Learner):
    """W = 2c and b = −‖c‖². It learns only the body; the head of `begin` is a prior that no task keeps."""

    reads = "features"
    any_ways = True

    def rule(self, fast: Params, support: Batch) -> Params:
        """The head whose logits are the negative squared distances, up to a constant per example."""
        centre = class_means(support)
        return fast | {"head.weight": 2 * centre, "head.bias": -centre.square().sum(-1)}


def class_means(support: Batch) -> Tensor:
    """Weighted mean of the features (T, N, D) of each class: (T, K, D)."""
    classes = torch.arange(support.ways, device=support.y.device)
    member = (support.y.unsqueeze(-1) == classes) * support.w.unsqueeze(-1)
    return member.transpose(1, 2) @ support.x / member.sum(1).unsqueeze(-1)
