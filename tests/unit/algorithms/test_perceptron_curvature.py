"""The written-out products of a perceptron are those that autograd gives, and are used for nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from metabench.algorithms import MAML, Gaussian, Learner, Network
from metabench.algorithms.ops.perceptron_curvature import PerceptronJacobian, can_be_written_out
from metabench.algorithms.outer.jacobian import TracedJacobian, jacobian_of
from metabench.algorithms.outer.surrogate import Piece
from metabench.algorithms.perceptron import Perceptron
from tests.support.checks import EXACT, assert_close
from tests.support.policies import meta_batch, policy


def directions(rule: Learner, outputs: Tensor) -> tuple[list[Tensor], Tensor]:
    """A tangent of what is learned and a cotangent of the outputs."""
    generator = torch.Generator().manual_seed(7)
    shapes = [*(p.shape for p in rule.learned().values()), outputs.shape]
    *along, u = (torch.randn(shape, generator=generator).double() for shape in shapes)
    return along, u


def assert_products_are_the_traced(
    rule: Learner, updates: int, *, dtype: torch.dtype = torch.float64, tolerance: float = EXACT
) -> None:
    supports, query = meta_batch(rule.double(), updates=updates)
    traced = TracedJacobian(rule, Piece(supports, query))
    along, u = directions(rule, traced.outputs)
    moved, pulled = traced.push(along), traced.pull(u)
    supports = [s._each(lambda t: t.to(dtype)) for s in supports]
    ours = PerceptronJacobian(rule.to(dtype), supports, query.x.to(dtype))
    assert_close([ours.outputs], [traced.outputs], tolerance, "outputs")
    assert_close([ours.push([t.to(dtype) for t in along])], [moved], tolerance, "Jv")
    for name, mine, theirs in zip(rule.learned(), ours.pull(u.to(dtype)), pulled, strict=True):
        assert mine.shape == theirs.shape and mine.dtype == dtype
        assert float((mine - theirs).abs().max()) <= tolerance * float(theirs.abs().max()), name


@pytest.mark.parametrize("updates", [0, 1, 3])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("kind", ["maml", "meta-sgd"])
def test_products_are_autograds(kind: str, activation: str, updates: int) -> None:
    assert_products_are_the_traced(policy(kind, activation=activation), updates)


@pytest.mark.parametrize("kind", ["maml", "meta-sgd"])
def test_single_precision_is_near(kind: str) -> None:
    assert_products_are_the_traced(policy(kind), 2, dtype=torch.float32, tolerance=1e-4)


@pytest.mark.parametrize("hidden", [(5,), (4, 6, 3)])
def test_any_number_of_layers(hidden: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    rule = MAML(Network(Perceptron(3, hidden, "tanh"), 2, Gaussian(2, std=0.6)), inner_lr=0.3)
    assert_products_are_the_traced(rule, 2)


def test_a_push_and_a_pull_are_transposed() -> None:
    rule = policy("meta-sgd")
    supports, query = meta_batch(rule, updates=2)
    ours = PerceptronJacobian(rule, supports, query.x)
    along, u = directions(rule, ours.outputs)
    sides = float((ours.push(along) * u).sum()), sum(float((a * b).sum()) for a, b in zip(along, ours.pull(u)))
    assert sides[0] == pytest.approx(sides[1], rel=1e-12)


class OwnRule(MAML):
    """A learner of one's own, which may do anything."""


class OwnBody(Perceptron):
    """A body of one's own."""


class OwnLaw(Gaussian):
    """A likelihood of one's own."""


def with_part(name: str, part: torch.nn.Module) -> Learner:
    rule = policy("maml")
    setattr(rule.network, name, part.double())
    return rule


def frozen(*names: str) -> Learner:
    rule = policy("meta-sgd")
    for name in names:
        rule.get_parameter(name).requires_grad_(False)
    return rule


def parametrised_anew() -> Learner:
    rule = policy("maml")
    torch.nn.utils.parametrizations.weight_norm(rule.network.head)
    return rule


OTHERS: dict[str, Callable[[], Learner]] = {
    **{kind: lambda kind=kind: policy(kind) for kind in ("anil", "protonet", "metaoptnet")},  # type: ignore[misc]
    "first order": lambda: policy("maml", first_order=True),
    "own rule": lambda: OwnRule(policy("maml").network, inner_lr=0.3),
    "own body": lambda: with_part("body", OwnBody(3, (4, 3), "tanh")),
    "own likelihood": lambda: with_part("likelihood", OwnLaw(2)),
    "frozen parameter": lambda: frozen("network.head.bias"),
    "frozen rate": lambda: frozen("rates.2"),
    "parametrised anew": parametrised_anew,
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_all_else_goes_through_autograd(make: Callable[[], Learner]) -> None:
    assert not can_be_written_out(make(), [])


def test_ratios_and_low_precision_go_through_autograd() -> None:
    rule = policy("maml")
    for ratio, kind in ((False, PerceptronJacobian), (True, TracedJacobian)):
        assert type(jacobian_of(rule, Piece(*meta_batch(rule, ratio=ratio)))) is kind
    with torch.autocast("cpu", torch.bfloat16):
        assert not can_be_written_out(rule, [])
