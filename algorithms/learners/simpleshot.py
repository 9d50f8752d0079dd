"""SimpleShot: the nearest class mean on centred features of length one.

Wang, Chao, Weinberger & van der Maaten, "SimpleShot: Revisiting Nearest-Neighbor Classification for Few-Shot Learning",
arXiv 2019 ("CL2N"). The body is trained as a classifier with a linear head. At test the mean over the training images
is taken off the features, which are then brought to length one; the distance is Euclidean. Settings are those of the
authors' program (mileyan/simple_shot at 5d38fc8, `configs/mini/softmax/conv4.config` and `src/train.py`).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.algorithms.learner import Batch
from metabench.algorithms.learners.classifier import Classifier
from metabench.algorithms.learners.protonet import nearest_mean
from metabench.algorithms.network import Averages, Moments, Network, Params


class Centre(Averages):
    """The mean of the features over training, as batch normalisation keeps its own: a running average over batches.

    The authors pass over all training images once more at the end.
    """

    always = True

    def see(self, z: Tensor) -> None:
        """Leave the statistics of features (T, N, D)."""
        n = z.shape[1]
        var, mean = torch.var_mean(z.detach(), 1, correction=min(1, n - 1))
        self.leave(Moments(mean, var, n))


class SimpleShot(Classifier):
    """ProtoNet's head on other features; while training, a linear head on the body's own."""

    def __init__(self, network: Network, **arguments: Any) -> None:
        super().__init__(network, **arguments)
        self.centre = Centre("centre.", network.width)

    def embed(self, fast: Params, x: Tensor) -> Tensor:
        """(T, N, D): the body's features while training; at test centred and of length one."""
        z = super().embed(fast, x)
        if self.training:
            self.centre.see(z)
            return z
        return F.normalize(z - self.centre.mean, dim=-1)

    def rule(self, fast: Params, support: Batch) -> Params:
        """The head whose logits are the negative squared distances to the class means."""
        return fast | nearest_mean(support)
