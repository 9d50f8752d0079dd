"""The outer loop's step: gradient descent on the query loss after adaptation."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.algorithms.learner import Batch, Learner
from metabench.algorithms.meta_gradient import Workers, averages, chunk_outputs, meta_gradient, tasks_at_once
from metabench.algorithms.ops.compiled import CompiledChunk
from metabench.algorithms.streams import step_stream

AllReduce = Callable[[Tensor], None]
"""Sums a tensor over all processes, in place."""


class Diverged(RuntimeError):
    """The loss or its gradient is no longer finite. The learner was left as it was before the step."""


class Outer(Protocol):
    """One step of the outer loop, for either world."""

    def step(self, learner: Learner, supports: Sequence[Batch], query: Batch) -> dict[str, float]:
        """Improve θ; return metrics. Raises Diverged."""
        ...


def cross_entropy(outputs: Tensor, query: Batch, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of logits (T, N, K) against the query's labels, per task: (T,).

    Smoothing ε is MetaOptNet's: the target is 1 − ε for the class and ε / (K − 1) for every other.
    """
    logp = F.log_softmax(outputs, -1)
    hit = logp.gather(-1, query.y.unsqueeze(-1)).squeeze(-1)
    if smoothing:
        rest = (logp.sum(-1) - hit) / (query.ways - 1)
        hit = (1 - smoothing) * hit + smoothing * rest
    return -hit.mean(1)


def all_finite(tensors: Sequence[Tensor]) -> bool:
    """Whether no tensor holds an infinity or a NaN. The host waits for the device once."""
    return bool(torch.stack([t.isfinite().all() for t in tensors]).all())


def descend(optimizer: torch.optim.Optimizer, learner: Learner, grads: Sequence[Tensor]) -> None:
    """The optimiser's step along the gradients of `learner.learned()`; a parameter without a gradient stays."""
    optimizer.zero_grad()
    for p, g in zip(learner.learned().values(), grads, strict=True):
        p.grad = g
    optimizer.step()


class GradientOuter:
    """A torch optimiser on the mean query loss over the meta-batch, of all processes together.

    Args:
        optimizer: over `learner.parameters()`; those that are frozen it leaves as they are.
        schedule: stepped once an iteration.
        chunk: see `meta_gradient`; 0 for `tasks_at_once`.
        smoothing: label smoothing ε.
        clip: each element of the meta-gradient is clamped to [−clip, clip]; 0 for no clamp.
        momentum: weight of the newest batch in the running statistics of batch normalisation.
        seed: of whatever randomness layers use.
        rank, world: this process among all; task j here is task rank + world · j of the meta-batch.
        all_reduce: sums over processes; None for one process.
        compile: run chunks as compiled graphs (`algorithms.ops.compiled`).
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        *,
        workers: Workers,
        chunk: int = 0,
        smoothing: float = 0.0,
        clip: float = 0.0,
        momentum: float = 0.1,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        all_reduce: AllReduce | None = None,
        compile: bool = False,
    ) -> None:
        self.optimizer = optimizer
        self.schedule = schedule
        self.workers = workers
        self.chunk = chunk
        self.objective = functools.partial(cross_entropy, smoothing=smoothing)
        self.compiled = CompiledChunk(chunk_outputs(self.objective)) if compile else None
        self.clip = clip
        self.momentum = momentum
        self.seed, self.rank, self.world = seed, rank, world
        self.all_reduce = all_reduce
        self.steps = 0

    def step(self, learner: Learner, supports: Sequence[Batch], query: Batch) -> dict[str, float]:
        """One step on the mean over tasks of the query loss; returns loss and accuracy before the step."""
        tasks = query.x.shape[0]
        numbers = supports[0].x[0].numel() if supports else 0
        result = meta_gradient(
            learner,
            supports,
            query,
            self.objective,
            chunk=self.chunk or tasks_at_once(learner.reads, numbers, self.workers.device),
            workers=self.workers,
            seed=step_stream(self.seed, self.steps),
            places=range(self.rank, self.rank + self.world * tasks, self.world),
            compiled=self.compiled,
        )
        moments = [m for pair in result.statistics.values() for m in pair]
        totals = [result.losses.sum(), result.correct.sum(), query.x.new_tensor(float(tasks))]
        summed = self._over_processes([*result.grads, *(m * tasks for m in moments), *totals])
        count = summed[-1]
        mean = [t / count for t in summed[:-1]]
        grads, moments, loss = mean[: len(result.grads)], mean[len(result.grads) : -2], float(mean[-2])
        if not math.isfinite(loss) or not all_finite([*grads, *moments]):
            raise Diverged(
                f"the loss is {loss:g}, or its gradient or a batch's statistics are not finite, "
                f"at outer step {self.steps}"
            )
        descend(self.optimizer, learner, [g.clamp(-self.clip, self.clip) for g in grads] if self.clip else grads)
        self.schedule.step()
        self.steps += 1
        pairs = zip(moments[::2], moments[1::2], strict=True)
        self._follow(learner, dict(zip(result.statistics, pairs, strict=True)))
        return {"loss": loss, "accuracy": float(mean[-1])}

    def _over_processes(self, tensors: list[Tensor]) -> list[Tensor]:
        """The same tensors, summed over all processes in one exchange."""
        if self.all_reduce is None:
            return tensors
        flat = torch.cat([t.flatten() for t in tensors])
        self.all_reduce(flat)
        return [piece.view(t.shape) for piece, t in zip(flat.split([t.numel() for t in tensors]), tensors, strict=True)]

    def _follow(self, learner: Learner, seen: dict[str, tuple[Tensor, Tensor]]) -> None:
        """Move the running averages that are used towards this step's batch statistics."""
        for layer in averages(learner):
            if layer.name in seen and (layer.always or learner.norm == "running"):
                mean, var = seen[layer.name]
                layer.mean.lerp_(mean, self.momentum)
                layer.var.lerp_(var, self.momentum)

    def state_dict(self) -> dict[str, object]:
        """All that a resumed run needs."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Undo of `state_dict`."""
        self.optimizer.load_state_dict(state["optimizer"])  # type: ignore[arg-type]
        self.schedule.load_state_dict(state["schedule"])  # type: ignore[arg-type]
        self.steps = int(state["steps"])  # type: ignore[call-overload]
