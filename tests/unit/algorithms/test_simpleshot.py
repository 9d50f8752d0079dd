"""SimpleShot: centred features of length one, their nearest class mean, and the running centre."""

from __future__ import annotations

import pytest
import torch

from metabench.algorithms import GradientOuter, SimpleShot, Workers, adapt
from tests.support.classifiers import classifier
from tests.support.small import WAYS, images


def test_features_at_test_are_centred_and_of_length_one() -> None:
    rule, x = classifier("simpleshot"), images(2, 3).x
    assert isinstance(rule, SimpleShot)
    z = rule.network.features(rule.begin(), x) - rule.centre.mean
    torch.testing.assert_close(rule.embed(rule.begin(), x), z / z.norm(dim=-1, keepdim=True), atol=1e-12, rtol=0)
    rule.train()
    assert torch.equal(rule.embed(rule.begin(), x), rule.network.features(rule.begin(), x))


def test_the_nearest_mean_wins() -> None:
    rule, support, query = classifier("simpleshot"), images(3, 4), images(3, 5, seed=1)
    fast = adapt(rule, [support])
    shown, asked = (rule.embed(rule.begin(), b.x) for b in (support, query))
    means = torch.stack(
        [torch.stack([z[y == k].mean(0) for k in range(WAYS)]) for z, y in zip(shown, support.y, strict=True)]
    )
    nearest = torch.cdist(asked, means).argmin(-1)
    assert torch.equal(rule.predict(fast, query.x).argmax(-1), nearest)


def test_the_centre_by_hand() -> None:
    """Two examples at (3, 0) and (0, 4) of the centre are (1, 0) and (0, 1): W = 2c, b = −‖c‖²."""
    rule = classifier("simpleshot")
    assert isinstance(rule, SimpleShot)
    rule.network.features = lambda fast, x: x  # type: ignore[method-assign, assignment]
    centre = torch.tensor([1.0, 2.0, 0.0, 0.0]).double()
    rule.centre.mean.copy_(centre)
    x = (centre + torch.tensor([[3.0, 0, 0, 0], [0, 4.0, 0, 0]]).double()).unsqueeze(0)
    support = images(1, 1)._replace(x=x, y=torch.tensor([[0, 1]]), w=torch.ones(1, 2).double(), ways=2)
    fast = adapt(rule, [support])
    assert fast["head.weight"].tolist() == [[[2.0, 0, 0, 0], [0, 2.0, 0, 0]]]
    assert fast["head.bias"].tolist() == [[-1.0, -1.0]]


@pytest.mark.parametrize("norm", ["running", "transductive"])
def test_the_centre_follows_the_features_of_training_under_every_protocol(norm: str) -> None:
    rule = classifier("simpleshot", norm=norm).train()
    assert isinstance(rule, SimpleShot)
    before, query = rule.centre.mean.clone(), images(1, 4)
    mean = rule.network.features(rule.begin(), query.x).mean(1)[0].detach()
    optimizer = torch.optim.SGD(rule.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    GradientOuter(optimizer, schedule, workers=Workers(1)).step(rule, [], query)
    torch.testing.assert_close(rule.centre.mean, 0.9 * before + 0.1 * mean, atol=1e-12, rtol=0)
    assert "centre.mean" in rule.state_dict()
