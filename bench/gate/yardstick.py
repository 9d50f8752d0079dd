"""The yardstick: plain torch that shares no code with the project, timed beside it in the same run.

Speeds are ratios to it, so that another machine, or a busy one, moves both. It is a piece of work of the same kind: a
second-order MAML step of the glyphs recipe, written out, task after task.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

ROUNDS = 25
QUEUED = Path("/proc/thread-self/schedstat")
"""Where Linux says how long this thread has been ready to run without a core to run on, in ns, as the second number."""
SLICE = 0.02
"""Seconds that each side takes at least in a round: a call that is shorter is repeated."""


def ratios(ours: Callable[[], object], yardstick: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """Seconds of a call of ours over those of the yardstick, in each of some rounds that alternate between them."""
    torch.set_num_threads(1)
    calls = [(side, repeats(side)) for side in (ours, yardstick)]
    found = []
    for _ in range(rounds):
        a, b = (seconds(side, n) for side, n in calls)
        found.append(a / b)
    return found


def repeats(call: Callable[[], object]) -> int:
    """How often to call for `SLICE` seconds; warms up."""
    once = statistics.median(seconds(call, 1) for _ in range(3))
    return max(1, round(SLICE / once))


def seconds(call: Callable[[], object], times: int) -> float:
    """Seconds of one call by `clock`, as the mean of some."""
    start = clock()
    for _ in range(times):
        call()
    return (clock() - start) / times


def clock() -> float:
    """Seconds of wall time, less what this thread has waited for a core."""
    try:
        queued = int(QUEUED.read_text().split()[1])
    except (OSError, ValueError, IndexError):  # another system, or a kernel without these statistics
        queued = 0
    return time.perf_counter() - queued * 1e-9


def convolutions() -> None:
    """Second-order MAML on random images, 5 ways, 1 shot and 5 queries: four strided layers of 32 filters, 2 tasks."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(32, c, 3, 3, generator=generator) * 0.1 for c in (1, 32, 32, 32)]
    weights = [w.requires_grad_() for w in [*weights, torch.randn(5, 128, generator=generator) * 0.1]]
    for _ in range(2):
        support, query = (torch.rand(n, 1, 28, 28, generator=generator) for n in (5, 25))
        loss = F.cross_entropy(_conv4(support, weights), torch.arange(5))
        grads = torch.autograd.grad(loss, weights, create_graph=True)
        adapted = [w - 0.4 * g for w, g in zip(weights, grads, strict=True)]
        torch.autograd.grad(F.cross_entropy(_conv4(query, adapted), torch.arange(5).repeat(5)), weights)


def policies() -> None:
    """A policy of two layers of 100 units: 64 episodes of 100 steps on a plane in NumPy, then two derivatives."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(n, m, generator=generator) * 0.1 for n, m in ((100, 2), (100, 100), (2, 100))]
    noise, place, seen = np.random.default_rng(0).standard_normal((100, 64, 2)), np.zeros((64, 2)), []
    with torch.no_grad():
        for step in noise:
            seen.append(torch.as_tensor(place, dtype=torch.float32))
            place = np.clip(place + 0.1 * (_mlp(seen[-1], weights).numpy() + step), -1, 1)
    weights = [w.requires_grad_() for w in weights]
    x = torch.cat(seen)
    grads = torch.autograd.grad(_mlp(x, weights).square().mean(), weights, create_graph=True)
    adapted = [w - 0.1 * g for w, g in zip(weights, grads, strict=True)]
    torch.autograd.grad(_mlp(x, adapted).square().mean(), weights)


def _mlp(x: Tensor, weights: list[Tensor]) -> Tensor:
    *hidden, head = weights
    for w in hidden:
        x = F.relu(x @ w.mT)
    return x @ head.mT


def _conv4(x: Tensor, weights: list[Tensor]) -> Tensor:
    *layers, head = weights
    for w in layers:
        x = F.relu(F.batch_norm(F.conv2d(x, w, stride=2, padding=1), None, None, training=True))
    return x.flatten(1) @ head.mT
