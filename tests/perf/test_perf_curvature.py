"""Products with the Fisher matrix of an adapted perceptron: written out, against two backward passes of autograd.

One task, one update; processor time of one thread, the two taking turns.
"""

from __future__ import annotations

import statistics
import time

import pytest
import torch
from torch import Tensor

from metabench.algorithms import MAML, Batch, Gaussian, Network
from metabench.algorithms.ops.perceptron_curvature import PerceptronJacobian
from metabench.algorithms.outer.jacobian import Jacobian, TracedJacobian
from metabench.algorithms.outer.surrogate import Piece
from metabench.algorithms.perceptron import Perceptron
from metabench.bench.training.allocator import keep_freed_memory

ROUNDS = 9
OBSERVATION, ACTION = 20, 6


def seconds(of: Jacobian, along: list[Tensor], metric: Tensor) -> float:
    start = time.thread_time()
    of.pull(metric * of.push(along))
    return time.thread_time() - start


@pytest.mark.parametrize(
    ("hidden", "activation", "examples", "bound"),
    [((64, 64), "tanh", 2000, 0.75), ((100, 100), "relu", 4000, 0.85)],
    ids=["line of 2020", "line of 2017"],
)
def test_a_product_against_autograds(hidden: tuple[int, ...], activation: str, examples: int, bound: float) -> None:
    """Measured: 0.5 and 0.66 of the time."""
    torch.set_num_threads(1)
    keep_freed_memory()
    torch.manual_seed(0)
    rule = MAML(Network(Perceptron(OBSERVATION, hidden, activation), ACTION, Gaussian(ACTION)), inner_lr=0.1)
    x, y = torch.randn(2, 1, examples, OBSERVATION), torch.randn(2, 1, examples, ACTION)
    support, query = (Batch(a, b, torch.randn(1, examples), valid=torch.ones(1, examples)) for a, b in zip(x, y))
    ours = PerceptronJacobian(rule, [support], query.x)
    traced = TracedJacobian(rule, Piece([support], query))
    along, metric = [torch.randn_like(p) for p in rule.parameters()], torch.rand_like(ours.outputs)
    turns = [[seconds(of, along, metric) for of in (ours, traced)] for _ in range(ROUNDS + 1)][1:]
    ratio = statistics.median(a / b for a, b in turns)
    print(f"\n{ratio:.2f} of the time of autograd")
    assert ratio <= bound
