"""Labels are 0 … K − 1: any other is refused at every door, by every learner, before it can pass for an answer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from metabench.algorithms import Batch, GradientOuter, Workers, adapt, cross_entropy, meta_gradient
from metabench.vision.suite import FewShot
from tests.support.policies import meta_batch, policy
from tests.support.small import LEARNERS, images, learner

REFUSED = "labels 3, 7 and 9 in a batch of 3 ways; number each task's classes 0 … 2"


def relabelled(batch: Batch, *labels: int) -> Batch:
    """The classes 0, 1, … under other names."""
    return batch._replace(y=torch.tensor(labels)[batch.y])


@pytest.mark.parametrize("kind", LEARNERS)
def test_adapting_refuses_other_labels(kind: str) -> None:
    for support in (images(2, 2), images(1, 1)):
        with pytest.raises(ValueError, match=REFUSED):
            adapt(learner(kind), [support, relabelled(support, 3, 7, 9)])


@pytest.mark.parametrize("kind", LEARNERS)
@pytest.mark.parametrize("side", ["support", "query"])
def test_so_do_the_meta_gradient_and_the_outer_step(kind: str, side: str) -> None:
    rule, bad = learner(kind), relabelled(images(2, 2), 0, 1, 3)
    support, query = (bad if s == side else images(2, 2) for s in ("support", "query"))
    told = "label 3 in a batch of 3 ways; number each task's classes 0 … 2"
    with pytest.raises(ValueError, match=told):
        meta_gradient(rule, [support], query, cross_entropy, chunk=1, workers=Workers(1))
    optimizer = torch.optim.SGD(rule.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
    with pytest.raises(ValueError, match=told):
        GradientOuter(optimizer, schedule, workers=Workers(1), compile=True).step(rule, [support], query)


@pytest.mark.parametrize("label", [-1, -100, 3])
def test_and_the_loss_which_torch_would_leave_out(label: int) -> None:
    """−100 is the label that torch's cross-entropy ignores."""
    rule = learner("maml")
    with pytest.raises(ValueError, match=f"label {label} in a batch of 3 ways"):
        rule.loss(rule.begin(), relabelled(images(2, 2), 0, 1, label))


@pytest.mark.parametrize("side", [0, 1])
def test_and_a_suite_before_it_scores(side: int) -> None:
    class Drawn:
        seed = 0

        def draw(self, episodes: object, device: object = "cpu") -> tuple[Batch, Batch]:
            pair = [images(2, 2), images(2, 2, seed=1)]
            pair[side] = relabelled(pair[side], 1, 2, 3)
            return pair[0], pair[1]

    with pytest.raises(ValueError, match="label 3 in a batch of 3 ways"):
        FewShot({"test": Drawn()}, torch.device("cpu")).tasks([0, 1], "test")


def test_many_labels_are_not_all_named() -> None:
    batch = Batch(torch.zeros(1, 30, 4), torch.arange(5, 35).view(1, 30), torch.ones(1, 30), 5)
    with pytest.raises(ValueError, match="labels 5, 6, 7, 8, 9 and 25 more in a batch of 5 ways"):
        adapt(learner("protonet"), [batch])


def test_labels_need_not_all_occur_and_actions_are_none() -> None:
    support = images(2, 2)
    fast = adapt(learner("maml"), [relabelled(support, 0, 0, 2)])
    assert bool(fast["head.weight"].isfinite().all())
    rule = policy("maml")
    supports, query = meta_batch(rule)
    assert rule.loss(adapt(rule, supports), query).shape == (3,)


def test_the_host_looks_once_a_step_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """On an accelerator a look is a wait."""
    looks: list[int] = []
    tolist = Tensor.tolist
    monkeypatch.setattr(Tensor, "tolist", lambda t: looks.append(1) or tolist(t))
    support, query = images(6, 2), images(6, 2, seed=1)
    meta_gradient(learner("maml"), [support] * 5, query, cross_entropy, chunk=1, workers=Workers(1))
    assert len(looks) == 1
