"""What asks for no gradient stays: it is neither adapted nor learned. What is never used has gradient 0."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from metabench.algorithms import (
    GradientOuter,
    Learner,
    MetaSGD,
    ProximalOuter,
    TrustRegionOuter,
    Workers,
    adapt,
)
from metabench.algorithms.outer.surrogate import Piece
from tests.support.checks import EXACT, assert_close, assert_finite_differences, assert_same_meta_gradient, gradient_of
from tests.support.control import product_of
from tests.support.policies import POLICIES, meta_batch, policy
from tests.support.small import HEAD, LEARNERS, Smooth, images, learner

FROZEN = "body.weight"


def freeze(rule: Learner, *names: str) -> Learner:
    for name in names:
        rule.network.get_parameter(name).requires_grad_(False)
    return rule


def descent(rule: Learner) -> GradientOuter:
    """With a weight decay, which moves what has a gradient of 0."""
    optimizer = torch.optim.SGD(rule.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    return GradientOuter(optimizer, schedule, workers=Workers(1))


def moved(before: Learner, after: Learner) -> set[str]:
    there = dict(after.named_parameters())
    return {name for name, p in before.named_parameters() if not torch.equal(p, there[name])}


# Frozen -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", LEARNERS)
def test_a_frozen_layer_is_not_adapted(kind: str, training: bool) -> None:
    rule, support = freeze(learner(kind), FROZEN).train(training), images(2, 2)
    with torch.set_grad_enabled(training):
        before, after = rule.begin(), adapt(rule, [support] * 2)
    changed = {n for n in before if not torch.equal(after[n], before[n].expand_as(after[n]))}
    if kind in ("maml", "meta-sgd"):
        assert changed == before.keys() - {FROZEN}
    else:
        assert changed == HEAD


@pytest.mark.parametrize("kind", LEARNERS)
def test_its_absence_leaves_the_meta_gradient_exact(kind: str) -> None:
    rule, support, query = freeze(learner(kind), FROZEN), images(2, 2), images(2, 3, seed=1)
    assert f"network.{FROZEN}" not in rule.learned()
    assert_finite_differences(rule, [support] * 2, query)
    assert_same_meta_gradient(rule, [support] * 2, query)


@pytest.mark.parametrize("kind", LEARNERS)
def test_a_frozen_layer_is_not_learned_whenever_it_was_frozen(kind: str) -> None:
    """Before the first step, or after one that left a gradient and a momentum."""
    support, query = images(2, 2), images(2, 2, seed=1)
    for steps in (0, 1):
        rule = learner(kind)
        step = descent(rule)
        for _ in range(steps):
            step.step(rule, [support], query)
        freeze(rule, FROZEN, "body.norm.bias")
        before = copy.deepcopy(rule)
        step.step(rule, [support], query)
        still = {f"network.{FROZEN}", "network.body.norm.bias"}
        still |= {"rates.0", "rates.3"} if kind == "meta-sgd" else set()
        assert moved(before, rule) == {n for n, _ in rule.named_parameters()} - still


def test_a_frozen_rate_is_not_learned_and_its_parameter_is() -> None:
    rule = learner("meta-sgd")
    assert isinstance(rule, MetaSGD)
    rule.rates[0].requires_grad_(False)
    before = copy.deepcopy(rule)
    descent(rule).step(rule, [images(2, 2)], images(2, 2, seed=1))
    assert moved(before, rule) == {n for n, _ in rule.named_parameters()} - {"rates.0"}


def test_with_a_frozen_head_anil_adapts_nothing() -> None:
    rule, support, query = freeze(learner("anil"), "head.weight", "head.bias"), images(2, 2), images(2, 2, seed=1)
    assert all(torch.equal(t, adapt(rule, [support])[n]) for n, t in rule.begin().items())
    assert_close(gradient_of(rule, [support], query).grads, gradient_of(rule, [], query).grads, EXACT, "gradient")


@pytest.mark.parametrize("kind", POLICIES)
def test_control_leaves_the_frozen_alone_inside_and_outside(kind: str) -> None:
    """Also what ProtoNet shifts and what MetaOptNet moves, where it is frozen."""
    for names in (("body.0.weight", "likelihood.log_std"), ("body.0.bias",), ("head.weight",), ("head.bias",)):
        rule = freeze(policy(kind), *names)
        supports, query = meta_batch(rule, updates=2, ratio=True)
        before, after = rule.begin(), adapt(rule, supports)
        assert all(torch.equal(after[n], before[n].expand_as(after[n])) for n in names)
        still = {f"network.{n}" for n in names}
        for outer in (trust_region, proximal):
            stepped = copy.deepcopy(rule)
            outer(stepped).step(stepped, supports, query)
            changed = moved(rule, stepped)
            assert not changed & still and "network.body.1.weight" in changed


def trust_region(rule: Learner) -> TrustRegionOuter:
    return TrustRegionOuter(workers=Workers(1))


def proximal(rule: Learner) -> ProximalOuter:
    return ProximalOuter(torch.optim.SGD(rule.parameters(), 0.01, weight_decay=0.01), workers=Workers(1), epochs=2)


def test_where_all_is_frozen_there_is_nothing_to_learn() -> None:
    rule = learner("protonet").requires_grad_(False)
    with pytest.raises(ValueError, match="nothing to learn: every parameter is frozen"):
        gradient_of(rule, [images(2, 2)], images(2, 2))
    assert adapt(rule, [images(2, 2)])["head.weight"].shape == (2, 3, 4)


# Unused -------------------------------------------------------------------------------------------------------


class Idle(Smooth):
    """A body with two more parameters, which nothing reads."""

    def __init__(self) -> None:
        super().__init__(9)
        self.idle = nn.Parameter(torch.ones(2, 3))
        self.norm.idle = nn.Parameter(torch.ones(2))


IDLE = ("idle", "norm.idle")


def idle(kind: str, **options: bool) -> tuple[Learner, Learner]:
    """A learner, and the same with such a body."""
    plain, rule = learner(kind, **options), learner(kind, **options)  # type: ignore[arg-type]
    rule.network.body = Idle().double()
    rule.network.body.load_state_dict(plain.network.body.state_dict(), strict=False)
    if isinstance(rule, MetaSGD):
        rates = dict(zip([n for n, _ in plain.network.named_parameters()], rule.rates, strict=True))
        rule.rates = nn.ParameterList(
            [rates.get(n, torch.full_like(p, 0.3)) for n, p in rule.network.named_parameters()]
        )
    return plain, rule


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("kind", LEARNERS)
def test_an_unused_parameter_has_gradient_0_and_changes_no_other(kind: str, first_order: bool) -> None:
    plain, rule = idle(kind, first_order=first_order)
    support, query = images(2, 2), images(2, 2, seed=1)
    expected, got = (gradient_of(r, [support] * 2, query) for r in (plain, rule))
    assert torch.equal(got.losses, expected.losses)
    grads = dict(zip(rule.learned(), got.grads, strict=True))
    unused = [f"network.body.{n}" for n in IDLE]
    if kind == "meta-sgd":
        unused += [f"rates.{i}" for i, (n, _) in enumerate(rule.network.named_parameters()) if n[5:] in IDLE]
    zeros = [grads.pop(n) for n in unused]
    assert not any(g.any() for g in zeros) and [g.shape for g in zeros][:2] == [(2, 3), (2,)]
    for mine, theirs in zip(grads.values(), expected.grads, strict=True):
        assert torch.equal(mine, theirs)
    adapted = adapt(rule.eval(), [support])
    assert all(torch.equal(adapted[f"body.{n}"][-1], rule.network.body.get_parameter(n)) for n in IDLE)


@pytest.mark.parametrize("kind", ["maml", "meta-sgd"])
def test_so_it_has_in_control(kind: str) -> None:
    """A log std that is clamped at its floor has no part in anything."""
    rule = policy(kind)
    rule.network.likelihood.least = 1.0
    supports, query = meta_batch(rule, ratio=True)
    names = list(rule.learned())
    for outer in (trust_region, proximal):
        after = copy.deepcopy(rule)
        outer(after).step(after, supports, query)
        assert outer is proximal or "network.likelihood.log_std" not in moved(rule, after)
    v = torch.ones(sum(p.numel() for p in rule.learned().values()), dtype=torch.float64)
    product = product_of(rule, Piece(supports, query))(v)
    at = names.index("network.likelihood.log_std")
    start = sum(p.numel() for p in list(rule.learned().values())[:at])
    assert not product[start : start + 2].any()
