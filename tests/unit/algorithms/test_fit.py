"""Fitting a softmax classifier: steps by hand, torch's optimiser and gradients, and the fit's own derivative."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from metabench.algorithms import Batch
from metabench.algorithms.ops.fit import SGD, CosineHead, Head, Linear, LinearHead, fit


def random_support(tasks: int = 2, n: int = 7, features: int = 3, ways: int = 3) -> Batch:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(tasks, n, features, generator=g, dtype=torch.float64)
    y = torch.randint(ways, (tasks, n), generator=g)
    return Batch(x, y, torch.ones(tasks, n, dtype=torch.float64), ways)


def in_order(support: Batch, epochs: int) -> Tensor:
    tasks, n = support.y.shape
    return torch.arange(n).expand(tasks, epochs, n)


def test_two_steps_by_hand() -> None:
    """One example x = 1 of class 0 of two, from zero: p = ½, so ∇W = ∇b = (−½, ½), and W = b = (0.1, −0.1).

    Then the logits are ± 0.2 and 1 − p = 1 / (1 + e^0.4) = r. ∇W = (−r, r) + λ W; u = ½ u + (1 − ¼) ∇.
    """
    support = Batch(torch.ones(1, 1, 1).double(), torch.tensor([[0]]), torch.ones(1, 1).double(), 2)
    start = [torch.zeros(1, 2, 1).double(), torch.zeros(1, 2).double()]
    sgd = SGD(0.2, 4, 0.3, momentum=0.5, dampening=0.25)
    weight, bias = fit(LinearHead(), start, support, in_order(support, 1), sgd)
    assert weight.flatten().tolist() == bias.flatten().tolist() == pytest.approx([0.1, -0.1], abs=1e-15)
    weight, bias = fit(LinearHead(), start, support, in_order(support, 2), sgd)
    r = 1 / (1 + math.exp(0.4))
    second = 0.1 - 0.2 * (0.5 * -0.5 + 0.75 * (-r + 0.3 * 0.1))
    assert weight.flatten().tolist() == bias.flatten().tolist() == pytest.approx([second, -second], abs=1e-15)


def test_an_example_counts_by_its_weight() -> None:
    support = random_support()
    start = [torch.zeros(2, 3, 3).double(), torch.zeros(2, 3).double()]
    twice = Batch(support.x.repeat(1, 2, 1), support.y.repeat(1, 2), support.w.repeat(1, 2), 3)
    sgd = SGD(0.1, 99)
    one = fit(LinearHead(), start, support._replace(w=2 * support.w), in_order(support, 3), sgd)
    other = fit(LinearHead(), start, twice, in_order(twice, 3), SGD(0.2, 99))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_a_pass_takes_every_example_once_in_its_order() -> None:
    """With steps of 3, 7 examples are 3 + 3 + 1: the second pass goes backwards."""
    support = random_support(1)
    order = torch.stack([torch.arange(7), torch.arange(7).flip(0)]).unsqueeze(0)
    seen: list[Tensor] = []

    class Told(LinearHead):
        def pull(self, parameters: object, grad: Linear) -> list[Tensor]:
            seen.append(grad.weight)
            return list(grad)

    still = [torch.zeros(1, 3, 3).double(), torch.zeros(1, 3).double()]
    fit(Told(), still, support, order, SGD(0.0, 3))
    target = torch.nn.functional.one_hot(support.y[0], 3).double()
    for grad, rows in zip(seen, ([0, 1, 2], [3, 4, 5], [6], [6, 5, 4], [3, 2, 1], [0]), strict=True):
        expected = (1 / 3 - target[rows]).mT @ support.x[0, rows] / len(rows)
        torch.testing.assert_close(grad[0], expected, atol=1e-12, rtol=0)


HEADS: list[tuple[Head, list[Tensor]]] = [
    (LinearHead(), [torch.randn(2, 3, 3).double(), torch.randn(2, 3).double()]),
    (CosineHead(2.0), [1 + torch.rand(2, 3).double(), torch.randn(2, 3, 3).double()]),
]


@pytest.mark.parametrize(("head", "parameters"), HEADS, ids=["linear", "cosine"])
def test_pull_is_the_derivative_of_read(head: Head, parameters: list[Tensor]) -> None:
    leaves = [p.clone().requires_grad_() for p in parameters]
    weight, bias = head.read(leaves)
    along = Linear(torch.randn_like(weight), torch.randn_like(bias))
    value = (weight * along.weight).sum() + (bias * along.bias).sum()
    for ours, theirs in zip(head.pull(parameters, along), torch.autograd.grad(value, leaves), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


def test_a_cosine_head_by_hand() -> None:
    """v = (3, 4) is of length 5; scale 2 and g = 10 make it (12, 16)."""
    weight, bias = CosineHead(2.0).read([torch.tensor([[10.0]]), torch.tensor([[[3.0, 4.0]]])])
    assert weight.tolist() == [[[12.0, 16.0]]]
    assert bias.tolist() == [[0.0]]


@pytest.mark.parametrize(("head", "parameters"), HEADS, ids=["linear", "cosine"])
def test_the_fit_can_be_differentiated(head: Head, parameters: list[Tensor]) -> None:
    support = random_support()
    sgd = SGD(0.1, 3, 0.01, momentum=0.9, dampening=0.9)

    def end(x: Tensor) -> Tensor:
        return torch.cat([t.flatten() for t in fit(head, parameters, support._replace(x=x), in_order(support, 2), sgd)])

    assert torch.autograd.gradcheck(end, support.x.clone().requires_grad_(), atol=1e-7)
