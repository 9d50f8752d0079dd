"""ProtoNet's rule: the head is the class means."""

from __future__ import annotations

import torch

from algorithms import Batch, adapt
from algorithms.protonet import class_means
from tests.checks import assert_logits_are_distances
from tests.small import BODIES, images, learner


def test_class_means_by_hand() -> None:
    x = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [0.0, 5.0]]])
    batch = Batch(x, torch.tensor([[0, 0, 1]]), torch.ones(1, 3), 2)
    assert torch.equal(class_means(batch), torch.tensor([[[2.0, 0.0], [0.0, 5.0]]]))
    weighted = batch._replace(w=torch.tensor([[1.0, 3.0, 2.0]]))
    assert torch.equal(class_means(weighted), torch.tensor([[[2.5, 0.0], [0.0, 5.0]]]))


def test_a_class_may_have_more_examples_than_another() -> None:
    support = images(2, 3)
    fewer = Batch(support.x[:, 2:], support.y[:, 2:], support.w[:, 2:], 3)
    assert_logits_are_distances(learner("protonet"), fewer, images(2, 2, seed=1))


def test_logits_are_squared_distances_up_to_a_number_for_each_example() -> None:
    for of in BODIES:
        assert_logits_are_distances(learner("protonet", of), images(2, 3, of), images(2, 2, of, seed=1))


def test_the_head_by_hand() -> None:
    rule, support = learner("protonet"), images(1, 1)
    after, z = adapt(rule, [support]), rule.network.features(rule.begin(), support.x)
    assert torch.equal(after["head.weight"], 2 * z)
    assert torch.equal(after["head.bias"], -z.square().sum(-1))


def test_one_shot_of_the_query_itself_is_always_right() -> None:
    rule, support = learner("protonet"), images(4, 1)
    logits = rule.predict(adapt(rule, [support]), support.x)
    assert torch.equal(logits.argmax(-1), support.y)


def test_the_number_of_ways_is_the_supports_and_not_the_meta_heads() -> None:
    rule, support = learner("protonet"), images(2, 2)
    two = Batch(support.x[:, :4], support.y[:, :4], support.w[:, :4], 2)
    assert rule.predict(adapt(rule, [two]), support.x).shape == (2, 6, 2)


def test_a_second_update_changes_nothing() -> None:
    rule, support = learner("protonet"), images(2, 2)
    once, twice = (adapt(rule, [support] * k) for k in (1, 2))
    assert all(torch.equal(once[n], twice[n]) for n in once)
