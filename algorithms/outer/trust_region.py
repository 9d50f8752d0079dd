"""The outer step of MAML's control experiments: a trust region on the adapted policies.

Schulman, Levine, Abbeel, Jordan & Moritz, "Trust Region Policy Optimization", ICML 2015, as the outer loop of Finn,
Abbeel & Levine, ICML 2017. θ moves to raise the surrogate of the *adapted* policies, Σ over tasks at φ(θ), as far as
the mean KL between the adapted policies before and after stays within δ:

    x ≈ F⁻¹g by conjugate gradient,  θ' = θ + √(2δ / xᵀFx) · 0.8ⁱ · x  for the first i that passes both checks.

**F through the adaptation.** With J the Jacobian of the query's outputs (means, log-stds) in θ, adaptation included,
the Hessian of the mean KL at θ is exactly F = E[JᵀMJ]: its other term is the KL's gradient, which is zero there.
M is the diagonal Gaussian's Fisher information. How one multiplies with J and Jᵀ is in `outer.jacobian`; the
surrogate's gradient comes from the same Jᵀ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from metabench.algorithms.learner import Batch, Learner, adapt
from metabench.algorithms.meta_gradient import Workers
from metabench.algorithms.outer.gradient import AllReduce, Diverged
from metabench.algorithms.outer.jacobian import Jacobian, jacobian_of
from metabench.algorithms.outer.surrogate import MetaBatch, Piece, assign, flatten, gaussian, surrogate, unflatten

Product = Callable[[Tensor], Tensor]


class TrustRegionOuter:
    """One natural-gradient step with a line search, on the meta-batches of all processes together.

    Args:
        radius: δ, the largest mean KL of a step, in nats.
        iterations: of conjugate gradient.
        damping: what F + damping · I adds, so that every direction has curvature.
        tries, shrink: of the line search.
        curvature: share of the examples, supports' and query's, that F is estimated from: 1/n takes every n-th. F
            only shapes the step. Its gradient, and both checks, see every example.
        chunk: tasks carried at once; 0 for the fastest (see `MetaBatch`).
        all_reduce: sums over processes; None for one process. Decisions follow sums, so all processes agree.
    """

    def __init__(
        self,
        *,
        workers: Workers,
        radius: float = 0.01,
        iterations: int = 10,
        damping: float = 1e-5,
        tries: int = 15,
        shrink: float = 0.8,
        curvature: float = 1.0,
        chunk: int = 0,
        all_reduce: AllReduce | None = None,
    ) -> None:
        if not 0 < curvature <= 1:
            raise ValueError(f"curvature is {curvature}; it is a share of the examples, above 0 and at most 1")
        self.workers = workers
        self.radius = radius
        self.iterations, self.damping = iterations, damping
        self.tries, self.shrink = tries, shrink
        self.stride = round(1 / curvature)
        self.chunk = chunk
        self.all_reduce = all_reduce
        self.steps = 0

    def step(self, learner: Learner, supports: Sequence[Batch], query: Batch) -> dict[str, float]:
        """One step; returns the surrogate's gain, the mean KL and the number of tries of the line search.

        Where no try passes, θ stays as it was, and gain and KL are 0.

        Args:
            supports: one for each update. query: holds the log-probabilities of its actions (old).

        Raises:
            Diverged: the surrogate or its gradient is not finite. θ is as it was.
            ValueError: the policy is not Gaussian, or the query has no `old`.
        """
        batch = MetaBatch(supports, query, chunk=self.chunk, workers=self.workers, all_reduce=self.all_reduce)
        gaussian(learner)  # before any work
        parts = batch.map(lambda piece: self._begun(learner, piece))
        total = batch.sum([flat for flat, _, _ in parts])
        tasks = total[-1]
        gradient, value = total[:-2] / tasks, float(total[-2] / tasks)
        if not bool(total.isfinite().all()):
            raise Diverged(f"the surrogate is {value:g}, or its gradient is not finite, at outer step {self.steps}")
        direction, curvature = self._natural(learner, batch, [of for _, _, of in parts], gradient, tasks)
        length = math.sqrt(2 * self.radius / curvature) if curvature > 0 else 0.0
        self.steps += 1
        return self._search(learner, batch, [outputs for _, outputs, _ in parts], total[-2:], direction, length)

    def _begun(self, learner: Learner, piece: Piece) -> tuple[Tensor, Tensor, Jacobian | None]:
        """A piece's ascent and outputs, and its J where the curvature is of all examples too: else it is let go of."""
        of = jacobian_of(learner, piece)
        return _ascent(learner, piece.query, of), of.outputs, of if self.stride == 1 else None

    def _search(
        self,
        learner: Learner,
        batch: MetaBatch,
        olds: Sequence[Tensor],
        start: Tensor,
        direction: Tensor,
        length: float,
    ) -> dict[str, float]:
        """Take the longest of the tries' steps along a direction that passes both checks; metrics as of `step`.

        Args:
            olds: the policies' outputs at θ, one tensor a piece.
            start: the sum over tasks of the surrogate at θ, and the number of tasks.
        """
        law, tasks, value = gaussian(learner), start[1], float(start[0] / start[1])
        learned = list(learner.learned().values())
        before = flatten(learned).detach().double()

        def checks(piece: Piece, old: Tensor) -> Tensor:
            new = learner.predict(adapt(learner, piece.supports), piece.query.x)
            kl = piece.query.mean(law.kl(old, new)).sum()
            return torch.stack([kl, surrogate(learner, new, piece.query).sum()])

        for i in range(self.tries):
            assign(learned, before + length * self.shrink**i * direction)
            with torch.no_grad():
                kl, new = (batch.sum(batch.map(checks, olds)) / tasks).tolist()
            if kl <= self.radius and new > value:
                return {"surrogate": new - value, "kl": kl, "tries": float(i + 1)}
        assign(learned, before)
        return {"surrogate": 0.0, "kl": 0.0, "tries": float(self.tries)}

    def _natural(
        self,
        learner: Learner,
        batch: MetaBatch,
        whole: Sequence[Jacobian | None],
        gradient: Tensor,
        tasks: Tensor,
    ) -> tuple[Tensor, float]:
        """F⁻¹g and its squared length in F.

        Args:
            whole: J of each piece with all of its examples, or None where only a share counts.
        """
        thin = batch if self.stride == 1 else batch.every(self.stride)
        given = whole if self.stride == 1 else [None] * len(thin.pieces)
        products = thin.map(lambda piece, of: fisher_product(learner, piece, of or jacobian_of(learner, piece)), given)

        def product(v: Tensor) -> Tensor:
            return thin.sum(thin.map(lambda _, of: of(v), products)) / tasks + self.damping * v

        return conjugate_gradient(product, gradient, self.iterations)

    def state_dict(self) -> dict[str, object]:
        """All that a resumed run needs."""
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Undo of `state_dict`."""
        self.steps = int(state["steps"])  # type: ignore[call-overload]


def _ascent(learner: Learner, query: Batch, of: Jacobian) -> Tensor:
    """The surrogate's gradient in what is learned, its value, and the number of tasks: summed over tasks and flat."""
    with torch.enable_grad():
        outputs = of.outputs.detach().requires_grad_()
        value = surrogate(learner, outputs, query).sum()
        (slope,) = torch.autograd.grad(value, outputs)
    count = value.new_tensor(float(len(outputs)))
    return flatten([*of.pull(slope), value.detach(), count])


def fisher_product(learner: Learner, piece: Piece, of: Jacobian) -> Product:
    """v ↦ Σ over tasks of mean over examples of JᵀMJv, for flat v, of what is learned."""
    parameters = list(learner.learned().values())
    metric = gaussian(learner).fisher(of.outputs) * _shares(piece.query).unsqueeze(-1)

    def product(v: Tensor) -> Tensor:
        return flatten(of.pull(metric * of.push(unflatten(v, parameters))))

    return product


def _shares(query: Batch) -> Tensor:
    """What each example weighs in its task's mean, (T, N)."""
    counts = torch.ones_like(query.w) if query.valid is None else query.valid
    return counts / counts.sum(1, keepdim=True).clamp(min=1)


def conjugate_gradient(product: Product, g: Tensor, iterations: int) -> tuple[Tensor, float]:
    """x ≈ F⁻¹g from x = 0, and xᵀFx, for a symmetric positive definite F (Hestenes & Stiefel, 1952)."""
    x, residual, p = torch.zeros_like(g), g.clone(), g.clone()
    square = start = float(g @ g)
    for _ in range(iterations):
        if square <= 1e-20 * start:
            break
        fp = product(p)
        step = square / float(p @ fp)
        x += step * p
        residual -= step * fp
        last, square = square, float(residual @ residual)
        p = residual + square / last * p
    return x, float(x @ (g - residual))  # Fx = g − residual: no further product
