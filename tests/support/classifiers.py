"""Classifiers of training classes over tiny networks in float64, and what their fit to a support must equal."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from metabench.algorithms import LEARNERS, Baseline, BaselinePP, Batch, Categorical, Learner, Network, adapt
from metabench.algorithms.network import forward_pass
from metabench.algorithms.streams import generator
from tests.support.checks import assert_close
from tests.support.small import WAYS, body

TRAINED = 7
"""Classes of the learned head: not as many as a test's, `WAYS`."""
CLASSIFIERS = ("baseline", "baseline-pp", "simpleshot")


def classifier(
    kind: str, of: str = "smooth", *, norm: str = "running", classes: int = TRAINED, **fields: int
) -> Learner:
    """One at test, its averages off their initial values."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network(body(of), classes, Categorical())
        for name, b in network.named_buffers():
            b += torch.randn_like(b) if name.endswith("mean") else torch.rand_like(b)
        made = LEARNERS[kind](network, norm=norm, **fields)
        for name, b in made.named_buffers():
            if name == "centre.mean":
                b += torch.randn_like(b)
    return made.double().eval()


def fitted(rule: Learner, support: Batch, first: int = 0) -> dict[str, Tensor]:
    """φ of each task, with the draws of the places first, first + 1, …"""
    with torch.no_grad(), forward_pass([generator(5, first + i) for i in range(len(support.x))]):
        return adapt(rule, [support])


def assert_fits_are_each_task_s_own(rule: Learner, support: Batch) -> None:
    """All tasks at once give what one after another gives, by the draws of each task's place."""
    together = fitted(rule, support)
    for task in range(len(support.x)):
        alone = fitted(rule, support.at(slice(task, task + 1)), task)
        for name in ("head.weight", "head.bias"):
            torch.testing.assert_close(together[name][task], alone[name][0], atol=1e-10, rtol=0, msg=name)


def assert_fit_is_torchs(rule: Learner, support: Batch) -> None:
    """A plain loop of torch.optim.SGD over torch's own layers, from the same draws, ends at the same head."""
    assert isinstance(rule, Baseline)
    ours = fitted(rule, support)
    z = rule.embed(rule.begin(), support.x).detach()
    (tasks, n, features), s = z.shape, rule.settings
    for task in range(tasks):
        g = generator(5, task)
        draws = torch.rand(WAYS * features + WAYS + s.fit_epochs * n, generator=g, dtype=z.dtype)
        weight, bias, order = draws.split([WAYS * features, WAYS, s.fit_epochs * n])
        layer: nn.Module = nn.Linear(features, WAYS, bias=not isinstance(rule, BaselinePP)).double()
        scale = 2.0 if isinstance(rule, BaselinePP) else 1.0
        with torch.no_grad():
            layer.weight.copy_((2 * weight.view(WAYS, features) - 1) / features**0.5)
            if layer.bias is not None:
                layer.bias.copy_((2 * bias - 1) / features**0.5)
        layer = weight_norm(layer) if isinstance(rule, BaselinePP) else layer
        optimizer = torch.optim.SGD(layer.parameters(), s.fit_lr, momentum=0.9, dampening=0.9, weight_decay=s.fit_decay)
        for epoch in order.view(s.fit_epochs, n).argsort(-1):
            for rows in epoch.split(s.fit_batch):
                optimizer.zero_grad()
                F.cross_entropy(scale * layer(z[task, rows]), support.y[task, rows]).backward()
                optimizer.step()
        assert_close([ours["head.weight"][task]], [scale * layer.weight.detach()], 1e-10, f"weight of task {task}")
        theirs = torch.zeros(WAYS).double() if layer.bias is None else layer.bias.detach()
        torch.testing.assert_close(ours["head.bias"][task], theirs, atol=1e-10, rtol=0)
