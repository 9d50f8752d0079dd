"""What learners that are trained as classifiers must respect at test, as `test_invariants` asks of the others."""

from __future__ import annotations

import pytest
import torch

from metabench.algorithms import adapt
from metabench.algorithms.ops.fit import SGD, CosineHead, LinearHead, fit
from tests.support.checks import (
    EXACT,
    assert_close,
    assert_finite_differences,
    assert_no_side_effect,
    assert_only_the_head_changes,
    assert_same_meta_gradient,
)
from tests.support.classifiers import CLASSIFIERS, assert_fits_are_each_task_s_own, classifier, fitted
from tests.support.small import WAYS, images

ORDER = torch.tensor([2, 0, 1])
"""New label of each old one."""


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("norm", ["running", "transductive", "support"])
def test_all_tasks_at_once_are_a_loop_over_them(kind: str, norm: str) -> None:
    assert_fits_are_each_task_s_own(classifier(kind, norm=norm), images(4, 3))


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_the_gradient_of_batches_is_a_loop_s(kind: str) -> None:
    assert_same_meta_gradient(classifier(kind).train(), [], images(3, 2))


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_one_task_does_not_see_another(kind: str) -> None:
    rule, support, query = classifier(kind), images(2, 3), images(2, 2, seed=1)
    x = support.x.clone()
    x[1] += torch.randn(x[1].shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype)
    before, after = (rule.predict(fitted(rule, s), query.x) for s in (support, support._replace(x=x)))
    assert_close([after[0]], [before[0]], EXACT, "task 0")
    assert (after[1] - before[1]).abs().max() > 1e-3


def test_relabelling_permutes_the_outputs_of_the_nearest_mean() -> None:
    rule, support, query = classifier("simpleshot"), images(2, 3), images(2, 2, seed=1)
    logits = rule.predict(adapt(rule, [support]), query.x)
    relabelled = rule.predict(adapt(rule, [support._replace(y=ORDER[support.y])]), query.x)
    torch.testing.assert_close(relabelled[..., ORDER], logits, atol=EXACT, rtol=0)


@pytest.mark.parametrize("head", [LinearHead(), CosineHead(2.0)], ids=["linear", "cosine"])
def test_relabelling_permutes_a_fitted_head_whose_first_rows_are_permuted_along(head: LinearHead | CosineHead) -> None:
    support = images(2, 3)._replace(x=torch.randn(2, 9, 4).double())
    first = [torch.randn(2, WAYS, 4).double(), torch.randn(2, WAYS).double()]
    first = [first[0].norm(dim=-1), first[0]] if isinstance(head, CosineHead) else first
    order = torch.rand(2, 5, 9).argsort(-1)
    sgd = SGD(0.1, 4, 0.01, momentum=0.9, dampening=0.9)
    old = torch.argsort(ORDER)
    weight, bias = head.read(fit(head, first, support, order, sgd))
    again = fit(head, [t[:, old] for t in first], support._replace(y=ORDER[support.y]), order, sgd)
    for one, other in zip(head.read(again), (weight, bias), strict=True):
        torch.testing.assert_close(one[:, ORDER], other, atol=EXACT, rtol=0)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_an_update_changes_the_head_alone_and_has_no_side_effect(kind: str) -> None:
    for training in (False, True):
        assert_only_the_head_changes(classifier(kind).train(training), [images(2, 2)])
        assert_no_side_effect(classifier(kind).train(training), images(2, 2))


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_support_of_any_number_of_ways(kind: str) -> None:
    rule, support = classifier(kind), images(2, 2)
    two = support._replace(x=support.x[:, :4], y=support.y[:, :4], w=support.w[:, :4], ways=2)
    assert rule.predict(adapt(rule, [two]), support.x).shape == (2, 6, 2)
    assert rule.predict(rule.begin(), support.x).shape == (2, 6, 7)


def test_a_fit_is_differentiated_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing trains so here; but a rule is a function of θ, and this one is no exception."""
    draws = torch.rand(1, 3 * 4 + 3 + 2 * 6, generator=torch.Generator().manual_seed(0)).double()
    monkeypatch.setattr("metabench.algorithms.learners.baseline._uniform", lambda count, like: draws.expand(2, -1))
    rule = classifier("baseline", fit_epochs=2).train()
    rule.network.head.requires_grad_(False)
    assert_finite_differences(rule, [images(2, 2)], images(2, 2, seed=1))
