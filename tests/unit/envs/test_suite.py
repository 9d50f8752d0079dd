"""The control suite: which rollouts are support, query and score, which seeds they come from, what a batch holds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from metabench.algorithms import MAML, Batch, Gaussian, Learner, Network
from metabench.algorithms.learner import partway
from metabench.algorithms.perceptron import Perceptron
from metabench.algorithms.suite import collect, scores_by_update
from metabench.envs import ENVIRONMENTS, Spec
from metabench.envs.rollouts import normalised_advantages
from metabench.envs.suite import Control
from tests.support.line import Line

SEEDS = {"train": 0, "val": 7, "test": 8}


def learner(suite: Control, seed: int = 0) -> Learner:
    torch.manual_seed(seed)
    actions = suite.spec.action_size
    return MAML(Network(Perceptron(suite.observation_size, (8,)), actions, Gaussian(actions)), inner_lr=0.1)


def control(spec: Spec | None = None, **options: bool | float) -> Control:
    return Control(spec or Line(), 3, SEEDS, threads=1, **options)  # type: ignore[arg-type]


def test_support_query_and_score_of_an_update_are_the_same_episodes() -> None:
    suite = control()
    rule, tasks = learner(suite), suite.tasks([2, 5], "train")
    fast = rule.begin()
    support, query = suite.support(tasks, rule, fast, 0), suite.query(tasks, rule, fast, 0)
    for field in ("x", "y", "w", "valid"):
        assert torch.equal(getattr(support, field), getattr(query, field))
    returns = tasks.last[0].returns
    np.testing.assert_array_equal(suite.scorer(tasks, rule)(fast, 0).numpy(), returns.mean(1))
    later = suite.query(tasks, rule, fast, 1)
    assert not torch.equal(later.y, query.y), "the next update's are fresh"
    assert list(tasks.last) == [1]
    shown = suite.metrics(tasks)
    assert shown == {"return_before": pytest.approx(returns.mean()), "return": tasks.last[1].returns.mean()}
    assert Control.interactive


def test_a_batch_holds_every_step_with_its_weight_and_log_probability() -> None:
    suite = control(discount=0.9, trace=0.8)
    rule, tasks = learner(suite), suite.tasks([0, 1], "train")
    query = suite.query(tasks, rule, rule.begin(), 0)
    rolled = tasks.last[0]
    assert (query.x.shape, query.y.shape, query.w.shape, query.ways) == ((2, 18, 1), (2, 18, 1), (2, 18), 0)
    assert {t.dtype for t in query if isinstance(t, torch.Tensor)} == {torch.float32}
    assert query.valid is not None and query.old is not None
    for found, given in (
        (query.x, rolled.observations),
        (query.y, rolled.actions),
        (query.w, normalised_advantages(rolled, 0.9, 0.8)),
        (query.valid, rolled.valid),
        (query.old, rolled.log_probs),
    ):
        expected = given.astype(np.float32)
        np.testing.assert_array_equal(found[1, 6:12].numpy(), expected[1, 1], "example e·H + t is step t of rollout e")
    weights = query.w[0][query.valid[0] > 0]
    assert float(weights.mean()) == pytest.approx(0, abs=1e-6)
    assert float(weights.square().mean()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("ratio", [False, True])
def test_a_support_weighs_by_the_ratio_where_asked_and_a_query_always_may(ratio: bool) -> None:
    suite = control(ratio=ratio)
    rule, tasks = learner(suite), suite.tasks([0], "train")
    fast = rule.begin()
    support, query = suite.support(tasks, rule, fast, 0), suite.query(tasks, rule, fast, 0)
    assert (support.old is not None) == ratio
    assert query.old is not None
    # At the policy that acted: the ratios are 1, and both losses have the score's gradient.
    ratios = query.ratio(rule.network.likelihood.log_prob(rule.predict(fast, query.x), query.y))
    np.testing.assert_allclose(ratios.detach(), 1, atol=1e-5)
    names = list(fast)
    score, other = (
        torch.autograd.grad(rule.loss(fast, b).sum(), [fast[n] for n in names])
        for b in (query._replace(old=None), query)
    )
    for a, b in zip(score, other):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_split_has_its_own_tasks_and_its_own_chance() -> None:
    suite = control()
    rule = learner(suite)
    tasks = {split: suite.tasks([0, 1], split) for split in SEEDS}
    for split, seed in SEEDS.items():
        np.testing.assert_array_equal(tasks[split].variables["place"], Line.tasks.sample(2, seed)["place"])
    assert len({float(t.variables["place"][0]) for t in tasks.values()}) == 3
    with torch.no_grad():
        actions = {split: suite.query(t, rule, rule.begin(), 0).y for split, t in tasks.items()}
    assert not torch.equal(actions["val"], actions["test"])
    again = suite.tasks(iter([1]), "val")
    assert len(again) == 1
    assert torch.equal(suite.query(again, rule, rule.begin(), 0).y, actions["val"][1:])


def test_noise_and_starts_differ_between_updates_tasks_and_rollouts() -> None:
    suite = control(ENVIRONMENTS["navigation-pearl"])
    rule, tasks = learner(suite), suite.tasks(range(4), "test")
    with torch.no_grad():
        rolled = [suite.roll(tasks, rule, rule.begin(), update) for update in (0, 1)]
    starts = np.stack([r.observations[:, :, 0] for r in rolled]).reshape(-1, 2)
    first = np.stack([r.actions[:, :, 0] - 0 for r in rolled]).reshape(-1, 2)
    for values in (starts, first):
        assert len(np.unique(values, axis=0)) == 2 * 4 * 3


def test_the_oracle_sees_its_task() -> None:
    suite = control(ENVIRONMENTS["navigation"], sees_task=True)
    assert (suite.observation_size, control(ENVIRONMENTS["navigation"]).observation_size) == (4, 2)
    rule, tasks = learner(suite), suite.tasks([0, 3], "val")
    with torch.no_grad():
        batch = suite.query(tasks, rule, rule.begin(), 0)
    assert batch.valid is not None
    for t in (0, 1):
        seen = batch.x[t][batch.valid[t] > 0][:, 2:]
        np.testing.assert_array_equal(seen, np.tile(tasks.variables["goal"][t].astype(np.float32), (len(seen), 1)))


def test_the_oracle_sees_every_variable_of_a_task() -> None:
    suite = control(ENVIRONMENTS["hopper-params"], sees_task=True)
    one = suite.spec.tasks.sample(1, 0)
    assert suite.observation_size == 11 + sum(v.size for v in one.values())
    with torch.no_grad():
        rule, tasks = learner(suite), suite.tasks([1], "val")
        batch = suite.query(tasks, rule, rule.begin(), 0)
    expected = np.concatenate([v[0].ravel() for v in tasks.variables.values()])
    np.testing.assert_array_equal(batch.x[0, 0, 11:], expected.astype(np.float32))


def test_a_batch_can_be_cut_by_tasks() -> None:
    suite = control()
    rule, tasks = learner(suite), suite.tasks([0, 1], "train")
    query = suite.query(tasks, rule, rule.begin(), 0)
    part = query.at(slice(1, 2))
    assert isinstance(part, Batch)
    assert part.old is not None and query.old is not None
    assert torch.equal(part.old, query.old[1:])


def test_a_test_may_take_more_episodes_than_training() -> None:
    suite = control(test_rollouts=5)
    counts = {split: suite.tasks([0], split).rollouts for split in ("train", "val", "test")}
    assert counts == {"train": 3, "val": 5, "test": 5}
    rule, tasks = learner(suite), suite.tasks([0], "test")
    assert suite.roll(tasks, rule, rule.begin(), 0).rewards.shape[:2] == (1, 5)
    assert control().tasks([0], "test").rollouts == 3


def test_later_updates_at_test_go_a_share_of_the_way() -> None:
    """Half of the rate from the second update on: φ₂ = φ₁ − α/2 ∇L(φ₁), whatever happens in training."""
    suite = control(later_rate=0.5)
    rule = learner(suite)
    scored = scores_by_update(suite, suite.tasks([1, 4], "test"), rule, 2)
    tasks, half = suite.tasks([1, 4], "test"), learner(suite)
    assert isinstance(half, MAML)
    half.settings = dataclasses.replace(half.settings, inner_lr=0.05)
    first = rule.update(rule.begin(), rule.encode(suite.support(tasks, rule, rule.begin(), 0)))
    second = half.update(first, rule.encode(suite.support(tasks, rule, first, 1)))
    by_hand = [suite.scorer(suite.tasks([1, 4], "test"), rule)(fast, k) for k, fast in enumerate((first, second), 1)]
    assert torch.allclose(scored[:, 1:], torch.stack(by_hand, 1), rtol=1e-5)
    full = control()
    assert not torch.allclose(scored[:, 2], scores_by_update(full, full.tasks([1, 4], "test"), rule, 2)[:, 2])
    _, query = collect(suite, suite.tasks([1], "train"), rule, 2)
    _, expected = collect(full, full.tasks([1], "train"), rule, 2)
    assert torch.equal(query.y, expected.y), "training keeps its rate"


def test_a_share_of_the_way_leaves_what_did_not_move() -> None:
    before = {"a": torch.zeros(1, 2), "b": torch.ones(1, 2)}
    after = {"a": torch.tensor([[4.0, 8.0], [0.0, 2.0]]), "b": before["b"], "new": torch.ones(2, 1)}
    half = partway(before, after, 0.25)
    assert half["a"].tolist() == [[1.0, 2.0], [0.0, 0.5]]
    assert torch.equal(half["b"], before["b"]) and half["new"] is after["new"]
    assert partway(before, after, 1.0) is after
