"""Plain torch modules as bodies, and what they must agree with."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from metabench.algorithms import Batch, FromModule, Learner, MetaSGD
from tests.support.checks import EXACT, assert_close, gradient_of
from tests.support.reference import plain
from tests.support.small import SIZE


def as_module(rule: Learner) -> tuple[Learner, dict[str, str]]:
    """The same learner on the same body written as an ordinary module, and what its parameters are called there."""
    twin = copy.deepcopy(rule)
    model, in_our_order = plain(rule.network)
    called = {id(p): f"body.module.{name}" for name, p in model[0].named_parameters()}
    called |= {id(p): f"head.{name}" for name, p in model[1].named_parameters()}
    ours = [name for name, _ in rule.network.named_parameters()]
    names = {name: called[id(p)] for name, p in zip(ours, in_our_order, strict=True)}
    twin.network.body = FromModule(model[0], (1, SIZE, SIZE))
    renamed = {f"network.{a}": f"network.{b}" for a, b in names.items()}
    if isinstance(rule, MetaSGD):
        theirs = [name for name, _ in twin.network.named_parameters()]
        places = {ours.index(a): theirs.index(b) for a, b in names.items()}
        rates = {there: rule.rates[here].detach().clone() for here, there in places.items()}
        twin.rates = nn.ParameterList([rates[i] for i in range(len(rates))])
        renamed |= {f"rates.{here}": f"rates.{there}" for here, there in places.items()}
    return twin, renamed | {name: name for name in rule.learned() if name not in renamed | {n: n for n in ours}}


def assert_a_module_learns_as_the_body(rule: Learner, support: Batch, query: Batch, steps: int) -> None:
    """One meta-gradient, to rounding, and the same statistics, whether the body is ours or an ordinary module."""
    twin, names = as_module(rule)
    ours, theirs = (gradient_of(r, [support] * steps, query) for r in (rule, twin))
    assert_close([theirs.losses], [ours.losses], EXACT, "losses")
    found = dict(zip(twin.learned(), theirs.grads, strict=True))
    expected = dict(zip(rule.learned(), ours.grads, strict=True))
    assert found.keys() == {names[name] for name in expected}
    assert_close([found[names[name]] for name in expected], list(expected.values()), EXACT, "gradient")
    for mine, other in zip(ours.statistics.values(), theirs.statistics.values(), strict=True):
        assert_close(other, mine, EXACT, "statistics")


def narrowed(module: nn.Module, by: int) -> nn.Module:
    """A copy of a convolutional network with a part of its channels, but for those of the image; new weights."""
    small = copy.deepcopy(module)
    for name, layer in list(small.named_modules()):
        parent = small.get_submodule(name.rpartition(".")[0])
        if isinstance(layer, nn.Conv2d):
            inputs = layer.in_channels if layer.in_channels < by else layer.in_channels // by
            (kernel, _), (stride, _) = layer.kernel_size, layer.stride
            made = nn.Conv2d(inputs, layer.out_channels // by, kernel, stride, layer.padding, bias=False)
            setattr(parent, name.rpartition(".")[2], made)
        elif isinstance(layer, nn.BatchNorm2d):
            setattr(parent, name.rpartition(".")[2], nn.BatchNorm2d(layer.num_features // by))
    return small


class Tied(nn.Module):
    """One linear layer used twice, and once more through another name."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, 4)
        self.second = nn.Linear(4, 4)
        self.third = nn.Linear(4, 4)
        self.third.weight = self.second.weight

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.second(torch.tanh(self.first(x.flatten(1)))))
        return torch.tanh(self.third(torch.tanh(self.second(x))))


def fast_of(module: nn.Module) -> Mapping[str, Tensor]:
    """Its parameters with a task axis of one."""
    return {name: p.unsqueeze(0) for name, p in module.named_parameters()}
