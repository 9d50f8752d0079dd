"""Baseline: a classifier of the training classes, whose head is fitted anew to the support.

Chen, Liu, Kira, Wang & Huang, "A Closer Look at Few-shot Classification", ICLR 2019. Baseline's head is linear;
Baseline++'s takes the cosine between features and a weight, times a learned length of that weight. At test the body
stays and 100 passes of SGD over the support fit a new head of random weights. Settings are those of the authors'
program (wyharveychen/CloserLookFewShot at e03aca8, `methods/baselinefinetune.py` and `backbone.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from metabench.algorithms.learner import Batch
from metabench.algorithms.learners.classifier import Classifier, ClassifierSettings
from metabench.algorithms.network import Network, Params, current_pass
from metabench.algorithms.ops.fit import SGD, CosineHead, Head, LinearHead, fit
from metabench.algorithms.streams import generator


@dataclass(frozen=True)
class FitSettings(ClassifierSettings):
    """Settings of Baseline and Baseline++."""

    fit_epochs: int = 100
    """Passes over the support that fit a task's head."""
    fit_batch: int = 4
    """Support images a step of the fit."""
    fit_lr: float = 0.01
    """Learning rate of the fit."""
    fit_decay: float = 1e-3
    """L2 penalty of the fit."""

    def problem(self) -> str | None:
        """A number that is not positive; no penalty is none."""
        wrong = self.not_positive("batch", "fit_epochs", "fit_batch", "fit_lr")
        return wrong or (f"fit_decay is {self.fit_decay}; it must not be negative" if not self.fit_decay >= 0 else None)


class Baseline(Classifier):
    """A linear head, in training as at test.

    A task's first weights and its order of examples are draws of the generator that the current `forward_pass` has for
    it; outside of any, all tasks draw alike.
    """

    Settings = FitSettings
    settings: FitSettings

    def rule(self, fast: Params, support: Batch) -> Params:
        """The head that the support is fitted to, whatever the head was."""
        s = self.settings
        sgd = SGD(s.fit_lr, s.fit_batch, s.fit_decay, momentum=0.9, dampening=0.9)
        (tasks, examples, features), ways = support.x.shape, support.ways
        sizes = [ways * features, ways, s.fit_epochs * examples]
        weight, bias, order = _uniform(sum(sizes), support.x).split(sizes, 1)
        order = order.view(tasks, s.fit_epochs, examples).argsort(-1)
        # As torch's own linear layer begins: uniform within ± 1 / √D.
        bound = features**-0.5
        weight, bias = (bound * (2 * t - 1) for t in (weight.view(tasks, ways, features), bias))
        head = self.head(ways)
        fitted = head.read(fit(head, self.first(weight, bias), support, order, sgd))
        return fast | {"head.weight": fitted.weight, "head.bias": fitted.bias}

    def head(self, ways: int) -> Head:
        """How a head for so many classes is parametrised."""
        return LinearHead()

    def first(self, weight: Tensor, bias: Tensor) -> Sequence[Tensor]:
        """The parameters of a head that begins with this weight (T, K, D) and bias (T, K)."""
        return [weight, bias]


class BaselinePP(Baseline):
    """Baseline++: logits scale · g_k · cos(v_k, z), v being the network's head and g a learned length a class."""

    def __init__(self, network: Network, **arguments: Any) -> None:
        super().__init__(network, **arguments)
        network.head.bias.requires_grad_(False)  # the cosine has none
        self.length = nn.Parameter(network.head.weight.detach().norm(dim=-1))

    def begin(self) -> Params:
        """φ₀ with the weight that g and v stand for."""
        fast = super().begin()
        weight, bias = self.head(len(self.length)).read([self.length.unsqueeze(0), fast["head.weight"]])
        return fast | {"head.weight": weight, "head.bias": bias}

    def embed(self, fast: Params, x: Tensor) -> Tensor:
        """Features of length one, (T, N, D)."""
        z = super().embed(fast, x)
        length: Tensor = z.norm(dim=-1, keepdim=True)
        return z / (length + 1e-5)

    def head(self, ways: int) -> Head:
        """A cosine head; the more classes, the more the softmax needs its logits apart."""
        return CosineHead(2.0 if ways <= 200 else 10.0)

    def first(self, weight: Tensor, bias: Tensor) -> Sequence[Tensor]:
        """g begins as the length of v, as in torch's weight normalisation."""
        return [weight.norm(dim=-1), weight]


def _uniform(count: int, like: Tensor) -> Tensor:
    """(T, count) in [0, 1): a row from each task's generator, in the dtype of (T, ...) and on its device."""
    current, tasks = current_pass(), len(like)
    generators = (current.generators if current else ()) or [generator(0) for _ in range(tasks)]
    rows = [torch.rand(count, generator=g, device=g.device, dtype=like.dtype) for g in generators]
    return torch.stack(rows).to(like.device)
