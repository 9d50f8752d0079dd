"""Meta-gradients equal learn2learn's, on conv4 with batch norm, in float64, weights copied over."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algorithms import ANIL, MAML, Batch, MetaSGD, ProtoNet
from metabench.bench.speed import peers
from tests.support.checks import EXACT, assert_close, assert_matches_peer, gradient_of
from tests.support.small import images, learner

CONV4 = ("conv4", "conv4-strided")


@pytest.fixture(autouse=True)
def _peer() -> Iterator[None]:
    try:
        peers.learn2learn()
    except peers.PeerMissing as missing:
        pytest.skip(str(missing))
    with warnings.catch_warnings():
        # Its update keeps gradients on tensors that are not leaves.
        warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
        yield


@pytest.mark.parametrize("of", CONV4)
@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("first_order", [False, True])
def test_maml(of: str, steps: int, first_order: bool) -> None:
    ours = learner("maml", of, first_order=first_order)
    assert isinstance(ours, MAML)
    assert_matches_peer(peers.maml(ours, steps), ours, images(3, 2, of), images(3, 3, of, seed=1), steps)


@pytest.mark.parametrize("of", CONV4)
@pytest.mark.parametrize("steps", [1, 5])
def test_anil(of: str, steps: int) -> None:
    ours = learner("anil", of)
    assert isinstance(ours, ANIL)
    assert_matches_peer(peers.anil(ours, steps), ours, images(3, 2, of), images(3, 3, of, seed=1), steps)


@pytest.mark.parametrize("of", CONV4)
def test_protonet(of: str) -> None:
    ours = learner("protonet", of)
    assert isinstance(ours, ProtoNet)
    assert_matches_peer(peers.protonet(ours), ours, images(3, 2, of), images(3, 3, of, seed=1), 1)


@pytest.mark.parametrize("of", CONV4)
@pytest.mark.parametrize("steps", [1, 5])
def test_meta_sgd_with_a_different_rate_for_every_element(of: str, steps: int) -> None:
    ours = learner("meta-sgd", of)
    assert isinstance(ours, MetaSGD)
    assert_matches_peer(meta_sgd(ours, steps), ours, images(3, 2, of), images(3, 3, of, seed=1), steps)


def test_the_gradients_are_summed_and_not_averaged_over_tasks() -> None:
    """What processes add up: the gradient of two tasks is the sum of learn2learn's for either."""
    ours = learner("maml", "conv4")
    assert isinstance(ours, MAML)
    support, query = images(2, 2, "conv4"), images(2, 2, "conv4", seed=1)
    first, second = (peers.maml(ours, 1)(support.at(s), query.at(s)) for s in (slice(0, 1), slice(1, 2)))
    total = [a + b for a, b in zip(first, second, strict=True)]
    assert_close(gradient_of(ours, [support], query).grads, total, EXACT, "sum over tasks")


def meta_sgd(ours: MetaSGD, steps: int) -> Callable[[Batch, Batch], list[Tensor]]:
    """learn2learn's Meta-SGD with our weights and rates: gradients of weights, then of rates, in our order."""
    features: Any = peers.conv4(ours.network.body).double()  # type: ignore[arg-type]
    head = nn.Linear(ours.network.width, ours.network.head.out_features, dtype=torch.float64)
    head.load_state_dict(ours.network.head.state_dict())
    model = nn.Sequential(features, head)
    blocks = list(features[0])
    order = [b.conv.weight for b in blocks] + [b.conv.bias for b in blocks]
    order += [p for b in blocks for p in (b.normalize.weight, b.normalize.bias)] + list(head.parameters())
    rates = {p: nn.Parameter(r.detach().clone()) for p, r in zip(order, ours.rates, strict=True)}
    wrapped = peers.learn2learn().algorithms.MetaSGD(
        model, lrs=nn.ParameterList([rates[p] for p in model.parameters()])
    )

    def gradient(support: Batch, query: Batch) -> list[Tensor]:
        for x, y, query_x, query_y in zip(support.x, support.y, query.x, query.y, strict=True):
            clone = wrapped.clone()
            for _ in range(steps):
                clone.adapt(F.cross_entropy(clone(x), y))
            F.cross_entropy(clone(query_x), query_y).backward()
        found = [p.grad for p in (*order, *(rates[p] for p in order))]
        assert all(g is not None for g in found)
        return [g for g in found if g is not None]

    return gradient
