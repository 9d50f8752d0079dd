"""The random numbers that layers draw while training belong to (seed, step, task), and to nothing else."""

import pytest
import torch
from torch import nn

from metabench.algorithms import (
    Batch,
    Categorical,
    GradientOuter,
    Network,
    ProtoNet,
    Workers,
    cross_entropy,
    meta_gradient,
)
from metabench.algorithms.network import current_pass
from tests.support.small import images, learner


class Draws(nn.Module):
    """A body that keeps the first number that each task of each pass draws."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.scale, self.seen = 1, nn.Parameter(torch.ones(1)), []

    def forward(self, fast, x):
        self.seen += [float(torch.rand(1, generator=g, dtype=torch.float64)) for g in current_pass().generators]
        return x * fast["scale"]


def draws(seed: int, steps: range, rank: int = 0, world: int = 1) -> list[float]:
    """What the tasks of one process draw, in the order support, query, task by task, step by step."""
    body = Draws()
    rule = ProtoNet(Network(body, 2, Categorical()))
    optimizer = torch.optim.SGD(rule.parameters(), 0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    outer = GradientOuter(optimizer, schedule, workers=Workers(1), chunk=1, seed=seed, rank=rank, world=world)
    tasks = 4 // world
    batch = Batch(torch.rand(tasks, 2, 1), torch.tensor([[0, 1]] * tasks), torch.ones(tasks, 2), 2)
    outer.steps = steps.start
    for _ in steps:
        outer.step(rule, [batch], batch)
    return body.seen


def test_no_two_tasks_steps_or_seeds_draw_the_same_numbers():
    seen = [draws(seed, range(3)) for seed in range(4)]
    assert [len(s) for s in seen] == [24] * 4
    assert len({x for s in seen for x in s}) == 96
    assert draws(0, range(1, 3)) == seen[0][8:], "a resumed run draws what an undisturbed one does"


def test_a_task_draws_the_same_on_whichever_process():
    whole = draws(7, range(1))
    tasks = [whole[i : i + 2] for i in range(0, 8, 2)]
    first, second = draws(7, range(1), 0, 2), draws(7, range(1), 1, 2)
    assert first == tasks[0] + tasks[2]
    assert second == tasks[1] + tasks[3]


@pytest.mark.parametrize(("chunk", "threads"), [(1, 1), (2, 1), (4, 1), (1, 2), (2, 2)])
def test_dropped_blocks_do_not_depend_on_chunks_threads_or_processes(chunk: int, threads: int):
    rule, support, query = learner("protonet", "resnet12"), images(4, 2, "resnet12"), images(4, 2, "resnet12", seed=1)
    rule.network.body.keep = 0.7
    rule.train()

    def gradient(tasks: slice, places: range, chunk: int, threads: int) -> list[torch.Tensor]:
        return meta_gradient(
            rule,
            [support.at(tasks)],
            query.at(tasks),
            cross_entropy,
            chunk=chunk,
            workers=Workers(threads),
            seed=5,
            places=places,
        ).grads

    whole = gradient(slice(0, 4), range(4), 4, 1)
    assert any(float((a - b).abs().max()) > 1e-3 for a, b in zip(whole, gradient(slice(0, 4), range(4, 8), 4, 1)))
    shares = [gradient(slice(r, 4, 2), range(r, 4, 2), chunk, threads) for r in (0, 1)]
    for a, b, c in zip(whole, gradient(slice(0, 4), range(4), chunk, threads), map(sum, zip(*shares)), strict=True):
        assert float((a - b).abs().max()) < 1e-10
        assert float((a - c).abs().max()) < 1e-10
