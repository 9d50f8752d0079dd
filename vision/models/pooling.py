"""2×2 max-pooling whose second derivative keeps the order of memory.

Pooling picks one of four inputs, so backward is a linear map of the gradient (scatter to the place that was picked),
and its derivative is the transpose (pick from the same places). torch's own picks through a copy in another order of
memory than channels-last, and adds zeros of the input's size for the inputs that were only compared; between
channels-last layers of 84×84 images this cost more than the convolutions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_WINDOW = [2, 2], [2, 2], [0, 0], [1, 1], False


def max_pool_2x2(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, H // 2, W // 2). Twice differentiable; a third derivative raises RuntimeError."""
    out: Tensor = _Forward.apply(x)
    return out


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        out: Tensor
        out, places = torch.ops.aten.max_pool2d_with_indices(x, *_WINDOW)
        ctx.save_for_backward(x, places)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        back: Tensor = _Backward.apply(g, *ctx.saved_tensors)
        return back


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        back: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(g, x, *_WINDOW, places)
        return back

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_back: Tensor) -> tuple[Tensor, None, None]:
        [places] = ctx.saved_tensors
        n, c, h, w = places.shape
        # Gathered as (N, H*W, C), which is a view of channels-last memory.
        picked = to_back.movedim(1, -1).flatten(1, 2).gather(1, places.movedim(1, -1).flatten(1, 2))
        return picked.view(n, h, w, c).movedim(-1, 1), None, None
