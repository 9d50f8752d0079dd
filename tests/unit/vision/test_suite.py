"""The few-shot suite: tasks by index, the same support for every update, accuracy as the score."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
import torch

from metabench.algorithms import Batch, Network, ProtoNet, adapt
from metabench.algorithms.learner import trajectory
from metabench.algorithms.likelihood import Categorical
from metabench.algorithms.network import Params
from metabench.algorithms.suite import scores_by_update
from metabench.vision.augment import Augment, Augmentation, Strong
from metabench.vision.suite import FewShot, Tasks
from tests.support.small import LEARNERS, Smooth, images, learner


class Drawn:
    """Task i is a function of i."""

    seed = 3

    def draw(self, episodes: Iterable[int], device: torch.device | str = "cpu") -> tuple[Batch, Batch]:
        pairs = [(images(1, 2, seed=i), images(1, 3, seed=1000 + i)) for i in episodes]
        support, query = ([p[k] for p in pairs] for k in (0, 1))
        return tuple(  # type: ignore[return-value]
            Batch(torch.cat([b.x for b in side]), torch.cat([b.y for b in side]), torch.cat([b.w for b in side]), 3)
            for side in (support, query)
        )


def suite(augment: Augmentation | None = None) -> FewShot:
    return FewShot({"train": Drawn(), "test": Drawn()}, torch.device("cpu"), augment)


def test_tasks_come_by_index_and_can_be_sliced() -> None:
    tasks = suite().tasks(range(4, 8), "train")
    assert len(tasks) == 4
    part = tasks.at(slice(1, 3))
    assert len(part) == 2
    again = suite().tasks(iter([5, 6]), "train")
    assert torch.equal(part.support.x, again.support.x)
    assert torch.equal(part.query.x, again.query.x)


def test_support_and_query_are_given_whatever_the_learner_does() -> None:
    tasks, rule = suite().tasks([0, 1], "train"), learner("maml")
    adapted = adapt(rule, [tasks.support])
    for fast in (rule.begin(), adapted):
        assert suite().support(tasks, rule, fast, 0) is tasks.support
        assert suite().query(tasks, rule, fast, 1) is tasks.query
    assert not FewShot.interactive
    assert suite().metrics(tasks) == {}


def test_the_score_is_the_accuracy_of_each_task() -> None:
    class Corner(Smooth):
        """Features are the first three pixels: the class is the brightest."""

        features = 3

        def forward(self, fast: object, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(2)[..., :3]

    rule = ProtoNet(Network(Corner(9, 3), 3, Categorical()))
    with torch.no_grad():
        rule.network.head.weight.copy_(torch.eye(3))
        rule.network.head.bias.zero_()
    x = torch.zeros(2, 4, 1, 3, 3)
    for task, wanted in enumerate([(0, 1, 2, 2), (0, 0, 0, 0)]):
        for n, k in enumerate(wanted):
            x[task, n, 0, 0, k] = 1.0
    query = Batch(x, torch.tensor([[0, 1, 2, 2], [0, 1, 2, 0]]), torch.ones(2, 4), 3)
    scores = suite().scorer(Tasks(query, query), rule)(rule.begin(), 0)
    assert scores.tolist() == [1.0, 0.5]


@pytest.mark.parametrize("kind", LEARNERS)
def test_a_task_whose_outputs_are_not_finite_has_no_score(kind: str) -> None:
    """One pixel of one query: its task alone has no score, and no other task's changes."""
    rule, tasks = learner(kind, norm="running").eval(), suite().tasks(range(3), "test")
    tasks.query.x[1, 4, 0, 0, 0] = math.nan
    score = suite().scorer(tasks, rule)(adapt(rule, [tasks.support]), 1)
    assert score.isnan().tolist() == [False, True, False]
    whole = suite().scorer(suite().tasks(range(3), "test"), rule)(adapt(rule, [tasks.support]), 1)
    assert torch.equal(score[[0, 2]], whole[[0, 2]])


@pytest.mark.parametrize("kind", LEARNERS)
def test_nor_has_one_whose_support_is_not(kind: str) -> None:
    rule, tasks = learner(kind, norm="running").eval(), suite().tasks(range(3), "test")
    whole = scores_by_update(suite(), tasks, rule, 2)
    tasks.support.x[0, 0, 0, 0, 0] = math.nan
    scores = scores_by_update(suite(), tasks, rule, 2)
    assert scores.isnan().tolist() == [[False, True, True]] + [[False] * 3] * 2
    assert torch.equal(scores[1:], whole[1:])


PASSES = {"maml": 3, "meta-sgd": 3, "anil": 1, "protonet": 1, "metaoptnet-ridge": 1}
"""Of the body over the query, for its scores after 0, 1 and 2 updates."""


@pytest.mark.parametrize("norm", ["transductive", "running", "support"])
@pytest.mark.parametrize("kind", PASSES)
def test_the_query_passes_the_body_once_unless_an_update_changes_its_features(
    kind: str, norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = learner(kind, norm=norm).eval()
    tasks = suite().tasks(range(6), "test")
    passed, features = 0, rule.network.features

    def counted(fast: Params, x: torch.Tensor) -> torch.Tensor:
        nonlocal passed
        passed += x is tasks.query.x
        return features(fast, x)

    monkeypatch.setattr(rule.network, "features", counted)
    score = suite().scorer(tasks, rule)
    path = list(trajectory(rule, [tasks.support] * 2))
    scores = [score(fast, update) for update, fast in enumerate(path)]
    assert passed == PASSES[kind] + (3 if norm == "support" and PASSES[kind] == 1 else 0)
    for fast, score_of in zip(path, scores, strict=True):
        predicted = rule.predict(fast, tasks.query.x).argmax(-1)
        assert torch.equal(score_of, (predicted == tasks.query.y).to(score_of.dtype).mean(1))
    assert not torch.equal(scores[0], scores[-1])


@pytest.mark.parametrize("augment", [Augment(padding=1), Strong()])
def test_augmentation_alters_training_tasks_alone_and_by_their_index(augment: Augmentation) -> None:
    plain, changed = suite().tasks([0, 1], "train"), suite(augment).tasks([0, 1], "train")
    assert not torch.equal(plain.support.x, changed.support.x)
    assert torch.equal(plain.support.y, changed.support.y)
    assert torch.equal(suite(augment).tasks([1], "train").query.x[0], changed.query.x[1])
    assert torch.equal(changed.query.x[1], augment(plain.query.x[1], Drawn.seed, 1, 1))
    assert torch.equal(changed.support.x[1], augment(plain.support.x[1], Drawn.seed, 1, 0))
    assert torch.equal(suite(augment).tasks([0], "test").support.x, suite().tasks([0], "test").support.x)
