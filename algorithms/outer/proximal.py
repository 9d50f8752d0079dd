"""The outer step of ProMP: a few epochs of a clipped surrogate with a penalty on the pre-update policies' change.

Rothfuss, Lee, Clavera, Asfour & Abbeel, "ProMP: Proximal Meta-Policy Search", ICLR 2019, algorithm 1 and its objective:

    J(θ) = mean over tasks of [ J_clip(φ_K(θ)) − η · mean over k < K of KL(φ_k(θ_old) ‖ φ_k(θ)) ].

φ_k(θ_old) is the policy that collected support k. Its actions stay the data of every epoch, so the inner objective
must be the likelihood ratio's, which corrects for θ having moved on: supports hold `old`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from metabench.algorithms.learner import Batch, Learner, gradients, trajectory
from metabench.algorithms.meta_gradient import Workers
from metabench.algorithms.outer.gradient import AllReduce, Diverged, descend
from metabench.algorithms.outer.surrogate import MetaBatch, Piece, assign, flatten, gaussian, surrogate, unflatten


class ProximalOuter:
    """Epochs of a torch optimiser on J, each on the whole meta-batch of all processes together.

    Args:
        optimizer: over `learner.parameters()`, frozen ones stay; the paper's is Adam with rate 1e-3.
        epochs: gradient steps on one meta-batch.
        clip: ε, see `surrogate`.
        penalty: η.
        chunk: tasks carried at once; 0 for the fastest (see `MetaBatch`).
        all_reduce: sums over processes; None for one process.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        workers: Workers,
        epochs: int = 5,
        clip: float = 0.3,
        penalty: float = 5e-4,
        chunk: int = 0,
        all_reduce: AllReduce | None = None,
    ) -> None:
        self.optimizer = optimizer
        self.workers = workers
        self.epochs = epochs
        self.clip = clip
        self.penalty = penalty
        self.chunk = chunk
        self.all_reduce = all_reduce
        self.steps = 0

    def step(self, learner: Learner, supports: Sequence[Batch], query: Batch) -> dict[str, float]:
        """All epochs; returns the (unclipped) surrogate's gain, and the mean KL of the adapted policies' change.

        Args:
            supports: one for each update; all, and the query, hold the log-probabilities of their actions (old).

        Raises:
            Diverged: J, its gradient or the result is not finite. θ and the optimiser are as they were.
            ValueError: the policy is not Gaussian, or a batch has no `old`.
        """
        if any(support.old is None for support in supports):
            raise ValueError(
                "a support does not hold the log-probabilities of its actions (old), which ProMP weighs by"
            )
        batch = MetaBatch(supports, query, chunk=self.chunk, workers=self.workers, all_reduce=self.all_reduce)
        gaussian(learner)
        before = flatten(learner.learned().values()).detach()
        optimizer = copy.deepcopy(self.optimizer.state_dict())
        try:
            metrics = self._epochs(learner, batch)
        except Diverged:
            assign(learner.learned().values(), before)
            self.optimizer.load_state_dict(optimizer)
            raise
        self.steps += 1
        return metrics

    def _epochs(self, learner: Learner, batch: MetaBatch) -> dict[str, float]:
        with torch.no_grad():
            olds = batch.map(lambda piece: list(_outputs(learner, piece)))
        for _ in range(self.epochs):
            total = self._checked(batch.sum(batch.map(lambda piece, old: self._descent(learner, piece, old), olds)))
            gradient, tasks = total[:-1], total[-1]
            descend(self.optimizer, learner, unflatten(gradient / tasks, learner.learned().values()))
        self.optimizer.zero_grad()
        with torch.no_grad():
            total = self._checked(batch.sum(batch.map(lambda piece, old: _change(learner, piece, old), olds)))
        gain, kl, inner, tasks = total.tolist()
        return {"surrogate": gain / tasks, "kl": kl / tasks, "inner_kl": inner / tasks}

    def _descent(self, learner: Learner, piece: Piece, old: list[Tensor]) -> Tensor:
        """(the gradient of −J, the number of tasks), summed over tasks and flat."""
        with torch.enable_grad():
            new = list(_outputs(learner, piece))
            gain = surrogate(learner, new[-1], piece.query, self.clip)
            loss = (self.penalty * _inner_kl(learner, piece, old, new) - gain).sum()
            grads = gradients(loss, list(learner.learned().values()))
        return flatten([*grads, loss.new_tensor(float(len(gain)))])

    def _checked(self, total: Tensor) -> Tensor:
        if not bool(total.isfinite().all()):
            raise Diverged(f"the surrogate or its gradient is not finite at outer step {self.steps}")
        return total

    def state_dict(self) -> dict[str, object]:
        """All that a resumed run needs."""
        return {"optimizer": self.optimizer.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Undo of `state_dict`."""
        self.optimizer.load_state_dict(state["optimizer"])  # type: ignore[arg-type]
        self.steps = int(state["steps"])  # type: ignore[call-overload]


def _outputs(learner: Learner, piece: Piece) -> Iterator[Tensor]:
    """Of φ_k on the support that it collected, for each k, and of φ_K on the query."""
    for fast, seen in zip(trajectory(learner, piece.supports), [*piece.supports, piece.query], strict=True):
        yield learner.predict(fast, seen.x)


def _inner_kl(learner: Learner, piece: Piece, old: list[Tensor], new: list[Tensor]) -> Tensor:
    """Mean over k < K of the mean KL(φ_k(θ_old) ‖ φ_k(θ)), per task: (T,)."""
    law = gaussian(learner)
    total = piece.query.w.new_zeros(len(piece.query.w))
    for support, a, b in zip(piece.supports, old[:-1], new[:-1], strict=True):
        total = total + support.mean(law.kl(a, b)) / len(piece.supports)
    return total


def _change(learner: Learner, piece: Piece, old: list[Tensor]) -> Tensor:
    """(the surrogate's gain, the KL of the adapted policies, the inner KL, the number of tasks), summed over tasks."""
    new = list(_outputs(learner, piece))
    gain = surrogate(learner, new[-1], piece.query) - surrogate(learner, old[-1], piece.query)
    kl = piece.query.mean(gaussian(learner).kl(old[-1], new[-1]))
    return torch.stack(
        [gain.sum(), kl.sum(), _inner_kl(learner, piece, old, new).sum(), gain.new_tensor(float(len(gain)))]
    )
