"""Baseline and Baseline++: the head in training, the head fitted to a support, and the draws of a task."""

from __future__ import annotations

import pytest
import torch

from metabench.algorithms import Baseline, BaselinePP, GradientOuter, Workers, adapt
from metabench.algorithms.learner import Batch
from metabench.algorithms.learners.baseline import FitSettings
from tests.support.checks import gradient_of
from tests.support.classifiers import TRAINED, assert_fit_is_torchs, classifier, fitted
from tests.support.small import WAYS, images


def batch(n: int = 12) -> Batch:
    """Images of the training classes."""
    given = images(1, n // WAYS)
    return given._replace(y=torch.arange(n).unsqueeze(0) % TRAINED, ways=TRAINED)


@pytest.mark.parametrize("kind", ["baseline", "baseline-pp"])
@pytest.mark.parametrize("shots", [1, 3])
def test_the_fit_is_that_of_torch_s_sgd_on_torch_s_layers(kind: str, shots: int) -> None:
    assert_fit_is_torchs(classifier(kind), images(2, shots))


def test_features_and_logits_of_baseline_pp_by_hand() -> None:
    rule = classifier("baseline-pp")
    assert isinstance(rule, BaselinePP)
    x = batch().x
    z, body = rule.embed(rule.begin(), x)[0], rule.network.features(rule.begin(), x)[0]
    torch.testing.assert_close(z, body / (body.norm(dim=-1, keepdim=True) + 1e-5), atol=1e-12, rtol=0)
    with torch.no_grad():
        rule.length.copy_(torch.arange(1.0, TRAINED + 1))
    logits = rule.predict(rule.begin(), x)[0]
    cosines = torch.cosine_similarity(body.unsqueeze(1), rule.network.head.weight.unsqueeze(0), -1)
    torch.testing.assert_close(logits, 2 * rule.length * cosines, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("ways", "scale"), [(5, 2.0), (200, 2.0), (201, 10.0)])
def test_many_classes_need_a_larger_scale(ways: int, scale: float) -> None:
    rule = classifier("baseline-pp", classes=ways)
    lengths = rule.begin()["head.weight"][0].norm(dim=-1)
    torch.testing.assert_close(lengths, scale * rule.network.head.weight.norm(dim=-1), atol=1e-6, rtol=1e-5)


def test_baseline_pp_learns_length_and_direction_and_no_bias() -> None:
    rule = classifier("baseline-pp").train()
    names = list(rule.learned())
    assert {"length", "network.head.weight"} <= set(names)
    assert "network.head.bias" not in names
    grads = dict(zip(names, gradient_of(rule, [], batch()).grads, strict=True))
    assert all(float(g.abs().max()) > 0 for g in grads.values())
    # A direction's length changes no logit, so that its gradient is across it.
    weight = rule.network.head.weight.detach()
    assert float((grads["network.head.weight"] * weight).sum(-1).abs().max()) < 1e-12


@pytest.mark.parametrize("kind", ["baseline", "baseline-pp", "simpleshot"])
def test_training_is_a_step_on_a_batch_of_all_classes_without_support(kind: str) -> None:
    rule = classifier(kind).train()
    optimizer = torch.optim.Adam(rule.parameters(), 0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    outer = GradientOuter(optimizer, schedule, workers=Workers(1))
    shown = [outer.step(rule, [], batch(21)) for _ in range(60)]
    assert shown[0]["loss"] > 1.5
    assert shown[-1]["loss"] < 0.6 * shown[0]["loss"]
    assert shown[-1]["accuracy"] > 0.8


def test_draws_are_of_the_pass_s_generators_and_alike_without() -> None:
    rule, support = classifier("baseline"), images(1, 2)
    twins = Batch(*(t.repeat(2, *[1] * (t.ndim - 1)) for t in (support.x, support.y, support.w)), WAYS)
    one, other = fitted(rule, twins)["head.weight"]
    assert not torch.allclose(one, other, atol=1e-3)
    assert torch.equal(fitted(rule, twins)["head.weight"][0], one)
    same = adapt(rule, [twins])["head.weight"]
    assert torch.equal(same[0], same[1])


def test_more_passes_fit_the_support_better() -> None:
    support = images(2, 3)
    losses = []
    for epochs in (1, 100):
        rule = classifier("baseline", fit_epochs=epochs)
        losses.append(float(rule.loss(fitted(rule, support), support).mean().detach()))
    assert losses[1] < 0.7 * losses[0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fit_epochs": 0}, "fit_epochs is 0; it must be a positive number"),
        ({"fit_batch": 0}, "fit_batch is 0; it must be a positive number"),
        ({"fit_lr": -1.0}, "fit_lr is -1.0; it must be a positive number"),
        ({"batch": 0}, "batch is 0; it must be a positive number"),
        ({"fit_decay": -0.1}, "fit_decay is -0.1; it must not be negative"),
        ({"fit_decay": 0.0}, None),
    ],
)
def test_a_setting_that_cannot_work_is_named(fields: dict[str, float], message: str | None) -> None:
    assert FitSettings(**fields).problem() == message  # type: ignore[arg-type]
    assert Baseline.Settings is FitSettings
