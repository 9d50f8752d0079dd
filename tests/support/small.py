"""Small networks, learners and tasks in float64, for tests that ask about exactness and not about learning."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from metabench.algorithms import ANIL, MAML, Batch, Categorical, Learner, MetaOptNet, MetaSGD, Network, ProtoNet
from metabench.algorithms.network import BatchNorm, linear
from metabench.vision.models.backbones import MLP, Conv4, ResNet12

WAYS, SIZE = 3, 16
BODIES = ("conv4", "conv4-strided", "mlp", "resnet12", "smooth")
LEARNERS = ("maml", "anil", "meta-sgd", "protonet", "metaoptnet-svm", "metaoptnet-ridge")
HEAD_RULES = ("anil", "protonet", "metaoptnet-svm", "metaoptnet-ridge")
HEAD = {"head.weight", "head.bias"}


class Smooth(nn.Module):
    """Linear, batch norm, tanh: a body without kinks, so that finite differences are exact. x (T, N, ...)."""

    def __init__(self, inputs: int, features: int = 4) -> None:
        super().__init__()
        self.features = features
        self.weight = nn.Parameter(torch.randn(features, inputs) / inputs**0.5)
        self.bias = nn.Parameter(torch.zeros(features))
        self.norm = BatchNorm("norm.", features)

    def forward(self, fast: Mapping[str, Tensor], x: Tensor) -> Tensor:
        return torch.tanh(self.norm(fast, linear(x.flatten(2), fast["weight"], fast["bias"])))


def body(kind: str) -> nn.Module:
    """A tiny one of each kind, for images (1, SIZE, SIZE); "smooth" takes 3 × 3 pixels."""
    if kind == "resnet12":
        return ResNet12(1, SIZE, (4, 6, 8, 10), keep=1.0)
    if kind == "mlp":
        return MLP(1, SIZE, (8, 6, 5, 5))
    if kind == "smooth":
        return Smooth(9)
    return Conv4(1, SIZE, 4, pool=kind == "conv4")


def network(kind: str = "smooth", seed: int = 0) -> Network:
    """In float64, with every parameter off its special initial value (0 or 1)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = Network(body(kind), WAYS, Categorical()).double()
        for p in made.parameters():
            p.data += 0.1 * torch.randn_like(p)
        for name, b in made.named_buffers():
            b += torch.randn_like(b) if name.endswith("mean") else torch.rand_like(b)
    return made


def learner(kind: str, of: str = "smooth", *, first_order: bool = False, norm: str = "transductive") -> Learner:
    """A learner over a tiny network; gradient rules step far enough for second derivatives to matter."""
    if kind == "maml":
        return MAML(network(of), inner_lr=0.3, first_order=first_order, norm=norm)
    if kind == "anil":
        return ANIL(network(of), inner_lr=0.3, first_order=first_order, norm=norm)
    if kind == "protonet":
        return ProtoNet(network(of), norm=norm)
    if kind.startswith("metaoptnet"):
        return MetaOptNet(network(of), head=kind.removeprefix("metaoptnet-"), penalty=0.5, norm=norm).double()
    made = MetaSGD(network(of), inner_lr=0.3, first_order=first_order, norm=norm)
    generator = torch.Generator().manual_seed(7)
    for rate in made.rates:
        rate.data *= 0.5 + torch.rand(rate.shape, generator=generator, dtype=rate.dtype)
    return made


def images(tasks: int, shots: int, of: str = "smooth", seed: int = 0) -> Batch:
    """Random images of WAYS classes in float64, `shots` of each, the classes' means apart."""
    size = 3 if of == "smooth" else SIZE
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(WAYS).repeat_interleave(shots).expand(tasks, -1).contiguous()
    centre = torch.randn(tasks, WAYS, 1, size, size, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    noise = torch.randn(tasks, WAYS * shots, 1, size, size, generator=generator, dtype=torch.float64)
    x = centre.repeat_interleave(shots, 1) + noise
    return Batch(x, y, torch.ones(y.shape, dtype=torch.float64), WAYS)
