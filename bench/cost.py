"""What a recipe costs, before it runs: counted on tensors without data, timed on a glimpse of this machine.

Operations are counted by torch's own formulas (a multiply-add is two FLOPs; normalisation, ReLU and pooling are not
counted). Memory is what autograd keeps for the backward pass, which second order makes large: an inner update whose
gradient is itself differentiated keeps its own backward pass too.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from algorithms import LEARNERS, MetaOptNet, Workers, cross_entropy
from algorithms.learner import Batch
from algorithms.meta_gradient import chunk_outputs
from algorithms.meta_gradient import tasks_at_once as chunk_of
from bench.build import make_body, make_learner
from bench.evaluate import scores_by_update
from bench.recipe import Recipe
from bench.recipes import VARIANTS
from vision import DATASETS
from vision.episodes import Shape
from vision.suite import FewShot, Tasks

GLIMPSE_FLOPS = 2e9
"""Work of one timing of this machine: about a tenth of a second on a core."""


class Cost(NamedTuple):
    """What a recipe costs on any machine."""

    parameters: int
    """Numbers that the meta-learner learns."""
    task_flops: int
    """FLOPs of one training task's meta-gradient."""
    task_bytes: int
    """Bytes that autograd keeps for one training task, at their peak."""
    episode_flops: int
    """FLOPs to score one test episode after 0 … K updates."""


class Flops(TorchDispatchMode):
    """Adds up the operations that run in its scope (`FlopCounterMode` without its hooks on modules)."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count it."""
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


class Kept:
    """Counts the bytes that autograd holds on to. A storage that two nodes keep counts once."""

    def __init__(self) -> None:
        self.now = self.peak = 0
        self._holders: Counter[int] = Counter()

    def hooks(self) -> saved_tensors_hooks:
        """Scope in which saved tensors are counted, from when they are saved to when the graph lets them go."""
        return saved_tensors_hooks(lambda tensor: _Held(tensor, self), lambda held: held.tensor)

    def add(self, tensor: Tensor, sign: int) -> None:
        """A holder of the tensor's storage comes (+1) or goes (−1)."""
        storage = tensor.untyped_storage()
        before = self._holders[storage._cdata]
        self._holders[storage._cdata] += sign
        if before + max(sign, 0) == 1:  # the first came, or the last went
            self.now += sign * storage.nbytes()
            self.peak = max(self.peak, self.now)


class _Held:
    """A saved tensor, alive as long as the node that needs it."""

    def __init__(self, tensor: Tensor, kept: Kept) -> None:
        self.tensor, self.kept = tensor, kept
        kept.add(tensor, 1)

    def __del__(self) -> None:
        self.kept.add(self.tensor, -1)


def cost(recipe: Recipe) -> Cost:
    """Count one training task and one test episode of the recipe, on tensors without data."""
    source = DATASETS[recipe.dataset]
    learner = make_learner(recipe, 0, source.channels, source.size).to("meta")
    if isinstance(learner, MetaOptNet):
        learner.iterations, learner.tolerance = 3, 0.0  # a fixed number of steps: there are no values to look at
    train = Shape(recipe.train_ways, recipe.train_shots, recipe.train_queries)
    test = Shape(recipe.ways, recipe.shots, recipe.queries)
    kept = Kept()
    with Flops() as counter, kept.hooks():
        support, query = blank(train, source.channels, source.size)
        chunk_outputs(cross_entropy)(learner.train(), [support] * recipe.inner_steps, query)
    with Flops() as episode:
        tasks = Tasks(*blank(test, source.channels, source.size))
        scores_by_update(FewShot({}, torch.device("meta")), tasks, learner.eval(), recipe.test_steps)
    return Cost(
        sum(p.numel() for p in learner.parameters()),
        counter.total,
        kept.peak,
        episode.total,
    )


def blank(shape: Shape, channels: int, size: int) -> tuple[Batch, Batch]:
    """Support and query of one task of this shape, without data."""

    def batch(n: int) -> Batch:
        images = shape.ways * n
        x = torch.empty(1, images, channels, size, size, device="meta")
        return Batch(x, torch.empty(1, images, dtype=torch.long, device="meta"), x.new_empty(1, images), shape.ways)

    return batch(shape.shots), batch(shape.queries)


def tasks_at_once(recipe: Recipe, workers: Workers, chunk: int) -> int:
    """Training tasks whose graphs are alive together: a chunk on each thread (`algorithms.meta_gradient`)."""
    blocks = min(workers.threads, recipe.meta_batch) if workers.device == "cpu" else 1
    block = math.ceil(recipe.meta_batch / blocks)
    if not chunk:
        source = DATASETS[recipe.dataset]
        numbers = recipe.train_ways * recipe.train_shots * source.channels * source.size**2
        kind = LEARNERS[VARIANTS.get(recipe.algorithm, (recipe.algorithm, {}))[0]]
        chunk = chunk_of(kind.reads, numbers, workers.device)
    return min(blocks * min(chunk, block), recipe.meta_batch)


def speed(recipe: Recipe, workers: Workers) -> tuple[float, float]:
    """FLOPs a second of one thread (or the GPU): in the recipe's backbone forward and backward, in matrix products.

    The backbone sees as many images as a training query, or as few as keep this short.
    """
    source = DATASETS[recipe.dataset]
    body = make_body(recipe, source.channels, source.size).to(workers.device)
    fast = {name: p.unsqueeze(0) for name, p in body.named_parameters()}

    def embed(images: int) -> Callable[[], object]:
        x = torch.rand(1, images, source.channels, source.size, source.size, device=workers.device)
        return lambda: torch.autograd.grad(body(fast, x).sum(), list(fast.values()))

    def flops(work: Callable[[], object]) -> float:
        with Flops() as counter:
            work()
        return float(counter.total)

    images = recipe.train_ways * recipe.train_queries
    images = max(2, min(images, int(GLIMPSE_FLOPS / flops(embed(2)) * 2)))
    n = 512 if workers.device == "cpu" else 4096
    a = torch.rand(n, n, device=workers.device)
    threads = torch.get_num_threads()
    alone = Workers(1, workers.device, workers.autocast)
    try:
        rates = [
            alone.map(lambda _, w=work: flops(w) / _seconds(w, workers.device), 1)[0]  # type: ignore[misc]
            for work in (embed(images), lambda: a @ a)
        ]
    finally:
        torch.set_num_threads(threads)
    return rates[0], rates[1]


def _seconds(work: Callable[[], object], device: str) -> float:
    """The fastest of several timings, after one to warm up."""
    taken = []
    for _ in range(6):
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return min(taken[1:])
