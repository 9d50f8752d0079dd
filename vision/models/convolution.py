"""Convolution with a second derivative that computes what is needed and no more.

Convolution is linear in the image x and in the filters v, so with ∂x and ∂v the two halves of its backward pass,

    y = x * v + b,   dx = ∂x(g, v),   dv = ∂v(g, x),   db = Σ g,

the cotangents X of dx, V of dv and q of db go to g as X * v + x * V + q, to x as ∂x(g, V) and to v as ∂v(g, X): the
last two are one backward pass of the convolution X * V. torch's own second derivative convolves with filters as large
as the image for ∂v, and differentiates with respect to images that need no gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def convolve(x: Tensor, filters: Tensor, bias: Tensor | None, stride: int, padding: int, groups: int) -> Tensor:
    """x (N, C, H, W), filters (O, C / groups, k, k), bias (O,) -> (N, O, H', W').

    Twice differentiable; a third derivative raises RuntimeError.
    """
    if torch.is_autocast_enabled(x.device.type):
        low = torch.get_autocast_dtype(x.device.type)
        # A CPU's bfloat16 kernels for groups want neighbouring channels; what follows keeps the order it is given.
        order = torch.channels_last if groups > 1 and x.device.type == "cpu" else torch.preserve_format
        x, filters, bias = x.to(low, memory_format=order), filters.to(low), None if bias is None else bias.to(low)
    out: Tensor = _Forward.apply(x, filters, bias, (stride, padding, groups))
    return out


Shape = tuple[int, int, int]
"""Stride, padding, groups."""


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, filters: Tensor, bias: Tensor | None, shape: Shape) -> Tensor:
        ctx.save_for_backward(x, filters)
        ctx.shape = shape
        return _convolution(x, filters, bias, shape)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return (*_Backward.apply(g, *ctx.saved_tensors, ctx.shape, ctx.needs_input_grad[:3]), None)


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, filters: Tensor, shape: Shape, wanted: tuple[bool, bool, bool]
    ) -> tuple[Tensor | None, ...]:
        ctx.save_for_backward(g, x, filters)
        ctx.shape = shape
        ctx.set_materialize_grads(False)
        return _backward(g, x, filters, shape, wanted)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_dx: Tensor | None, to_dv: Tensor | None, to_db: Tensor | None) -> tuple[Any, ...]:
        g, x, filters = ctx.saved_tensors
        to_g: Tensor | None = None
        if to_dx is not None:
            to_g = _convolution(to_dx, filters, to_db, ctx.shape)
        if to_dv is not None:
            other = _convolution(x, to_dv, None if to_dx is not None else to_db, ctx.shape)
            to_g = other if to_g is None else to_g.add_(other)
        if to_g is None and to_db is not None:
            to_g = to_db.view(-1, 1, 1).expand_as(g)
        _, needs_x, needs_filters, *_ = ctx.needs_input_grad
        wanted = (to_dv is not None and needs_x, to_dx is not None and needs_filters, False)
        to_x, to_v, _ = _backward(
            g, x if to_dx is None else to_dx, filters if to_dv is None else to_dv, ctx.shape, wanted
        )
        return to_g, to_x, to_v, None, None


def _convolution(x: Tensor, filters: Tensor, bias: Tensor | None, shape: Shape) -> Tensor:
    stride, padding, groups = shape
    return torch.nn.functional.conv2d(x, filters, bias, stride, padding, groups=groups)


def _backward(
    g: Tensor, x: Tensor, filters: Tensor, shape: Shape, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor | None, ...]:
    """∂x(g, filters), ∂v(g, x) and Σ g, as far as wanted."""
    stride, padding, groups = shape
    two = [stride] * 2, [padding] * 2, [1, 1]
    out: tuple[Tensor | None, ...] = torch.ops.aten.convolution_backward(
        g, x, filters, [len(filters)], *two, False, [0, 0], groups, list(wanted)
    )
    return out
