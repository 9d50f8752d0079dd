"""What the two outer loops of control share: the surrogate objective, and sums over a meta-batch.

The surrogate of a policy π against the π_old that acted is the mean of π(a | s) / π_old(a | s) · advantage
(Schulman, Levine, Abbeel, Jordan & Moritz, "Trust Region Policy Optimization", ICML 2015, eq. 14): it has the
gradient of the expected return at π_old, and bounds the return of a π that stays near.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from metabench.algorithms.learner import Batch, Learner
from metabench.algorithms.likelihood import Gaussian
from metabench.algorithms.meta_gradient import Workers
from metabench.algorithms.outer.gradient import AllReduce

Out = TypeVar("Out")

EXAMPLES = 2000
"""Of a piece on a CPU: its activations stay in the cache, and Python is not what takes the time. Measured with 100
units a layer: 4 × as many at once take 1.2 × as long, a fifth of them 1.4 ×."""


def surrogate(learner: Learner, outputs: Tensor, query: Batch, clip: float | None = None) -> Tensor:
    """Mean over the examples that count of ratio · advantage, per task: (T,). To be raised.

    Args:
        outputs: means and log-stds of the policy in question, (T, N, 2A).
        query: what π_old did, with its log-probabilities `old`.
        clip: ε of PPO (Schulman et al., 2017, eq. 7): no gain from a ratio beyond 1 ± ε.
    """
    ratio = query.ratio(learner.network.likelihood.log_prob(outputs, query.y))
    gain = ratio * query.w
    if clip is not None:
        gain = torch.minimum(gain, ratio.clamp(1 - clip, 1 + clip) * query.w)
    return query.mean(gain)


def gaussian(learner: Learner) -> Gaussian:
    """The learner's likelihood, which must be a policy's."""
    law = learner.network.likelihood
    if not isinstance(law, Gaussian):
        raise ValueError(f"the outer step of control needs a Gaussian policy, not {type(law).__name__}")
    return law


class Piece(NamedTuple):
    """Some tasks of a meta-batch: one support for each update, and the query."""

    supports: list[Batch]
    query: Batch


class MetaBatch:
    """T tasks cut into pieces, which threads work through. Sums run over the pieces in order and in float64.

    Args:
        chunk: tasks a piece; 0 for what is fastest: on a CPU as many as make up `EXAMPLES`, all elsewhere.
        all_reduce: sums over processes; None for one process.

    Raises:
        ValueError: the query does not hold the log-probabilities of its actions.
    """

    def __init__(
        self, supports: Sequence[Batch], query: Batch, *, chunk: int, workers: Workers, all_reduce: AllReduce | None
    ) -> None:
        if query.old is None:
            raise ValueError("the query does not hold the log-probabilities of its actions (old)")
        self.supports, self.query = list(supports), query
        self.chunk, self.workers, self.all_reduce = chunk, workers, all_reduce
        tasks, on_cpu = len(query.x), workers.device == "cpu"
        size = chunk or (min(-(-EXAMPLES // query.x.shape[1]), -(-tasks // workers.threads)) if on_cpu else tasks)
        cuts = [slice(a, min(a + size, tasks)) for a in range(0, tasks, size)]
        self.pieces = [Piece([s.at(cut) for s in supports], query.at(cut)) for cut in cuts]

    def every(self, stride: int) -> MetaBatch:
        """The same tasks with every stride-th of their examples."""
        supports, query = [s.every(stride) for s in self.supports], self.query.every(stride)
        return MetaBatch(supports, query, chunk=self.chunk, workers=self.workers, all_reduce=self.all_reduce)

    def map(self, run: Callable[..., Out], *extras: Sequence[object]) -> list[Out]:
        """[run(piece, its entry of each of the extras) ...], in order, on all threads."""
        rows = list(zip(self.pieces, *extras, strict=True))
        blocks = self.workers.map(lambda block: [run(*row) for row in rows[block]], len(rows))
        return list(itertools.chain.from_iterable(blocks))

    def sum(self, parts: Sequence[Tensor]) -> Tensor:
        """Flat tensors, one a piece -> their sum over pieces and processes, float64."""
        total = torch.stack(list(parts)).double().sum(0)
        if self.all_reduce is not None:
            self.all_reduce(total)
        return total


def flatten(tensors: Iterable[Tensor]) -> Tensor:
    """One flat vector."""
    return torch.cat([t.reshape(-1) for t in tensors])


def unflatten(flat: Tensor, like: Iterable[Tensor]) -> list[Tensor]:
    """Undo of `flatten`, in the shapes and types of the given tensors."""
    like = list(like)
    pieces = flat.split([t.numel() for t in like])
    return [piece.view(t.shape).to(t.dtype) for piece, t in zip(pieces, like, strict=True)]


def assign(parameters: Iterable[nn.Parameter], flat: Tensor) -> None:
    """Write a flat vector into the parameters, in place."""
    parameters = list(parameters)
    with torch.no_grad():
        for p, value in zip(parameters, unflatten(flat, parameters), strict=True):
            p.copy_(value)
