"""Two sides that take turns, so that whatever else the machine does meets both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch

from metabench.algorithms import Workers


def alternate(
    ours: Callable[[], object], theirs: Callable[[], object], workers: Workers, threads: int, rounds: int
) -> tuple[list[float], list[float], float]:
    """Seconds of each turn of ours and of theirs, and the ratio of the processor time that they took."""
    wall: tuple[list[float], list[float]] = ([], [])
    cpu = [0.0, 0.0]
    for turn in range(rounds + 1):
        for side, (call, n) in enumerate(((ours, workers.threads), (theirs, threads))):
            torch.set_num_threads(n)
            start, busy = time.perf_counter(), time.process_time()
            call()
            if workers.device == "cuda":
                torch.cuda.synchronize()
            if turn:  # the first warms up
                wall[side].append(time.perf_counter() - start)
                cpu[side] += time.process_time() - busy
    return *wall, cpu[1] / cpu[0]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """How many times as fast ours is, from the seconds of neighbouring turns: min, median and max."""
    found = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    return {"min": found[0], "median": statistics.median(found), "max": found[-1]}
