"""Normalisation by batch statistics with a hand-derived second derivative.

With x̂ = (x − μ) r and r = (σ² + ε)^(−½) over the M values of a channel, y = w x̂ + b, and ⟨·⟩ their mean:

    first    dx = w r (g − ⟨g⟩ − x̂⟨g x̂⟩),   dw = M⟨g x̂⟩,   db = M⟨g⟩
    second   for cotangents G of dx, p of dw and q of db, with A = ⟨g⟩, B = ⟨g x̂⟩, C = ⟨G x̂⟩ and D = ⟨G⟩:
             to g:  w r (G − D − x̂ C) + p x̂ + q
             to w:  M r (⟨G g⟩ − A D − B C)
             to x:  −w r² (B G + C g − (3 B C − ⟨G g⟩ + A D) x̂ − B D − A C) + r p (g − A − B x̂)

(Ioffe & Szegedy, ICML 2015, give the first.) torch derives the same from a dozen passes over memory, most of them
reductions of one axis at a time; here they are six, and an inner update of conv4 spends a third less time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def normalise(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """x (N, C, ...) -> normalised over all but C, with its mean (C,) and r (C,), which carry no gradient.

    Twice differentiable; a third derivative raises RuntimeError.
    """
    out: tuple[Tensor, Tensor, Tensor] = _Forward.apply(x, weight, bias, eps)
    return out


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        out, mean, scale = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, eps)
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.mark_non_differentiable(mean, scale)
        ctx.eps = eps
        return out, mean, scale

    @staticmethod
    def backward(ctx: Any, g: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        return (*_Backward.apply(g, *ctx.saved_tensors, ctx.eps), None)


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, scale: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        dx, dw, db = _first(g, x, weight, mean, scale, eps)
        ctx.save_for_backward(g, x, weight, mean, scale, dw, db)
        ctx.eps = eps
        return dx, dw, db

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_dx: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor | None, ...]:
        g, x, weight, mean, r, dw, db = ctx.saved_tensors
        to_g, sum_c, sum_d = _first(to_dx, x, weight, mean, r, ctx.eps)
        m = x.numel() // x.shape[1]
        a, b, c, d = db / m, dw / m, sum_c / m, sum_d / m
        product = (to_dx * g).sum([i for i in range(x.ndim) if i != 1], dtype=weight.dtype) / m
        wr2 = weight * r * r

        def low(v: Tensor) -> Tensor:
            return v.to(x.dtype)

        def channels(v: Tensor) -> Tensor:
            # In the precision of x: of bfloat16 and float32 together torch would make float32 copies of all of x.
            return low(v).view(-1, *[1] * (x.ndim - 2))

        # x̂ enters as r x − r μ, so that it is never written to memory; r μ with the r that x is multiplied by.
        on_x = low((wr2 * (3 * b * c - product + a * d) - r * p * b) * r)
        constant = wr2 * (b * d + a * c) - r * p * a - on_x * mean
        pr = low(p * r)
        to_x = torch.addcmul(channels(constant), x, channels(on_x))
        to_x.addcmul_(to_dx, channels(-wr2 * b)).addcmul_(g, channels(r * p - wr2 * c))
        to_g.addcmul_(x, channels(pr)).add_(channels(q - pr * mean))
        return to_g, to_x, m * r * (product - a * d - b * c), None, None, None


def _first(g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, scale: Tensor, eps: float) -> tuple[Tensor, ...]:
    """dx, dw and db."""
    out: tuple[Tensor, ...] = torch.ops.aten.native_batch_norm_backward(
        g, x, weight, None, None, mean, scale, True, eps, [True, True, True]
    )
    return out
