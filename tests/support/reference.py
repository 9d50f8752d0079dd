"""The same networks as ordinary torch modules, one task at a time: what ours are held against."""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algorithms import Network
from metabench.vision.models.backbones import MLP, Conv4, ResNet12
from tests.support.small import SIZE, Smooth


class _MeanOfPixels(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class _Residual(nn.Module):
    """One block of ResNet-12; eval mode would only change its batch norm, as no block drops anything here."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [nn.Conv2d(before if i == 0 else width, width, 3, padding=1, bias=False) for i in range(3)]
            + [nn.Conv2d(before, width, 1, bias=False)]
        )
        self.norms = nn.ModuleList([nn.BatchNorm2d(width) for _ in range(4)])

    def forward(self, x: Tensor) -> Tensor:
        skip = self.norms[3](self.convs[3](x))
        for i in range(2):
            x = F.leaky_relu(self.norms[i](self.convs[i](x)), 0.1)
        return F.max_pool2d(F.leaky_relu(self.norms[2](self.convs[2](x)) + skip, 0.1), 2)


def _conv4(body: Conv4) -> nn.Sequential:
    width, channels = body.weights[0].shape[:2]
    layers: list[nn.Module] = []
    for i in range(4):
        layers += [nn.Conv2d(channels if i == 0 else width, width, 3, 1 if body.pool else 2, 1)]
        layers += [nn.BatchNorm2d(width), nn.ReLU(), *([nn.MaxPool2d(2)] if body.pool else [])]
    return nn.Sequential(*layers, nn.Flatten() if body.pool else _MeanOfPixels())


def _linear(sizes: list[int], after: type[nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for before, width in itertools.pairwise(sizes):
        layers += [nn.Linear(before, width), nn.BatchNorm1d(width), after()]
    return nn.Sequential(*layers)


def plain(network: Network) -> tuple[nn.Sequential, list[nn.Parameter]]:
    """(body, head) as torch modules with copied weights and running statistics, and their parameters in our order."""
    body, head = network.body, nn.Linear(network.width, network.head.out_features)
    if isinstance(body, Conv4):
        features = _conv4(body)
    elif isinstance(body, MLP):
        features = _linear([SIZE * SIZE, *(len(b) for b in body.biases)], nn.ReLU)
    elif isinstance(body, ResNet12):
        widths = [1, *(body.weights[f"{b}_0"].shape[0] for b in range(body.blocks))]
        blocks = [_Residual(a, b) for a, b in itertools.pairwise(widths)]
        features = nn.Sequential(*blocks, nn.Flatten())
    else:
        assert isinstance(body, Smooth)
        features = _linear([body.weight.shape[1], body.features], nn.Tanh)
    model = nn.Sequential(features, head).to(network.head.weight)
    parameters = _in_our_order(model)
    for mine, theirs in zip(network.parameters(), parameters, strict=True):
        theirs.data = mine.detach().clone()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    buffers = list(network.buffers())
    for norm, mean, var in zip(norms, buffers[::2], buffers[1::2], strict=True):
        norm.load_state_dict({"running_mean": mean.clone(), "running_var": var.clone()}, strict=False)
    return model, parameters


def _in_our_order(model: nn.Sequential) -> list[nn.Parameter]:
    """Weights (then biases) of the layers, then scale and shift of each batch norm, then the head."""
    layers = [m for m in model[0].modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    norms = [m for m in model[0].modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    ours = [m.weight for m in layers] + [m.bias for m in layers if m.bias is not None]
    return ours + [p for m in norms for p in (m.weight, m.bias)] + list(model[1].parameters())
