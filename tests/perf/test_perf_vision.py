"""Speed beside learn2learn: the meta-gradients of its learners, and its sampling of episodes, as ratios in one run.

Both sides do the same work, which is checked first, and take turns on one thread. A ratio is the median over rounds of
neighbouring turns, by a clock that stops while other processes hold the core. `aim` is what the project asks of a
quiet machine; the bound leaves room for a busy one.

pytest-benchmark is given ours in units of learn2learn's time, so that `--benchmark-compare` compares ratios, and
another machine does not make it red: 0.5 "s" is twice as fast as learn2learn.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from metabench.algorithms import Workers
from metabench.bench.gate.yardstick import clock, ratios, seconds
from metabench.bench.speed import peers
from metabench.bench.speed.command import episodes_of
from metabench.bench.speed.workloads import Training, workloads

UNIT = [1.0]
"""Seconds that learn2learn takes for the work of the test that runs."""


def in_peers_time() -> float:
    """Time in units of learn2learn's."""
    return clock() / UNIT[0]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    try:
        peers.learn2learn()
    except peers.PeerMissing as missing:
        pytest.skip(str(missing))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        # Its update keeps gradients on tensors that are not leaves.
        warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
        yield
    torch.set_num_threads(threads)


@pytest.mark.benchmark(timer=in_peers_time)
@pytest.mark.parametrize(
    ("name", "tasks", "rounds", "bound"),
    [
        ("maml-omniglot-1-step", 16, 7, 1.2),
        ("maml-mini-5w1s", 1, 5, 1.1),
        ("anil-omniglot", 16, 7, 1.3),
        ("protonet-omniglot", 1, 7, 1.1),
        ("sampling", 0, 7, 15.0),
    ],
)
def test_speed_beside_learn2learn(benchmark: Any, name: str, tasks: int, rounds: int, bound: float) -> None:
    workload, workers = workloads(episodes_of())[name], Workers(1)
    checked = workload.check(workers)
    sides = workload.sides(workers, tasks) if isinstance(workload, Training) else workload.sides(workers)
    found = sorted(ratios(sides.theirs, sides.ours, rounds))
    ratio = statistics.median(found)
    UNIT[0] = seconds(sides.theirs, 1)
    benchmark.pedantic(sides.ours, rounds=3)
    benchmark.extra_info |= {"ratio": ratio, "slowest": found[0], "fastest": found[-1], "aim": workload.target}
    print(f"\n{name}: {ratio:.2f} times learn2learn's speed ({found[0]:.2f} to {found[-1]:.2f}); {checked}")
    assert ratio >= bound, f"{ratio:.2f} times learn2learn's speed; aim {workload.target:g}, bound {bound:g}"
