"""ProtoNet's rule: the head is the class means."""

from __future__ import annotations

import pytest
import torch

from metabench.algorithms import Batch, Gaussian, Network, ProtoNet, adapt
from metabench.algorithms.learners.protonet import class_means
from metabench.algorithms.perceptron import Perceptron
from tests.support.checks import assert_logits_are_distances
from tests.support.policies import meta_batch, policy
from tests.support.small import BODIES, Smooth, images, learner


def test_class_means_by_hand() -> None:
    x = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [0.0, 5.0]]])
    batch = Batch(x, torch.tensor([[0, 0, 1]]), torch.ones(1, 3), 2)
    assert torch.equal(class_means(batch), torch.tensor([[[2.0, 0.0], [0.0, 5.0]]]))
    weighted = batch._replace(w=torch.tensor([[1.0, 3.0, 2.0]]))
    assert torch.equal(class_means(weighted), torch.tensor([[[2.5, 0.0], [0.0, 5.0]]]))


def test_actions_have_no_classes() -> None:
    with pytest.raises(ValueError, match="the examples have actions and no labels"):
        class_means(Batch(torch.zeros(1, 3, 2), torch.zeros(1, 3, 2), torch.ones(1, 3)))


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


# Control ----------------------------------------------------------------------------------------------------

FIRST = "body.0.bias"


def conditioned() -> ProtoNet:
    rule = policy("protonet")
    assert isinstance(rule, ProtoNet)
    return rule


def test_control_overrides_the_first_bias_and_nothing_else() -> None:
    rule = conditioned()
    (support,), query = meta_batch(rule)
    before, after = rule.begin(), adapt(rule, [support])
    assert [n for n in before if after[n].shape != before[n].shape or not torch.equal(after[n], before[n])] == [FIRST]
    assert after[FIRST].shape == (3, 4)
    assert rule.reads == "inputs" and learner("protonet").reads == "features"
    assert rule.predict(before, query.x).shape == rule.predict(after, query.x).shape == (3, 12, 4)


def test_control_by_hand() -> None:
    """Two tanh layers' mean over what counts, weighted by advantages, then a linear map onto the bias."""
    rule = conditioned()
    (support,), _ = meta_batch(rule)
    named, after = dict(rule.named_parameters()), adapt(rule, [support])
    assert support.valid is not None
    for task in range(3):
        rows = []
        for n in range(support.x.shape[1]):
            if support.valid[task, n]:
                z = torch.cat([support.x[task, n], support.y[task, n]])
                for layer in ("embed.0", "embed.2"):
                    z = torch.tanh(named[f"prototype.{layer}.weight"] @ z + named[f"prototype.{layer}.bias"])
                rows.append(support.w[task, n] * z)
        shift = named["prototype.shift.weight"] @ torch.stack(rows).mean(0)
        torch.testing.assert_close(after[FIRST][task], named[f"network.{FIRST}"] + shift)


def test_the_shifts_of_several_supports_add_up() -> None:
    rule = conditioned()
    supports, _ = meta_batch(rule, updates=2)
    prior = rule.begin()[FIRST]
    first, second = (adapt(rule, [support])[FIRST] - prior for support in supports)
    assert not torch.allclose(first, second)
    torch.testing.assert_close(adapt(rule, supports)[FIRST], prior + first + second)


def test_a_prototype_changes_little_at_first_and_can_be_learned() -> None:
    torch.manual_seed(0)
    rule = ProtoNet(Network(Perceptron(3, (40, 8), "tanh"), 2, Gaussian(2))).double()
    (support,), query = meta_batch(rule)
    before, after = (rule.predict(fast, query.x) for fast in (rule.begin(), adapt(rule, [support])))
    assert 1e-6 < float((after - before).detach().abs().max()) < 0.1
    rule.loss(adapt(rule, [support]), query).sum().backward()
    for name, p in rule.named_parameters():
        assert p.grad is not None and p.grad.abs().max() > 0, name


def test_a_body_that_says_too_little_is_refused() -> None:
    with pytest.raises(ValueError, match="a Smooth has no inputs or first_bias, which ProtoNet needs in control"):
        ProtoNet(Network(Smooth(4), 2, Gaussian(2)))
