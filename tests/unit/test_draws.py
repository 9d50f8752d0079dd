"""The random numbers that layers draw while training: never twice the same, and the same again after a resume."""

import torch
from torch import nn

from algorithms import Batch, Categorical, GradientOuter, Network, ProtoNet, Workers
from algorithms.network import current_pass
from bench.build import make_outer
from bench.distributed import Processes
from bench.recipes import resolve


class Draws(nn.Module):
    """A body that keeps the first number that each pass draws."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.scale, self.seen = 1, nn.Parameter(torch.ones(1)), []

    def forward(self, fast, x):
        self.seen.append(float(torch.rand(1, generator=current_pass().generator, dtype=torch.float64)))
        return x * fast["scale"]


def draws(seed: int, chunk: int, steps: range) -> list[float]:
    body = Draws()
    learner = ProtoNet(Network(body, 2, Categorical()))
    optimizer = torch.optim.SGD(learner.parameters(), 0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    outer = GradientOuter(optimizer, schedule, workers=Workers(1), chunk=chunk, seed=seed)
    batch = Batch(torch.rand(4, 2, 1), torch.tensor([[0, 1]] * 4), torch.ones(4, 2), 2)
    outer.steps = steps.start
    for _ in steps:
        outer.step(learner, [batch], batch)
    return body.seen


def test_no_two_chunks_steps_or_processes_draw_the_same_numbers():
    # Support and query of 4 chunks in 3 steps, for seeds 0 and 1 as one process and as either of two.
    seen = [draws(seed, 1, range(3)) for seed in (0, 1, 2, 3)]
    assert [len(s) for s in seen] == [24] * 4
    assert len({x for s in seen for x in s}) == 96
    assert draws(0, 1, range(1, 3)) == seen[0][8:]
    recipe, workers = resolve("protonet", "glyphs-5w1s"), Workers(1)
    learner = ProtoNet(Network(Draws(), 2, Categorical()))
    seeds = set()
    for rank in (0, 1):
        processes = Processes("cpu")
        processes.world, processes.rank = 2, rank
        for seed in (0, 1):
            seeds.add(make_outer(recipe, learner, seed, workers, processes, 0, False).seed)
    assert seeds == {0, 1, 2, 3}
