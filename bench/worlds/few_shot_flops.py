"""What a recipe costs, before it runs: counted on tensors without data, timed on a glimpse of this machine.

Operations are counted by torch's own formulas (a multiply-add is two FLOPs; normalisation, ReLU and pooling are not
counted). Memory is what autograd keeps for the backward pass, which second order makes large: an inner update whose
gradient is itself differentiated keeps its own backward pass too.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from metabench.algorithms import LEARNERS, ClassifierSettings, MetaOptNet, Workers, cross_entropy
from metabench.algorithms.learner import Batch, gradients
from metabench.algorithms.meta_gradient import chunk_outputs
from metabench.algorithms.meta_gradient import tasks_at_once as chunk_of
from metabench.algorithms.suite import scores_by_update
from metabench.bench.recipes.recipe import FewShotRecipe
from metabench.bench.recipes.variants import FEW_SHOT as VARIANTS
from metabench.bench.worlds.few_shot_build import make_body, make_learner
from metabench.vision import DATASETS
from metabench.vision.episodes import Shape
from metabench.vision.suite import FewShot, Tasks

GLIMPSE_FLOPS, TIMINGS = 1e10, 5
"""Work of one timing of this machine, at most: a fraction of a second on a core; and how often it is timed."""


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


def cost(recipe: FewShotRecipe) -> Cost:
    """Count one training task and one test episode of the recipe, on tensors without data."""
    source = DATASETS[recipe.dataset]
    test = Shape(recipe.ways, recipe.shots, recipe.queries)
    kept = Kept()
    learner = make_learner(recipe, 0, source.channels, source.size)
    mode = FakeTensorMode()
    _forget_values(learner, mode)
    if isinstance(learner, MetaOptNet):
        learner.iterations, learner.tolerance = 3, 0.0  # a fixed number of steps: there are no values to look at
    with mode:
        with Flops() as counter, kept.hooks():
            support, query = blank_training(recipe, source.channels, source.size)
            chunk_outputs(cross_entropy)(learner.train(), [support] * recipe.inner_steps, query)
        with Flops() as episode:
            tasks = Tasks(*blank(test, source.channels, source.size))
            scores_by_update(FewShot({}, torch.device("cpu")), tasks, learner.eval(), recipe.test_steps)
    return Cost(sum(p.numel() for p in learner.learned().values()), counter.total, kept.peak, episode.total)


def _forget_values(learner: nn.Module, mode: FakeTensorMode) -> None:
    """Leave shapes only: what follows costs no arithmetic and no memory, whatever the size."""
    for module in learner.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            module.register_parameter(name, nn.Parameter(mode.from_tensor(parameter.detach()), parameter.requires_grad))
        for name, buffer in list(module.named_buffers(recurse=False)):
            module.register_buffer(name, mode.from_tensor(buffer))


def blank(shape: Shape, channels: int, size: int, tasks: int = 1) -> tuple[Batch, Batch]:
    """Support and query of tasks of this shape, images of noise."""

    def batch(n: int) -> Batch:
        x = torch.rand(tasks, shape.ways * n, channels, size, size)
        y = torch.arange(shape.ways).repeat_interleave(n).expand(tasks, -1).contiguous()
        return Batch(x, y, torch.ones(y.shape), shape.ways)

    return batch(shape.shots), batch(shape.queries)


def blank_training(recipe: FewShotRecipe, channels: int, size: int, tasks: int = 1) -> tuple[Batch, Batch]:
    """The same of training tasks; a batch has as many classes as a test, of which only its head depends."""
    if not isinstance(recipe, ClassifierSettings):
        return blank(Shape(recipe.train_ways, recipe.train_shots, recipe.train_queries), channels, size, tasks)
    x, y = torch.rand(tasks, recipe.batch, channels, size, size), torch.zeros(tasks, recipe.batch, dtype=torch.int64)
    batch = Batch(x, y, torch.ones(y.shape), recipe.ways)
    return batch.first(0), batch


def tasks_at_once(recipe: FewShotRecipe, workers: Workers, chunk: int) -> int:
    """Training tasks whose graphs are alive together: a chunk on each thread (`algorithms.meta_gradient`)."""
    blocks = blocks_of(recipe, workers)
    block = math.ceil(recipe.meta_batch / blocks)
    if not chunk:
        source = DATASETS[recipe.dataset]
        numbers = recipe.train_ways * recipe.train_shots * source.channels * source.size**2
        kind = LEARNERS[VARIANTS.get(recipe.algorithm, (recipe.algorithm, {}))[0]]
        chunk = chunk_of(kind.reads, numbers, workers.device)
    return min(blocks * min(chunk, block), recipe.meta_batch)


def blocks_of(recipe: FewShotRecipe, workers: Workers) -> int:
    """Blocks of a meta-batch that run side by side, each on its share of the cores."""
    return min(workers.threads, recipe.meta_batch) if workers.device == "cpu" else 1


def speed(
    recipe: FewShotRecipe, workers: Workers, chunk: int, work: float = GLIMPSE_FLOPS, timings: int = TIMINGS
) -> tuple[float, float]:
    """FLOPs a second of one block's share of the cores (or of the GPU): in the recipe's own work, in matrix products.

    The work is the meta-gradient of a chunk, or of fewer tasks; where one takes long, the backbone forward and
    backward on a few images.

    Args:
        work: FLOPs of one timing, at most.
        timings: of which the median counts, after one to warm up.
    """
    n = 512 if workers.device == "cpu" else 4096
    a = torch.rand(n, n, device=workers.device)
    threads = torch.get_num_threads()
    alive = math.ceil(tasks_at_once(recipe, workers, chunk) / blocks_of(recipe, workers))
    share = Workers(workers.threads // blocks_of(recipe, workers), workers.device, workers.autocast)
    try:
        rates = [
            share.map(lambda _, g=glimpse: g.flops / _seconds(g.work, workers.device, timings), 1)[0]  # type: ignore[misc]
            for glimpse in (_glimpse(recipe, workers.device, alive, work), Glimpse(lambda: a @ a, 2.0 * n**3))
        ]
    finally:
        torch.set_num_threads(threads)
    return rates[0], rates[1]


class Glimpse(NamedTuple):
    """A piece of work, and the FLOPs it takes."""

    work: Callable[[], object]
    flops: float


def _glimpse(recipe: FewShotRecipe, device: str, tasks: int, most: float = GLIMPSE_FLOPS) -> Glimpse:
    """A piece of the recipe's work that takes so many FLOPs at most: so many tasks, or fewer.

    The FLOPs of several tasks are those of one, so many times: torch's formula for the backward pass of the grouped
    convolution that carries them counts every group's filters for every group.
    """
    source = DATASETS[recipe.dataset]
    task_flops = cost(recipe).task_flops
    tasks = min(tasks, int(most / max(task_flops, 1)))
    if tasks:
        learner = make_learner(recipe, 0, source.channels, source.size).to(device)
        parts = blank_training(recipe, source.channels, source.size, tasks)
        support, query = (Batch(b.x.to(device), b.y.to(device), b.w.to(device), b.ways) for b in parts)
        run = chunk_outputs(cross_entropy)
        return Glimpse(lambda: run(learner, [support] * recipe.inner_steps, query), float(tasks * task_flops))
    body = make_body(recipe, source.channels, source.size).to(device)
    fast = {name: p.unsqueeze(0) for name, p in body.named_parameters()}

    def embed(images: int) -> Callable[[], object]:
        x = torch.rand(1, images, source.channels, source.size, source.size, device=device)
        return lambda: gradients(body(fast, x).sum(), [t for t in fast.values() if t.requires_grad])

    images = int(most / _flops(embed(2)) * 2)
    asked = recipe.batch if isinstance(recipe, ClassifierSettings) else recipe.train_ways * recipe.train_queries
    work = embed(max(2, min(images, asked)))
    return Glimpse(work, _flops(work))


def _flops(work: Callable[[], object]) -> float:
    with Flops() as counter:
        work()
    return float(counter.total)


def _seconds(work: Callable[[], object], device: str, timings: int) -> float:
    """The median of several timings, after one to warm up."""
    taken = []
    for _ in range(timings + 1):
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])
