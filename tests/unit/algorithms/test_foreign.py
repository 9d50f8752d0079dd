"""Plain modules as bodies: what is refused, by name, and what becomes of the layers that are replaced."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from metabench.algorithms import MAML, Categorical, FromModule, GradientOuter, Network, ProtoNet, Workers, adapt
from metabench.algorithms.foreign import TaskDropout, TaskNorm
from metabench.algorithms.network import forward_pass
from tests.support.checks import EXACT, assert_close, gradient_of
from tests.support.small import WAYS, images

SHAPE = (1, 3, 3)


class Calls(nn.Module):
    """A convolution, then what a function of it says."""

    def __init__(self, act: Callable[[nn.Module, Tensor], object], *layers: nn.Module) -> None:
        super().__init__()
        self.conv, self.layers, self.act = nn.Conv2d(1, 4, 2), nn.ModuleList(layers), act
        self.register_buffer("count", torch.zeros(()))
        self.seen = 0

    def forward(self, x: Tensor) -> object:
        return self.act(self, self.conv(x))


def through(layer: nn.Module) -> nn.Module:
    return Calls(lambda self, z: self.layers[0](z), layer)  # type: ignore[index, operator]


class MyNorm(nn.BatchNorm2d):
    """Batch norm and something more."""


def counts(self: nn.Module, z: Tensor) -> Tensor:
    self.count.add_(1)  # type: ignore[operator, union-attr]
    return z


def replaces(self: nn.Module, z: Tensor) -> Tensor:
    self.count = self.count + 1  # type: ignore[operator]
    return z


def remembers(self: nn.Module, z: Tensor) -> Tensor:
    self.seen += 1  # type: ignore[operator]
    return z


def caches(self: nn.Module, z: Tensor) -> Tensor:
    found: Tensor = vars(self).setdefault("cache", [z])[0]
    vars(self)["cache"][0] = z + 1
    return found


def unregistered() -> nn.Module:
    module = Calls(lambda self, z: z)
    vars(module)["more"] = {"of": [nn.Linear(2, 2)]}
    return module


NORM, STATE = "which no protocol names", "a state between tasks"
REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "sync": (lambda: through(nn.SyncBatchNorm(4)), "SyncBatchNorm layers.0 mixes the statistics of all processes"),
    "derived": (lambda: through(MyNorm(4)), f"MyNorm layers.0 normalises by statistics of its own, {NORM}"),
    "instance": (
        lambda: through(nn.InstanceNorm2d(4, track_running_stats=True)),
        f"InstanceNorm2d layers.0 keeps running statistics, {NORM}",
    ),
    "lazy": (
        lambda: through(nn.LazyConv2d(3, 1)),
        "LazyConv2d layers.0 is lazy: pass a batch through",
    ),
    "script": (lambda: torch.jit.script(nn.Linear(3, 2)), "is compiled by TorchScript"),
    "alpha": (lambda: through(nn.AlphaDropout(0.5)), "AlphaDropout layers.0 draws from the global generators"),
    "rrelu": (lambda: through(nn.RReLU()), "RReLU layers.0 draws from the global generators"),
    "depth": (
        lambda: through(StochasticDepth(0.5, "row")),
        "StochasticDepth layers.0 draws from the global",
    ),
    "function": (lambda: Calls(lambda self, z: F.dropout(z)), "Calls draws from the global generators"),
    "python": (lambda: Calls(lambda self, z: z * random.random()), "Calls draws from the global generators"),
    "numpy": (lambda: Calls(lambda self, z: z * np.random.rand()), "Calls draws from the global generators"),
    "counts": (lambda: Calls(counts), f"Calls changes a buffer while it runs, which is {STATE}"),
    "replaces": (lambda: Calls(replaces), f"Calls changes a buffer while it runs, which is {STATE}"),
    "remembers": (lambda: Calls(remembers), f"Calls changes an attribute while it runs, which is {STATE}"),
    "caches": (lambda: Calls(caches), "a Calls answers the same examples in two ways: it keeps a state, or draws"),
    "spectral": (lambda: through(nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 4, 1))), "changes a buffer"),
    "lstm": (lambda: through(nn.LSTM(2, 2)), "LSTM layers.0 holds parameters in '_flat_weights'"),
    "unregistered": (unregistered, "Calls holds parameters in 'more', where they cannot be replaced"),
    "in place": (lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Flatten()), "changes its input in place"),
    "scalar": (lambda: Calls(lambda self, z: z.sum()), r"of 3 examples a Calls makes \(\); it must make one row"),
    "pair": (lambda: Calls(lambda self, z: (z, z)), "of 3 examples a Calls makes a tuple"),
    "fold": (lambda: Calls(lambda self, z: z.flatten(0, 1)), r"of 3 examples a Calls makes \(12, 2, 2\)"),
    "channels": (lambda: nn.Conv2d(3, 4, 1), r"a Conv2d cannot take examples \(1, 3, 3\): .* expected input"),
    "small": (lambda: nn.Conv2d(1, 4, 5), r"a Conv2d cannot take examples \(1, 3, 3\): .* Kernel size"),
}


@pytest.mark.parametrize(("make", "why"), REFUSED.values(), ids=list(REFUSED))
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Lazy modules", "ignore::FutureWarning")
def test_what_cannot_be_exact_is_refused_by_name(make: Callable[[], nn.Module], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        FromModule(make(), SHAPE)


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(4), nn.Dropout(0.1), nn.Dropout2d(0.5), nn.LazyLinear(3)])
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_a_body_of_ones_own_may_not_hold_them_either(layer: nn.Module) -> None:
    """One with a task axis, whose batch norm `norm` would not reach."""
    body = nn.Sequential(layer)
    body.features = 4  # type: ignore[assignment]
    with pytest.raises(ValueError, match=f"{type(layer).__name__} 0 (normalises by|draws from|is lazy)"):
        Network(body, 3, Categorical())


@pytest.mark.parametrize("features", [None, nn.Identity()])
def test_a_plain_module_is_no_body(features: nn.Module | None) -> None:
    module = nn.Sequential()
    if features is not None:
        module.features = features
    with pytest.raises(ValueError, match=r"a Sequential is no body, .* makes one of a plain module"):
        Network(module, 3, Categorical())


def test_the_module_given_is_left_alone() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(9, 5), nn.BatchNorm1d(5), nn.Dropout(0.5)).eval()
    module[2].running_mean += 3
    before = copy.deepcopy(module.state_dict())
    body = FromModule(module, SHAPE)
    rule = MAML(Network(body, WAYS, Categorical()).double(), inner_lr=0.1)
    gradient_of(rule, [images(2, 2)], images(2, 2, seed=1))
    assert [type(layer) for layer in module] == [nn.Flatten, nn.Linear, nn.BatchNorm1d, nn.Dropout]
    assert all(torch.equal(t, before[n]) for n, t in module.state_dict().items()) and not module.training
    assert body.features == 5 and not isinstance(body.module[2], nn.BatchNorm1d)  # type: ignore[index]
    assert torch.equal(body.module[2].mean, module[2].running_mean.double())  # type: ignore[index, union-attr]


def test_batch_norms_own_settings_are_kept() -> None:
    """Its epsilon, no scale or shift, frozen ones, and a layer that is there twice."""
    bare, frozen = nn.BatchNorm2d(4, eps=0.1, affine=False), nn.BatchNorm2d(4)
    frozen.weight.requires_grad_(False)
    module = Calls(lambda self, z: self.layers[1](self.layers[0](z)) * self.layers[2](z), bare, frozen, frozen)  # type: ignore[index, operator]
    body = FromModule(module, SHAPE).double()
    layers = body.module.layers
    assert isinstance(layers, nn.ModuleList) and layers[1] is layers[2]
    assert [n for n, p in body.named_parameters() if p.requires_grad and "layers" in n] == ["module.layers.1.bias"]
    x = torch.randn(1, 6, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    got = body({n: p.unsqueeze(0) for n, p in body.named_parameters()}, x)
    assert_close([got[0]], [module.double()(x[0]).flatten(1)], EXACT, "output")


def test_a_batch_norm_that_runs_twice_has_no_support_of_its_own() -> None:
    twice = nn.BatchNorm2d(4)
    module = Calls(lambda self, z: self.layers[0](self.layers[0](z)), twice)  # type: ignore[index, operator]
    rule = ProtoNet(Network(FromModule(module, SHAPE), WAYS, Categorical()).double(), norm="support").eval()
    with pytest.raises(ValueError, match=r"batch norm module.layers.0. runs 2 times a pass"):
        adapt(rule, [images(2, 2)])
    rule.norm = "running"
    assert adapt(rule, [images(2, 2)])["head.weight"].shape == (2, 3, 16)


def test_one_that_does_not_run_keeps_its_averages() -> None:
    module = Calls(lambda self, z: self.layers[1](z), nn.BatchNorm2d(4), nn.BatchNorm2d(4))  # type: ignore[index, operator]
    rule = ProtoNet(Network(FromModule(module, SHAPE), WAYS, Categorical()).double(), norm="running")
    optimizer = torch.optim.SGD(rule.parameters(), 0.1)
    step = GradientOuter(optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0), workers=Workers(1))
    before = {n: b.clone() for n, b in rule.network.named_buffers()}
    step.step(rule, [images(2, 2)], images(2, 2, seed=1))
    moved = {n for n, b in rule.network.named_buffers() if not torch.equal(b, before[n])}
    assert moved == {f"body.module.layers.1.{of}" for of in ("mean", "var")}


def test_frozen_layers_and_buffers_that_are_constants_stay() -> None:
    module = Calls(lambda self, z: z + self.count)  # type: ignore[operator]
    module.conv.weight.requires_grad_(False)
    rule = MAML(Network(FromModule(module, SHAPE), WAYS, Categorical()).double(), inner_lr=0.5, norm="running").eval()
    before, after = rule.begin(), adapt(rule, [images(2, 2)])
    changed = {n for n in before if not torch.equal(after[n], before[n].expand_as(after[n]))}
    assert changed == {"body.module.conv.bias", "head.weight", "head.bias"}
    assert list(rule.learned()) == ["network.body.module.conv.bias", "network.head.weight", "network.head.bias"]


def test_copies_and_states_are_of_their_own() -> None:
    rule = MAML(Network(FromModule(Calls(lambda self, z: z.tanh()), SHAPE), WAYS, Categorical()).double(), inner_lr=0.5)
    support, query = images(2, 2), images(2, 2, seed=1)
    first = gradient_of(rule, [support], query).grads
    twin = copy.deepcopy(rule)
    for p in twin.parameters():
        p.data *= 2
    other = gradient_of(twin, [support], query).grads
    assert all(torch.equal(a, b) for a, b in zip(gradient_of(rule, [support], query).grads, first, strict=True))
    assert not torch.equal(other[0], first[0])
    twin.load_state_dict(rule.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(gradient_of(twin, [support], query).grads, first, strict=True))


@pytest.mark.parametrize("shape", [(4000,), (4000, 1), (2000, 2, 3)])
@pytest.mark.parametrize("channels", [False, True])
def test_dropout_zeroes_its_share_and_scales_the_rest(shape: tuple[int, ...], channels: bool) -> None:
    layer, x = TaskDropout(0.3, channels), torch.ones(2, *shape)
    with forward_pass([torch.Generator().manual_seed(1)]):
        out, again = layer(x), layer(x)
    assert out.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert 0.65 < float((out > 0).float().mean()) < 0.75
    assert not torch.equal(out, again)
    if channels and x.ndim > 2:
        assert torch.equal(out, out.flatten(2)[..., :1].view(*x.shape[:2], *[1] * (x.ndim - 2)).expand_as(out))
    with forward_pass([torch.Generator().manual_seed(1)]):
        assert torch.equal(layer(x), out)
    assert torch.equal(layer.eval()(x), x)
    assert not TaskDropout(1.0, channels)(x).any()


def test_a_norm_outside_of_a_task_is_an_error() -> None:
    with pytest.raises(LookupError):
        TaskNorm("n.", nn.BatchNorm2d(4))(torch.ones(2, 4, 1, 1))
