"""The roofline: how fast this machine could do a piece of work, from its arithmetic and its traffic.

Williams, Waterman & Patterson, "Roofline", CACM 2009: work of F operations and B bytes takes at least
max(F / peak arithmetic, B / bandwidth). F counts convolutions and matrix products (a multiply-add is 2). B is
what these must read and write if everything between them (normalise, ReLU, pool, their derivatives) were fused into
them: a bound that no program made of whole operations reaches. Both peaks are measured here, in the same process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.algorithms import Workers
from metabench.bench.worlds.few_shot_flops import Flops


class Work(NamedTuple):
    """What one call computes: operations, bytes that its products move, bytes that all its operations move."""

    flops: int
    product_bytes: int
    all_bytes: int
    largest: int
    """Bytes of the largest tensor that an operation makes: where the traffic goes, cache or memory."""


class Machine(NamedTuple):
    """What this machine was measured to do, with all the threads that it was given."""

    flops: float
    """FLOP/s of float32, the better of a matrix product and a 3×3 convolution."""
    matmul: float
    conv: float


class _Count(Flops):
    """FLOPs, and the bytes that operations read and make."""

    def __init__(self) -> None:
        super().__init__()
        self.products = self.all = self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = self.total
        out = super().__torch_dispatch__(func, types, args, kwargs)
        if func.is_view:
            return out
        made = _bytes(out)
        moved = made + _bytes(args)
        self.all += moved
        self.largest = max(self.largest, made)
        if self.total > before:
            self.products += moved
        return out


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    return sum(map(_bytes, value)) if isinstance(value, (tuple, list)) else 0


def count(call: Callable[[], object]) -> Work:
    """Run once and count; on this thread only."""
    with _Count() as counter:
        call()
    return Work(counter.total, counter.products, counter.all, counter.largest)


def seconds(call: Callable[[], object], device: str, repeats: int = 5) -> float:
    """The fastest of some runs, after one to warm up."""
    best = float("inf")
    for i in range(repeats + 1):
        start = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        if i:
            best = min(best, time.perf_counter() - start)
    return best


def measure(workers: Workers) -> Machine:
    """Arithmetic peaks: every thread multiplies matrices, then convolves, on its own."""
    n = 1024 if workers.device == "cpu" else 8192
    images = 32 if workers.device == "cpu" else 4096
    a = torch.rand(n, n, device=workers.device)
    x = torch.rand(images, 64, 14, 14, device=workers.device).contiguous(memory_format=torch.channels_last)
    w = torch.rand(64, 64, 3, 3, device=workers.device)
    rates = []
    for call, flops in (
        (lambda: a @ a, 2 * n**3),
        (lambda: F.conv2d(x, w, None, 1, 1), 2 * 9 * 64 * 64 * 14 * 14 * images),
    ):
        rates.append(_on_all(workers, call) * flops)
    return Machine(max(rates), *rates)


def bandwidth(workers: Workers, size: int) -> float:
    """Bytes read and written a second by copying tensors of `size` bytes, one on each thread."""
    threads = workers.threads if workers.device == "cpu" else 1
    pairs = [torch.rand(2, max(1, size // 4), device=workers.device) for _ in range(threads)]
    copies = max(1, 2**24 // max(size, 1))

    def copy(block: slice) -> None:
        into, source = pairs[block.start]
        for _ in range(copies):
            into.copy_(source)

    return 2 * size * copies * threads / seconds(lambda: workers.map(copy, threads), workers.device)


def _on_all(workers: Workers, call: Callable[[], object], repeats: int = 8) -> float:
    """Calls a second, of all threads together."""
    threads = workers.threads if workers.device == "cpu" else 1

    def several(block: slice) -> None:
        for _ in range(repeats):
            call()

    return repeats * threads / seconds(lambda: workers.map(several, threads), workers.device)


def limit(work: Work, machine: Machine, bytes_per_second: float) -> float:
    """Calls a second that the roofline allows."""
    return 1 / max(work.flops / machine.flops, work.product_bytes / bytes_per_second)
