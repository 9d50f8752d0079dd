"""Batch norm and grouped convolutions in bfloat16: second derivatives as exact as the format, and no float32 copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from metabench.algorithms.ops.normalise import normalise
from metabench.vision.models.convolution import convolve

BF16 = torch.bfloat16


def second(of: Callable[[Tensor, Tensor, Tensor], Tensor], x: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
    """Gradients of a function of the first gradients."""
    leaves = [t.clone().requires_grad_() for t in (x, weight, bias)]
    out = of(*leaves)
    towards = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape).sin()
    firsts = torch.autograd.grad(out, leaves[:2], towards, create_graph=True)
    return list(torch.autograd.grad([(f.double() * f.double().cos()).sum() for f in firsts], leaves[:2]))


@pytest.mark.parametrize(("offset", "error"), [(0.0, 0.02), (4.0, 0.04)])
def test_the_second_derivative_of_batch_norm_is_as_exact_as_bfloat16(offset: float, error: float) -> None:
    torch.manual_seed(0)
    x = (torch.randn(6, 8, 5, 5) + offset).to(BF16)
    weight, bias = torch.rand(8) + 0.5, torch.zeros(8)

    def norm(*leaves: Tensor) -> Tensor:
        return normalise(*leaves, eps=1e-5)[0]

    low = second(norm, x, weight, bias)
    exact = second(norm, x.double(), weight.double(), bias.double())
    assert [t.dtype for t in low] == [BF16, torch.float32]
    for got, wanted in zip(low, exact, strict=True):
        assert float((got - wanted).norm() / wanted.norm()) < error


class Mixed(TorchDispatchMode):
    """Notes elementwise operations on large tensors of one precision and anything of another."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [a for a in args if isinstance(a, Tensor) and a.ndim == 4 and a.is_floating_point()]
        if "native_batch_norm" not in str(func) and len({t.dtype for t in tensors}) > 1:
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


def test_no_operation_of_batch_norm_mixes_precisions() -> None:
    """torch would copy all of the bfloat16 operand to float32 first."""
    x, weight, bias = torch.randn(4, 3, 5, 5).to(BF16), torch.ones(3), torch.zeros(3)
    leaves = [t.requires_grad_() for t in (x, weight, bias)]
    with Mixed() as mixed:
        out = normalise(*leaves, eps=1e-5)[0]
        grads = torch.autograd.grad(out, leaves, torch.ones_like(out), create_graph=True)
        torch.autograd.grad([g.float().square().sum() for g in grads[:2]], leaves[:2])
    assert mixed.found == []


@pytest.mark.parametrize("groups", [1, 3])
def test_grouped_convolutions_keep_channels_together_in_bfloat16(groups: int) -> None:
    torch.manual_seed(0)
    x, filters = torch.randn(2, 4 * groups, 6, 6), torch.randn(8 * groups, 4, 3, 3)
    with torch.autocast("cpu", BF16):
        out = convolve(x, filters, None, 2, 1, groups)
    assert out.dtype is BF16
    assert out.is_contiguous(memory_format=torch.channels_last) == (groups > 1)
    plain = convolve(x, filters, None, 2, 1, groups)
    assert plain.is_contiguous(), "float32 keeps the order that it is given"
    assert float((out - plain).norm() / plain.norm()) < 0.01
