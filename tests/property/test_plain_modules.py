"""A plain torch module as a body: its meta-gradient is the built-in body's, and the derivative of what is measured."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from metabench.algorithms import MAML, Categorical, FromModule, GradientOuter, Learner, Network, Workers, adapt
from tests.support.checks import EXACT, assert_close, assert_finite_differences, assert_same_meta_gradient, gradient_of
from tests.support.modules import Tied, as_module, assert_a_module_learns_as_the_body, narrowed
from tests.support.small import LEARNERS, WAYS, images, learner


@pytest.mark.parametrize("kind", LEARNERS)
@pytest.mark.parametrize("steps", [1, 5])
def test_its_meta_gradient_is_that_of_the_body_built_in(kind: str, steps: int) -> None:
    support, query = images(2, 2, "conv4"), images(2, 2, "conv4", seed=1)
    assert_a_module_learns_as_the_body(learner(kind, "conv4"), support, query, steps)


@pytest.mark.parametrize("of", ["conv4-strided", "mlp", "resnet12"])
def test_so_it_is_of_other_bodies(of: str) -> None:
    support, query = images(2, 2, of), images(2, 2, of, seed=1)
    assert_a_module_learns_as_the_body(learner("maml", of), support, query, 2)


@pytest.mark.parametrize("kind", ["maml", "protonet"])
def test_batched_equals_a_loop_and_threads(kind: str) -> None:
    """Threads share the module, and each puts its own numbers in."""
    twin, _ = as_module(learner(kind, "conv4"))
    assert_same_meta_gradient(twin, [images(3, 2, "conv4")] * 2, images(3, 2, "conv4", seed=1))


@pytest.mark.parametrize("norm", ["transductive", "running", "support"])
@pytest.mark.parametrize("kind", ["maml", "anil", "protonet"])
def test_batch_norm_follows_the_named_protocol(kind: str, norm: str) -> None:
    rule = learner(kind, "conv4", norm=norm).eval()
    twin, _ = as_module(rule)
    support, query = images(2, 2, "conv4"), images(2, 2, "conv4", seed=1)
    with torch.no_grad():
        ours, theirs = (r.predict(adapt(r, [support] * 2), query.x) for r in (rule, twin))
    assert_close([theirs], [ours], EXACT, norm)


def test_the_outer_step_moves_its_running_averages() -> None:
    rule = learner("maml", "conv4", norm="running")
    twin, names = as_module(rule)
    for r in (rule, twin):
        before = [b.clone() for b in r.network.buffers()]
        optimizer = torch.optim.SGD(r.parameters(), 0.1)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        GradientOuter(optimizer, schedule, workers=Workers(1)).step(
            r, [images(3, 2, "conv4")], images(3, 2, "conv4", seed=1)
        )
        assert all(not torch.equal(a, b) for a, b in zip(before, r.network.buffers(), strict=True))
    assert_close(list(twin.network.buffers()), list(rule.network.buffers()), EXACT, "averages")
    found = dict(twin.named_parameters())
    for name, p in rule.named_parameters():
        assert_close([found[names[name]]], [p], EXACT, name)


def assert_slopes(rule: Learner, shots: int, size: int) -> None:
    """Along two random directions in all parameters at once."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 2, WAYS * shots, 3, size, size, generator=generator, dtype=torch.float64)
    support, query = (images(2, shots)._replace(x=each) for each in x)
    grads = gradient_of(rule, [support], query).grads
    before = [p.detach().clone() for p in rule.learned().values()]
    for _ in range(2):
        along = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in before]
        along = [a / sum(float(b.square().sum()) for b in along) ** 0.5 for a in along]
        sides = []
        for step in (1e-5, -1e-5):
            for p, old, a in zip(rule.learned().values(), before, along, strict=True):
                p.data = old + step * a
            with torch.no_grad():
                sides.append(float(rule.loss(adapt(rule, [support]), query).sum()))
        for p, old in zip(rule.learned().values(), before, strict=True):
            p.data = old
        slope = sum(float((g * a).sum()) for g, a in zip(grads, along, strict=True))
        assert slope == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-6, abs=1e-7)
        assert abs(slope) > 1e-3


@pytest.mark.parametrize("norm", ["transductive", "running"])
def test_resnet18s_meta_gradient_is_that_of_finite_differences(norm: str) -> None:
    """torchvision's own class, a sixteenth as wide."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = narrowed(resnet18(), 16)
        module.fc = nn.Identity()
        network = Network(FromModule(module, (3, 32, 32)), WAYS, Categorical()).double()
    assert network.width == 32
    assert_slopes(MAML(network, inner_lr=0.05, norm=norm), 2, 32)


def test_a_layer_used_twice_and_a_weight_with_two_names_are_one() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        rule = MAML(Network(FromModule(Tied(9), (1, 3, 3)), WAYS, Categorical()).double(), inner_lr=0.5)
    assert "network.body.module.second.weight" in rule.learned()
    assert "network.body.module.third.weight" not in rule.learned()
    assert_finite_differences(rule, [images(2, 2)] * 2, images(2, 2, seed=1))


class Dropped(nn.Module):
    """Dropout of entries and of channels between smooth layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.entries, self.channels = nn.Conv2d(1, 4, 2), nn.Dropout(0.3), nn.Dropout2d(0.3)
        self.last = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        z = self.channels(torch.tanh(self.conv(x)))
        return torch.tanh(self.last(self.entries(z.flatten(1))))


def test_dropout_draws_are_a_tasks_own_however_tasks_are_carried() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        rule = MAML(Network(FromModule(Dropped(), (1, 3, 3)), WAYS, Categorical()).double(), inner_lr=0.5)
    support, query = images(4, 2), images(4, 2, seed=1)
    before = torch.get_rng_state()
    assert_same_meta_gradient(rule, [support] * 2, query)
    assert torch.equal(torch.get_rng_state(), before)
    dropped, plain = (gradient_of(r, [support] * 2, query) for r in (rule, copy.deepcopy(rule).eval()))
    assert not torch.equal(dropped.losses, plain.losses)
