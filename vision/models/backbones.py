"""Bodies for images: conv4, the multi-layer perceptron of MAML's no-conv row, and ResNet-12.

Activations are (T, N, C, H, W) throughout. Where every task has its own weights they run as one grouped
convolution, tasks folded into channels; where weights are shared, tasks are folded into the batch. Both
are views of the same memory from layer to layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algorithms.network import BatchNorm, current_pass, fold, linear, unfold
from metabench.vision.data.source import DataError
from metabench.vision.models.convolution import convolve
from metabench.vision.models.pooling import max_pool_2x2


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, padding: int = 1) -> Tensor:
    """x (T, N, C, H, W), weight (T or 1, O, C, k, k), bias (T or 1, O) -> (T, N, O, H', W')."""
    tasks, n = x.shape[:2]
    if weight.shape[0] == 1 < tasks:
        b = None if bias is None else bias[0]
        shared: Tensor = convolve(x.flatten(0, 1), weight[0], b, stride, padding, 1).unflatten(0, (tasks, n))
        return shared
    b = None if bias is None else bias.flatten()
    return unfold(convolve(fold(x), weight.flatten(0, 1), b, stride, padding, tasks), tasks)


def channels_last(x: Tensor) -> Tensor:
    """The same (T, N, C, H, W), in memory ordered (T, N, H, W, C): layers keep the order that they are given.

    Pooling and batch norm are several times faster so on a CPU, which loads neighbouring channels as one vector.
    """
    t, n, c, h, w = x.shape
    # Through one axis: where C is 1 both orders are the same memory, and only strides say which one is meant.
    return x.movedim(2, -1).flatten().view(t, n, h, w, c).movedim(-1, 2)


def max_pool(x: Tensor) -> Tensor:
    """Halve H and W of (T, N, C, H, W), whichever way its memory is folded."""
    return unfold(max_pool_2x2(fold(x)), x.shape[0])


def check_size(body: str, size: int, halvings: int) -> None:
    """Raise DataError where images of this size, in pixels, would be halved to nothing."""
    if size < 2**halvings:
        raise DataError(
            f"{body} halves its images {halvings} times and needs {2**halvings} x {2**halvings} pixels at least; these "
            f"are {size} x {size}. Use --backbone conv4-strided or mlp, or larger images."
        )


class Conv4(nn.Module):
    """Four 3×3 convolutions, each followed by batch norm, ReLU and a halving of the image.

    Args:
        channels: of the input image.
        size: height and width of the input image, pixels.
        width: filters in each layer: 64 (Omniglot, ProtoNet), 48 (MAML++), 32 (MAML on miniImageNet).
        pool: halve by max-pooling and flatten (Vinyals et al., 2016; Snell et al., 2017); else by stride 2 and
            average over what is left (Finn et al., 2017, on Omniglot).
    """

    def __init__(self, channels: int, size: int, width: int = 64, *, pool: bool = True) -> None:
        super().__init__()
        if pool:
            check_size("conv4", size, halvings=4)
        self.pool = pool
        self.weights = nn.ParameterList(
            [nn.init.xavier_uniform_(torch.empty(width, channels if i == 0 else width, 3, 3)) for i in range(4)]
        )
        self.biases = nn.ParameterList([torch.zeros(width) for _ in range(4)])
        self.norms = nn.ModuleList([BatchNorm(f"norms.{i}.", width) for i in range(4)])
        self.features = width * (size // 16) ** 2 if pool else width

    def forward(self, fast: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Images (T, N, C, H, W) -> features (T, N, D)."""
        x = channels_last(x)
        for i, norm in enumerate(self.norms):
            x = norm(fast, conv2d(x, fast[f"weights.{i}"], fast[f"biases.{i}"], stride=1 if self.pool else 2))
            # The maximum of ReLUs is the ReLU of the maximum, and a quarter of the work.
            x = F.relu(max_pool(x) if self.pool else x)
        return x.flatten(2) if self.pool else x.mean((3, 4))


class MLP(nn.Module):
    """Linear layers of 256, 128, 64 and 64 with batch norm and ReLU (Finn et al., 2017, "MAML, no conv")."""

    def __init__(self, channels: int, size: int, widths: tuple[int, ...] = (256, 128, 64, 64)) -> None:
        super().__init__()
        sizes = [channels * size * size, *widths]
        self.weights = nn.ParameterList(
            [
                nn.init.trunc_normal_(torch.empty(o, i), std=0.01, a=-0.02, b=0.02)
                for i, o in zip(sizes, widths, strict=False)
            ]
        )
        self.biases = nn.ParameterList([torch.zeros(o) for o in widths])
        self.norms = nn.ModuleList([BatchNorm(f"norms.{i}.", o) for i, o in enumerate(widths)])
        self.features = widths[-1]

    def forward(self, fast: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Images (T, N, C, H, W) -> features (T, N, D)."""
        x = x.flatten(2)
        for i, norm in enumerate(self.norms):
            x = F.relu(norm(fast, linear(x, fast[f"weights.{i}"], fast[f"biases.{i}"])))
        return x


class ResNet12(nn.Module):
    """Four residual blocks of three 3×3 convolutions, with DropBlock; no global pooling.

    Lee et al., "Meta-Learning with Differentiable Convex Optimization", CVPR 2019, §4.1: widths 64, 160, 320
    and 640, leaky ReLU 0.1, keep rate 0.9, block size 5 in the last two blocks and 1 in the first two.

    Args:
        channels, size: of the input image.
        widths: filters of the four blocks.
        keep: share of activations kept while training.
    """

    def __init__(
        self, channels: int, size: int, widths: tuple[int, ...] = (64, 160, 320, 640), keep: float = 0.9
    ) -> None:
        super().__init__()
        check_size("resnet12", size, halvings=len(widths))
        self.keep = keep
        self.weights = nn.ParameterDict()
        self.norms = nn.ModuleDict()
        for b, (before, width) in enumerate(zip((channels, *widths), widths, strict=False)):
            shapes = {"0": (before, 3), "1": (width, 3), "2": (width, 3), "skip": (before, 1)}
            for name, (inputs, k) in shapes.items():
                weight = nn.init.kaiming_normal_(torch.empty(width, inputs, k, k), a=0.1, mode="fan_out")
                self.weights[f"{b}_{name}"] = nn.Parameter(weight)
                self.norms[f"{b}_{name}"] = BatchNorm(f"norms.{b}_{name}.", width)
        self.blocks = len(widths)
        self.features = widths[-1] * (size // 2**self.blocks) ** 2

    def forward(self, fast: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Images (T, N, C, H, W) -> features (T, N, D)."""
        for b in range(self.blocks):
            skip = self._layer(fast, x, f"{b}_skip", padding=0)
            for i in range(3):
                x = self._layer(fast, x, f"{b}_{i}")
                x = F.leaky_relu(x + skip if i == 2 else x, 0.1)
            x = max_pool(x)
            if self.training:
                x = drop_block(x, self.keep, 5 if b >= self.blocks - 2 else 1)
        return x.flatten(2)

    def _layer(self, fast: Mapping[str, Tensor], x: Tensor, name: str, padding: int = 1) -> Tensor:
        out: Tensor = self.norms[name](fast, conv2d(x, fast[f"weights.{name}"], None, padding=padding))
        return out


def drop_block(x: Tensor, keep: float, block: int) -> Tensor:
    """Zero square blocks of (T, N, C, H, W) so that a share `keep` stays, and scale each task's rest up.

    Ghiasi, Lin & Le, "DropBlock", NeurIPS 2018, eq. 1. A block larger than the image shrinks to it. A task's draw
    comes from its own generator in the current `forward_pass`, so that it is the same on every thread and process.
    """
    size = x.shape[-1]
    block = min(block, size)
    rate = (1 - keep) / block**2 * (size / (size - block + 1)) ** 2
    shape = (*x.shape[1:3], size - block + 1, size - block + 1)
    current = current_pass()
    generators: Sequence[torch.Generator | None] = (current.generators if current else ()) or [None] * len(x)
    draws = torch.stack([torch.rand(shape, generator=g, device=x.device) for g in generators])
    seeds = (draws < rate).to(x.dtype)
    dropped = F.max_pool2d(F.pad(seeds.flatten(0, 2), [block - 1] * 4).unsqueeze(1), block, stride=1)
    kept = 1 - dropped.view(x.shape)
    return x * kept / kept.mean((1, 2, 3, 4), keepdim=True).clamp(min=1 / kept[0].numel())
