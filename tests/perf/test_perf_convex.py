"""The SVM head against qpth (OptNet's solver, which MetaOptNet was published with): same problems, same dual.

Lee et al., CVPR 2019, hand the dual to a general QP solver: NK variables, NK inequalities, N equalities. The
quality of the solution is compared first, and the clock only then.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from metabench.algorithms.ops.convex import dual_optimum

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # qpth's docstrings hold invalid escapes
    qp = pytest.importorskip("qpth.qp")

TASKS, WAYS, SHOTS, C = 8, 5, 15, 0.1


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def episodes(width: int) -> tuple[Tensor, Tensor]:
    """5w15s features as a ReLU network's: (8, 75, D) float32 and labels (8, 75)."""
    generator = torch.Generator().manual_seed(0)
    centres = 0.3 * torch.randn(TASKS, WAYS, 1, width, generator=generator)
    z = (centres + torch.randn(TASKS, WAYS, SHOTS, width, generator=generator)).relu().flatten(1, 2)
    return z, torch.arange(WAYS).repeat_interleave(SHOTS).expand(TASKS, -1)


def with_qpth(z: Tensor, y: Tensor) -> Tensor:
    """α (N, K) of one episode, z (N, D), by qpth at MetaOptNet's training setting (15 iterations)."""
    count = z.shape[0] * WAYS
    labels = (y.unsqueeze(-1) == torch.arange(WAYS)).to(z.dtype).view(1, count)
    hessian = torch.kron(z @ z.mT + torch.eye(len(z), dtype=z.dtype), torch.eye(WAYS, dtype=z.dtype))
    sums = torch.kron(torch.eye(len(z), dtype=z.dtype), torch.ones(1, WAYS, dtype=z.dtype))
    solver = qp.QPFunction(verbose=False, maxIter=15)
    eye, zero = torch.eye(count, dtype=z.dtype), torch.zeros(1, len(z), dtype=z.dtype)
    alpha: Tensor = solver(hessian, -labels, eye, C * labels, sums, zero)
    return alpha.view(len(z), WAYS)


def fit_and_backward(z: Tensor, fit: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """α, and the gradient of Σ W² in z."""
    z = z.clone().requires_grad_()
    alpha = fit(z)
    (alpha.mT @ z).square().sum().backward()
    assert z.grad is not None
    return alpha.detach(), z.grad


def quality(z: Tensor, y: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Per task, in float64: the dual objective, by how much α leaves the constraints, and the duality gap."""
    z, alpha = z.double(), alpha.double()
    labels = (y.unsqueeze(-1) == torch.arange(WAYS)).double()
    h = z @ z.mT + torch.eye(z.shape[1], dtype=z.dtype)
    g = h @ alpha - labels
    objective = (0.5 * alpha * (h @ alpha) - labels * alpha).sum((1, 2))
    outside = torch.maximum((alpha - C * labels).amax((1, 2)), alpha.sum(-1).abs().amax(1))
    gap = (g * alpha).sum((1, 2)) - (C * (g * labels).sum(-1) - C * g.amax(-1)).sum(1)
    return objective, outside, gap


def seconds(run: Callable[[], object], repeats: int) -> float:
    """The fastest of some runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.parametrize("width", [64, 1600], ids=["conv4-omniglot", "conv4-mini"])
def test_ten_times_as_fast_as_qpth_at_no_worse_a_solution(benchmark: Any, width: int) -> None:
    z, y = episodes(width)

    def theirs() -> tuple[Tensor, Tensor]:
        pairs = [fit_and_backward(z[i], lambda f, i=i: with_qpth(f, y[i])) for i in range(TASKS)]  # type: ignore[misc]
        return torch.stack([a for a, _ in pairs]), torch.stack([g for _, g in pairs])

    def ours() -> tuple[Tensor, Tensor]:
        return fit_and_backward(z, lambda f: dual_optimum(f, y, WAYS, C))

    (alpha, gradient), (reference, reference_gradient) = ours(), theirs()
    objective, outside, gap = quality(z, y, alpha)
    their_objective, their_outside, their_gap = quality(z, y, reference)
    assert (objective <= their_objective + 1e-7).all()
    assert outside.max() <= max(1e-8, their_outside.max().item())
    assert gap.max() <= max(1e-7, their_gap.max().item())
    exact = fit_and_backward(z.double(), lambda f: dual_optimum(f, y, WAYS, C))[1]
    error, their_error = ((g.double() - exact).norm() / exact.norm() for g in (gradient, reference_gradient))
    assert error <= max(1e-4, their_error.item())

    ratio = seconds(theirs, 2) / seconds(ours, 10)
    benchmark.extra_info |= {
        "ratio to qpth": ratio,
        "dual objective below qpth's by": (their_objective - objective).max().item(),
        "duality gap": gap.max().item(),
        "qpth's duality gap": their_gap.max().item(),
        "gradient error": error.item(),
        "qpth's gradient error": their_error.item(),
    }
    print(benchmark.extra_info)
    benchmark(ours)
    assert ratio >= 10, f"{ratio:.1f} times as fast as qpth"
