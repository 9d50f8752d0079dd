"""Blocks, chunks and threads; what one pass gives besides the gradient."""

from __future__ import annotations

import threading

import pytest
import torch

from metabench.algorithms import Batch, Workers, adapt, cross_entropy, meta_gradient
from metabench.algorithms.network import current_pass, forward_pass
from metabench.vision.models.backbones import ResNet12
from tests.support.checks import EXACT, assert_close, gradient_of
from tests.support.small import images, learner


def test_at_least_one_thread() -> None:
    with pytest.raises(ValueError, match="threads is 0; it must be at least 1"):
        Workers(0)


@pytest.mark.parametrize(
    ("threads", "tasks", "blocks"),
    [(1, 5, [(0, 5)]), (2, 5, [(0, 2), (2, 5)]), (3, 4, [(0, 1), (1, 2), (2, 4)]), (4, 2, [(0, 1), (1, 2)])],
)
def test_blocks_are_contiguous_even_and_in_order(threads: int, tasks: int, blocks: list[tuple[int, int]]) -> None:
    assert Workers(threads).map(lambda b: (b.start, b.stop), tasks) == blocks


def test_an_accelerator_gets_one_block() -> None:
    assert Workers(4, device="cuda").map(lambda b: (b.start, b.stop), 8) == [(0, 8)]


def test_blocks_run_at_the_same_time_in_the_mode_of_the_caller() -> None:
    meet = threading.Barrier(2, timeout=20)

    def mode(block: slice) -> bool:
        meet.wait()  # breaks unless both blocks are here at once
        return torch.is_grad_enabled()

    workers = Workers(2)
    assert workers.map(mode, 2) == [True, True]
    with torch.no_grad():
        assert workers.map(mode, 2) == [False, False]


def test_reduced_precision_reaches_every_thread() -> None:
    def product(block: slice) -> torch.dtype:
        return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype

    assert Workers(2, autocast=torch.bfloat16).map(product, 2) == [torch.bfloat16] * 2
    assert Workers(2).map(product, 2) == [torch.float32] * 2


def test_losses_and_accuracies_are_those_of_the_adapted_learner() -> None:
    rule, support, query = learner("maml"), images(4, 2), images(4, 3, seed=1)
    result = gradient_of(rule, [support] * 2, query, chunk=3)
    outputs = rule.predict(adapt(rule, [support] * 2), query.x)
    assert_close([result.losses], [cross_entropy(outputs, query)], EXACT, "losses")
    assert torch.equal(result.correct, (outputs.argmax(-1) == query.y).double().mean(1))
    assert not result.losses.requires_grad


def test_the_gradient_is_that_of_the_sum_over_tasks() -> None:
    rule, support, query = learner("anil"), images(3, 2), images(3, 2, seed=1)
    loss = cross_entropy(rule.predict(adapt(rule, [support]), query.x), query).sum()
    expected = torch.autograd.grad(loss, list(rule.parameters()))
    assert_close(gradient_of(rule, [support], query, chunk=1).grads, expected, EXACT, "gradient")
    assert all(p.grad is None for p in rule.parameters())


def test_a_parameter_that_no_task_uses_has_gradient_zero() -> None:
    grads = gradient_of(learner("protonet"), [images(2, 2)], images(2, 2, seed=1)).grads
    head = [g for (n, _), g in zip(learner("protonet").named_parameters(), grads, strict=True) if "head" in n]
    assert [float(g.abs().max()) for g in head] == [0.0, 0.0]


def test_actions_have_no_accuracy() -> None:
    rule, query = learner("maml"), images(2, 2)
    unlabelled = Batch(query.x, query.y, query.w, 0)
    result = meta_gradient(rule, [query], unlabelled, cross_entropy, chunk=2, workers=Workers(1))
    assert result.correct.isnan().all()


def test_it_works_where_gradients_are_off() -> None:
    rule, support, query = learner("maml"), images(2, 2), images(2, 2, seed=1)
    with torch.no_grad():
        off = gradient_of(rule, [support], query)
    on = gradient_of(rule, [support], query)
    assert all(torch.equal(a, b) for a, b in zip(off.grads, on.grads, strict=True))


def test_a_fixed_number_of_threads_gives_the_same_bits_every_time() -> None:
    rule, support, query = learner("maml", "conv4"), images(5, 2, "conv4"), images(5, 2, "conv4", seed=1)
    first, second = (gradient_of(rule, [support], query, threads=3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.grads, second.grads, strict=True))


def test_statistics_are_named_by_layer_and_averaged_over_tasks_of_uneven_chunks() -> None:
    rule, support, query = learner("maml", "conv4"), images(3, 2, "conv4"), images(3, 2, "conv4", seed=1)
    got = gradient_of(rule, [support], query, chunk=2).statistics
    assert list(got) == [f"norms.{i}." for i in range(4)]
    each = [gradient_of(rule, [support.at(s)], query.at(s)).statistics for s in (slice(i, i + 1) for i in range(3))]
    for name, pair in got.items():
        for moment in (0, 1):
            mean = torch.stack([e[name][moment] for e in each]).mean(0)
            torch.testing.assert_close(pair[moment], mean, atol=1e-12, rtol=0)


def test_the_randomness_of_layers_comes_from_the_seed_alone() -> None:
    rule, support, query = learner("protonet", "resnet12"), images(2, 2, "resnet12"), images(2, 2, "resnet12", seed=1)
    assert isinstance(rule.network.body, ResNet12)
    rule.network.body.keep = 0.7

    def losses(seed: int) -> torch.Tensor:
        torch.manual_seed(torch.seed())  # the global generator must not matter
        with forward_pass() as outside:
            result = meta_gradient(rule, [support], query, cross_entropy, chunk=1, workers=Workers(1), seed=seed)
            assert current_pass() is outside
        assert outside.statistics == {}
        return result.losses

    assert torch.equal(losses(3), losses(3))
    assert not torch.equal(losses(3), losses(4))
