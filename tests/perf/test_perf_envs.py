"""HalfCheetah in closed loop, a policy included: against the limit that physics sets, and against Gymnasium's vectors;
and the share of a whole iteration that is simulation. The work is that of `metabench bench envs`, with fewer steps.

`target` is what the project asks of a quiet machine; the bounds leave room for a busy one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from metabench.algorithms import Workers
from metabench.bench.speed.iteration import LEARNING, SIMULATION, Iteration
from metabench.bench.speed.stepping import BesideGymnasium, BesidePhysics
from metabench.bench.training.allocator import keep_freed_memory
from metabench.envs.robots.physics import cores

STEPS, ROUNDS = 20, 5


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    keep_freed_memory()
    yield
    torch.set_num_threads(threads)


def told(row: dict[str, Any]) -> float:
    """The median ratio of a row, which is printed."""
    print("\n", {name: value for name, value in row.items() if name != "profile"}, row.get("profile", ""))
    return float(row["ratio"]["median"])


def test_closed_loop_against_the_limit_of_physics() -> None:
    work = BesidePhysics()
    assert told(work.row(Workers(cores()), ROUNDS, STEPS)) >= 0.5


@pytest.mark.parametrize(("mode", "sizes"), [("sync", (4, 32)), ("async", (4,))])
def test_closed_loop_against_gymnasium(mode: str, sizes: tuple[int, ...]) -> None:
    work = BesideGymnasium(mode, sizes)
    assert told(work.row(Workers(cores()), 3, STEPS)) >= 1.4


def test_learning_with_exact_curvature_takes_no_longer_than_simulation() -> None:
    """Measured: 0.6 of it on one thread."""
    row = Iteration(1.0).row(Workers(1), 3)
    assert told(row) >= 0.4
    learning, simulation = (sum(row["profile"][part] for part in parts) for parts in (LEARNING, SIMULATION))
    assert learning <= simulation
