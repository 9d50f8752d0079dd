"""The meta-gradient of a meta-batch: tasks looped, batched, or spread over threads, with one result.

Every tensor carries its task axis first, so a *chunk* of tasks is a slice. ``chunk=1`` loops (least memory),
``chunk=T`` batches (fewest kernel launches); the tasks are independent, so the gradient is the same. On a
CPU, chunks go to threads of one core each: small convolutions do not scale over cores, but tasks do.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from metabench.algorithms.learner import Batch, Learner, check_labels, fold, gradients
from metabench.algorithms.network import Averages, Moments, current_pass, forward_pass
from metabench.algorithms.ops.compiled import Chunk, CompiledChunk
from metabench.algorithms.streams import generator

Objective = Callable[[Tensor, Batch], Tensor]
"""Outputs (T, N, ...) and the query they answer -> loss per task, (T,)."""

Out = TypeVar("Out")


class Workers:
    """Runs a function over blocks of tasks, on as many threads as there are blocks to fill.

    Args:
        threads: cores to use. With fewer blocks than cores, each block gets several.
        device: where the tensors are. On an accelerator all tasks are one block.
        autocast: reduced precision for what autocast deems safe, or None.
    """

    def __init__(self, threads: int, device: str = "cpu", autocast: torch.dtype | None = None) -> None:
        if threads < 1:
            raise ValueError(f"threads is {threads}; it must be at least 1")
        self.threads = threads
        self.device = device
        self.autocast = autocast
        self._pools: dict[int, ThreadPoolExecutor] = {}

    def map(self, run: Callable[[slice], Out], tasks: int) -> list[Out]:
        """[run(block) ...] over contiguous blocks of range(tasks), in order."""
        count = min(self.threads, tasks) if self.device == "cpu" else 1
        bounds = [tasks * i // count for i in range(count + 1)]
        blocks = [slice(a, b) for a, b in itertools.pairwise(bounds)]
        if count == 1:
            torch.set_num_threads(self.threads)
            with self._precision():
                return [run(blocks[0])]
        if count not in self._pools:
            share = self.threads // count
            self._pools[count] = ThreadPoolExecutor(count, "tasks", torch.set_num_threads, (share,))
        enabled = torch.is_grad_enabled()

        def in_mode(block: slice) -> Out:
            with torch.set_grad_enabled(enabled), self._precision():  # both belong to the thread
                return run(block)

        return list(self._pools[count].map(in_mode, blocks))

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device, self.autocast, enabled=self.autocast is not None)


def tasks_at_once(reads: str, support_numbers: int, device: str) -> int:
    """The chunk that takes the least time, or near it.

    An accelerator carries all tasks at once. A CPU core does so where a task is too small to keep it busy between
    two operations; larger tasks run one by one. Measured with conv4: with 5 Omniglot images in the support, 16 tasks
    at once save 40 % of the time of a loop; with 20 they lose 10 %, because a grouped convolution is slower than a
    plain one. Weights that tasks share need no groups.

    Args:
        reads: `Learner.reads`: whether an update passes its own weights through the body.
        support_numbers: in the inputs of one task's support, N × D.
        device: "cpu" or an accelerator.
    """
    if device != "cpu":
        return sys.maxsize
    return 32 if support_numbers <= (2**13 if reads == "inputs" else 2**15) else 1


class MetaGradient(NamedTuple):
    """What one pass over T tasks gives.

    grads: Σ over tasks of ∂ loss / ∂θ, one tensor for each of `learner.learned()`.
    losses: (T,). correct: (T,) share of query labels predicted, NaN where y is an action.
    statistics: layer with running averages -> (mean, unbiased variance), each (C,), averaged over all passes.
    """

    grads: list[Tensor]
    losses: Tensor
    correct: Tensor
    statistics: dict[str, tuple[Tensor, Tensor]]


def meta_gradient(
    learner: Learner,
    supports: Sequence[Batch],
    query: Batch,
    objective: Objective,
    *,
    chunk: int,
    workers: Workers,
    seed: int = 0,
    places: range | None = None,
    compiled: CompiledChunk | None = None,
) -> MetaGradient:
    """Adapt to each task's supports and differentiate its query loss with respect to θ, exactly.

    Args:
        supports: one batch for each update; each has T tasks. Repeats of one object are encoded once.
        objective: outputs and query -> (T,).
        chunk: tasks carried at once; trades memory for time and changes nothing else.
        seed: of whatever randomness layers use (DropBlock).
        places: of these tasks in the meta-batch of all processes. A task's draws come from the seed and its
            place alone, so neither chunks nor threads nor processes change them.
        compiled: `CompiledChunk(chunk_outputs(objective))`, to run chunks as compiled graphs.

    Raises:
        ValueError: a label is none of 0 … K − 1, or every parameter is frozen.
    """
    check_labels({id(batch): batch for batch in (*supports, query)}.values())
    run = compiled or chunk_outputs(objective)

    def of_chunk(tasks: slice) -> MetaGradient:
        cut = {id(s): s.at(tasks) for s in supports}
        own = (places or range(query.x.shape[0]))[tasks]
        generators = [generator(seed, p, device=query.x.device) for p in own]
        with forward_pass(generators):
            flat = run(learner, [cut[id(s)] for s in supports], query.at(tasks))
        return _unflatten(learner, flat)

    def of_block(within: slice) -> MetaGradient:
        starts = range(within.start, within.stop, chunk)
        return _total([of_chunk(slice(a, min(a + chunk, within.stop))) for a in starts])

    return _total(workers.map(of_block, query.x.shape[0]))


def chunk_outputs(objective: Objective) -> Chunk:
    """The function of one chunk: gradients, losses, accuracies, then a mean and a variance a batch-norm layer."""

    def run(learner: Learner, supports: Sequence[Batch], query: Batch) -> list[Tensor]:
        current = current_pass()
        with torch.enable_grad(), forward_pass(current.generators if current else ()) as seen:
            outputs = learner.predict(fold(learner, supports), query.x)
            losses = objective(outputs, query)
            grads = gradients(losses.sum(), list(learner.learned().values()))
        correct = torch.full_like(losses, torch.nan)
        if query.ways:
            correct = (outputs.argmax(-1) == query.y).to(losses.dtype).mean(1)
        layers = [seen.statistics.get(n.name) or [_kept(n)] for n in averages(learner)] if seen.statistics else []
        moments = [
            torch.cat(of).mean(0) for layer in layers for of in ([m.mean for m in layer], [m.var for m in layer])
        ]
        return [*grads, losses.detach(), correct.detach(), *moments]

    return run


def _unflatten(learner: Learner, flat: list[Tensor]) -> MetaGradient:
    n = len(learner.learned())
    moments = flat[n + 2 :]
    pairs = zip(moments[::2], moments[1::2], strict=True)
    statistics = dict(zip((n.name for n in averages(learner)), pairs, strict=True)) if moments else {}
    return MetaGradient(flat[:n], flat[n], flat[n + 1], statistics)


def averages(learner: Learner) -> list[Averages]:
    """Layers that keep averages, in the order of definition, which need not be the order in which they run."""
    return [module for module in learner.modules() if isinstance(module, Averages)]


def _kept(layer: Averages) -> Moments:
    """The averages of a layer that did not run: towards themselves they do not move."""
    return Moments(layer.mean.unsqueeze(0), layer.var.unsqueeze(0), 1)


def _total(parts: Sequence[MetaGradient]) -> MetaGradient:
    """Sums in the order given, so that a result depends on the blocks and not on which finished first."""
    if len(parts) == 1:
        return parts[0]
    sizes = [len(p.losses) for p in parts]

    def mean(name: str, moment: int) -> Tensor:
        return _sum([p.statistics[name][moment] * n for p, n in zip(parts, sizes, strict=True)]) / sum(sizes)

    return MetaGradient(
        [_sum(g) for g in zip(*(p.grads for p in parts), strict=True)],
        torch.cat([p.losses for p in parts]),
        torch.cat([p.correct for p in parts]),
        {name: (mean(name, 0), mean(name, 1)) for name in parts[0].statistics},
    )


def _sum(tensors: Sequence[Tensor]) -> Tensor:
    total = tensors[0].clone()
    for t in tensors[1:]:
        total += t
    return total
