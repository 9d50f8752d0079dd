"""Looped, batched, threaded: one meta-gradient, and one forward pass that is an ordinary torch module's."""

from __future__ import annotations

import pytest
import torch

from metabench.algorithms import MAML, adapt
from tests.support.checks import EXACT, assert_close, assert_gradient_descent, assert_same_meta_gradient, gradient_of
from tests.support.reference import plain
from tests.support.small import BODIES, LEARNERS, images, learner, network

IMAGE_BODIES = BODIES[:-1]


@pytest.mark.parametrize("of", IMAGE_BODIES)
@pytest.mark.parametrize("kind", LEARNERS)
@pytest.mark.parametrize("steps", [1, 5])
def test_batched_over_tasks_equals_a_loop_and_threads(kind: str, of: str, steps: int) -> None:
    support, query = images(3, 2, of), images(3, 2, of, seed=1)
    assert_same_meta_gradient(learner(kind, of), [support] * steps, query)


@pytest.mark.parametrize("of", IMAGE_BODIES)
@pytest.mark.parametrize("kind", ["maml", "anil", "meta-sgd"])
def test_so_does_the_first_order_gradient(kind: str, of: str) -> None:
    support, query = images(3, 2, of), images(3, 2, of, seed=1)
    assert_same_meta_gradient(learner(kind, of, first_order=True), [support] * 2, query)


@pytest.mark.parametrize("kind", LEARNERS)
def test_so_does_the_gradient_with_fresh_supports_for_every_update(kind: str) -> None:
    supports = [images(4, 2, seed=s) for s in range(3)]
    assert_same_meta_gradient(learner(kind), supports, images(4, 3, seed=9))


@pytest.mark.parametrize("of", BODIES)
def test_an_inner_step_is_gradient_descent_on_an_ordinary_torch_module(of: str) -> None:
    maml = learner("maml", of)
    model, parameters = plain(maml.network)
    for steps in (1, 3):
        assert_gradient_descent(maml, images(2, 2, of), model, parameters, maml.settings.inner_lr, steps)  # type: ignore[arg-type]


@pytest.mark.parametrize("of", BODIES)
def test_the_meta_gradient_is_that_of_an_ordinary_torch_module(of: str) -> None:
    """Two exact steps, written out with torch.func on a plain module, one task after another."""
    support, query = images(2, 2, of), images(2, 2, of, seed=1)
    maml = MAML(network(of), inner_lr=0.3)
    model, parameters = plain(maml.network)
    names = {p: name for name, p in model.named_parameters()}
    total = [torch.zeros_like(p) for p in parameters]
    for task in range(2):
        phi = list(parameters)
        for _ in range(2):
            loss = _loss(model, [names[p] for p in parameters], phi, support.x[task], support.y[task])
            phi = [p - 0.3 * g for p, g in zip(phi, torch.autograd.grad(loss, phi, create_graph=True), strict=True)]
        loss = _loss(model, [names[p] for p in parameters], phi, query.x[task], query.y[task])
        total = [t + g for t, g in zip(total, torch.autograd.grad(loss, parameters), strict=True)]
    assert_close(gradient_of(maml, [support] * 2, query).grads, total, EXACT, of)


def _loss(
    model: torch.nn.Module, names: list[str], values: list[torch.Tensor], x: torch.Tensor, y: torch.Tensor
) -> torch.Tensor:
    state = dict(zip(names, values, strict=True))
    return torch.nn.functional.cross_entropy(torch.func.functional_call(model, state, (x,)), y)


@pytest.mark.parametrize("of", IMAGE_BODIES)
def test_adapted_tasks_predict_together_as_they_do_alone(of: str) -> None:
    maml, support, query = learner("maml", of), images(3, 2, of), images(3, 2, of, seed=1)
    together = maml.predict(adapt(maml, [support]), query.x)
    for task in range(3):
        one = slice(task, task + 1)
        alone = maml.predict(adapt(maml, [support.at(one)]), query.x[one])
        assert_close([together[one]], [alone], EXACT, f"task {task}")
