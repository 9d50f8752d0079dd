"""Heads that are the optimum of a convex problem, for T tasks at once: ridge regression and the multi-class SVM.

**Ridge.** W* = argmin_W Σ_n w_n‖W z_n − t_n‖² + λ‖W‖². With R the targets and Ω = diag(w):

    primal, D×D:  (ZᵀΩZ + λI) Wᵀ = ZᵀΩR           dual, N×N (Woodbury):  Wᵀ = Zᵀ(ΩZZᵀ + λI)⁻¹ΩR

The smaller one is solved. The dual is written with Ω on the left only, so that a weight of zero is allowed
and the result is differentiable there. Every operation is, so derivatives of every order are exact.

**Crammer–Singer SVM** (Crammer & Singer, JMLR 2001; as a few-shot head: Lee, Maji, Ravichandran & Soatto,
"Meta-Learning with Differentiable Convex Optimization", CVPR 2019). With Y one-hot and H = ZZᵀ + sI the dual is

    min_α ½ tr(αᵀHα) − tr(Yᵀα)    subject to    α_n ≤ C·Y_n,  Σ_k α_nk = 0,        and  W = αᵀZ.

s = 1 is the identity that Lee et al. add to the kernel. It makes α unique whatever the features (repeated
examples included) and every system below positive definite; s must be positive.

With β = CY − α each β_n lies in a simplex, {β ≥ 0, Σβ = C}: the budget that example n lays on the classes.
The solver alternates two moves whose systems are N×N, never NK×NK as a general QP's:

1. ADMM (Boyd et al., 2011) with a penalty ρ near H's mean diagonal: one inverse serves all its steps, and it
   does not mind that the features of a ReLU network share a large mean, which makes H ill conditioned and
   stalls accelerated projected gradients. A projected-gradient step then lands exactly on a face.
2. Newton on that face (Moré & Toraldo, 1991), accepted where it lowers the objective. On the free set F_k of
   each class, M_k = (H_{F_k F_k})⁻¹ padded with zeros; only the sums over k couple the classes, so

       δ_k = M_k(r_k − ν),    ν = (Σ_k M_k)⁻¹ Σ_k M_k r_k        solves the KKT system for the residual r.

   On the right face this is exact, and it serves the gradient too: by the implicit function theorem,
   dα* = −KKT⁻¹(dH α*), so ∂L/∂H = −δαᵀ with δ = KKT⁻¹(∂L/∂α), and ∂L/∂Z = −δ(αᵀZ) − α(δᵀZ).

Where strict complementarity fails (some β_nk = 0 with a zero multiplier) α* is continuous but has only
one-sided derivatives; the gradient is then that of the face in hand, an element of the generalised Jacobian.
N×N work is done in float64 whatever the features are: float32, and TF32 more so, can lose s beneath ‖ZZᵀ‖.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ADMM_STEPS = 20
"""Steps of the first round; the r-th takes r times as many, which only hard problems ever pay for."""
ADMM_PENALTIES = (1.0, 0.3, 0.1)
"""ρ of each round (the last one stays), in units of H's mean diagonal."""
OVER_RELAXATION = 1.6
ROUNDING = 8 * torch.finfo(torch.float64).eps
"""Rounding error of a gradient, in units of C ‖H‖: the KKT conditions cannot be satisfied better than computed."""
STEP_SIZES = (0.015625, 0.0625, 0.25, 1.0)
"""Shares of a Newton step; the best is kept. The full step is tried last, so that it wins ties and ends exactly."""


def ridge(features: Tensor, targets: Tensor, penalty: Tensor | float, weights: Tensor | None = None) -> Tensor:
    """argmin_W Σ_n w_n‖W z_n − t_n‖² + λ‖W‖², per task.

    Args:
        features: (T, N, D). targets: (T, N, K). penalty: λ > 0, a number, () or (T,).
        weights: (T, N), all ≥ 0 (not checked); 1 where None. A negative weight rewards error: the problem
            is unbounded as soon as it outweighs λ, and this would return a saddle point.

    Returns:
        W (T, K, D), differentiable in every tensor.
    """
    z, t = features.double(), targets.double()
    weighted = z if weights is None else z * weights.double().unsqueeze(-1)
    lam = penalty.double().reshape(-1, 1, 1) if isinstance(penalty, Tensor) else penalty
    examples, width = z.shape[1:]  # solve_ex: without the host's wait for an error code
    found: Tensor
    if examples < width:
        right = t if weights is None else t * weights.double().unsqueeze(-1)
        found = torch.linalg.solve_ex(weighted @ z.mT + lam * identity(z, examples), right).result.mT @ z
    else:
        found = torch.linalg.solve_ex(weighted.mT @ z + lam * identity(z, width), weighted.mT @ t).result.mT
    return found.to(features.dtype)


def identity(like: Tensor, size: int) -> Tensor:
    """(size, size), on the device and in the type of `like`."""
    return torch.eye(size, dtype=like.dtype, device=like.device)


def one_hot(y: Tensor, ways: int, like: Tensor) -> Tensor:
    """Labels (T, N) -> (T, N, K) in the type of `like`. Unlike torch's, it reads no value, so it can be traced."""
    return (y.unsqueeze(-1) == torch.arange(ways, device=y.device)).to(like.dtype)


def crammer_singer(
    features: Tensor,
    y: Tensor,
    ways: int,
    c: float = 0.1,
    iterations: int = 16,
    *,
    smoothing: float = 1.0,
    tolerance: float = 1e-9,
) -> Tensor:
    """The SVM's weights W = αᵀZ: features (T, N, D) and labels (T, N) -> (T, K, D). See `dual_optimum`."""
    return dual_optimum(features, y, ways, c, iterations, smoothing=smoothing, tolerance=tolerance).mT @ features


def dual_optimum(
    features: Tensor,
    y: Tensor,
    ways: int,
    c: float = 0.1,
    iterations: int = 16,
    *,
    smoothing: float = 1.0,
    tolerance: float = 1e-9,
) -> Tensor:
    """The SVM's dual variables α, once differentiable in the features.

    Args:
        features: (T, N, D). y: labels (T, N) in 0..K-1. ways: K. c: C > 0. smoothing: s > 0.
        iterations: the most rounds of ADMM and Newton. One to three are the rule; the rest is for examples
            that are large, of few dimensions and not separable.
        tolerance: stop when every task's KKT violation is below it (margins are of order 1), or below what
            rounding leaves; a warning says where the last round ends above it. 0 does all rounds and never looks at
            a value, as tracing and graph capture need; take 2 or 3 iterations there.

    Returns:
        α (T, N, K) in the features' type.
    """
    if c <= 0 or smoothing <= 0 or iterations < 1:
        raise ValueError(f"c ({c}), smoothing ({smoothing}) and iterations ({iterations}) must be positive")
    alpha: Tensor = _DualOptimum.apply(features, y, ways, c, iterations, smoothing, tolerance)
    return alpha


class _DualOptimum(torch.autograd.Function):
    """α*(Z): the solver forwards, the implicit function theorem backwards. A second derivative raises."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, y: Tensor, ways: int, c: float, iterations: int, smoothing: float, tolerance: float
    ) -> Tensor:
        z = features.double()
        hessian = z @ z.mT + smoothing * identity(z, z.shape[1])
        labels = one_hot(y, ways, z)
        beta, face = _solve(_Dual(hessian, labels - c * (hessian @ labels), c), c * labels, iterations, tolerance)
        alpha = (c * labels - beta).to(features.dtype)
        ctx.save_for_backward(features, alpha, *face)
        return alpha

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        features, alpha, inverse, coupling = ctx.saved_tensors
        delta = _Face(inverse, coupling).solve(grad.double()).to(grad.dtype)
        both = torch.cat([alpha, delta], -1).mT @ features
        return -(torch.cat([delta, alpha], -1) @ both), *[None] * 6


class _Dual(NamedTuple):
    """½ tr(βᵀHβ) + tr(linearᵀβ) over simplices of size `total`: H (T, N, N), linear (T, N, K)."""

    hessian: Tensor
    linear: Tensor
    total: float

    def gradient(self, beta: Tensor) -> Tensor:
        return self.hessian @ beta + self.linear

    def objective(self, beta: Tensor) -> Tensor:
        """(..., T, N, K) -> (..., T, 1, 1)."""
        return (beta * (0.5 * (self.hessian @ beta) + self.linear)).sum((-2, -1), keepdim=True)

    def violation(self, beta: Tensor, gradient: Tensor) -> Tensor:
        """(T, N): by how much an example's dearest loaded class exceeds its cheapest one. 0 at the optimum only."""
        loaded = beta > 1e-12 * self.total  # more than rounding leaves
        return torch.where(loaded, gradient - gradient.amin(-1, keepdim=True), 0).amax(-1)


class _Face(NamedTuple):
    """A face of the simplices, factored: M (T, K, N, N), and the Cholesky factor of Σ_k M_k (T, N, N)."""

    inverse: Tensor
    coupling: Tensor

    @classmethod
    def of(cls, hessian: Tensor, free: Tensor) -> _Face:
        """hessian (T, N, N) positive definite; free (T, N, K), true for one class an example at least."""
        mask = free.mT.to(hessian.dtype)
        both = mask.unsqueeze(-1) * mask.unsqueeze(-2)
        padded = hessian.unsqueeze(1) * both + torch.diag_embed(1 - mask)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky_ex(padded).L) * both
        return cls(inverse, torch.linalg.cholesky_ex(inverse.sum(1)).L)

    def solve(self, right: Tensor) -> Tensor:
        """δ with (Hδ)_F + ν = right_F, δ = 0 off the face and Σ_k δ = 0: (T, N, K) -> (T, N, K)."""
        r = right.mT.unsqueeze(-1)
        nu = torch.cholesky_solve((self.inverse @ r).sum(1), self.coupling)
        return (self.inverse @ (r - nu.unsqueeze(1))).squeeze(-1).mT


def _solve(dual: _Dual, beta: Tensor, iterations: int, tolerance: float) -> tuple[Tensor, _Face]:
    """Rounds of ADMM, a projected-gradient step and a Newton step, each kept where it lowers the objective."""
    hessian = dual.hessian
    bound = hessian.abs().sum(-1).amax(-1).view(-1, 1, 1)  # ≥ the largest eigenvalue
    enough = (ROUNDING * dual.total * bound[..., 0]).clamp(min=tolerance)
    for turn in range(iterations):
        start = _lower(dual, _admm(dual, beta, turn), beta)
        start = onto_simplex(start - dual.gradient(start) / bound, dual.total)
        face = _Face.of(hessian, start > 0)
        beta, step = start, face.solve(-dual.gradient(start))
        for size in STEP_SIZES:
            beta = _lower(dual, onto_simplex(start + size * step, dual.total), beta)
        # A task whose features are not finite is past solving, and its outputs will say so.
        short = float((dual.violation(beta, dual.gradient(beta)) / enough).nan_to_num(0.0).max()) if tolerance else 0.0
        if tolerance and short <= 1:
            return beta, face
    if tolerance:
        warnings.warn(f"{iterations} rounds leave an SVM head at {short:.2g} times its tolerance", stacklevel=2)
    return beta, face


def _lower(dual: _Dual, new: Tensor, old: Tensor) -> Tensor:
    """Per task, the one with the lower objective; `new` where rounding cannot tell them apart."""
    reference = dual.objective(old)
    return torch.where(dual.objective(new) <= reference + 1e-14 * reference.abs(), new, old)


def _admm(dual: _Dual, beta: Tensor, turn: int) -> Tensor:
    """ADMM from β. Centring commutes with (H + ρI)⁻¹, so it is all that keeping Σ_k β needs."""
    hessian, linear, total = dual
    rho = hessian.diagonal(dim1=1, dim2=2).mean(-1).view(-1, 1, 1) * ADMM_PENALTIES[min(turn, len(ADMM_PENALTIES) - 1)]
    shifted = hessian + rho * identity(hessian, beta.shape[1])
    resolvent = torch.cholesky_inverse(torch.linalg.cholesky_ex(shifted).L)
    multiplier = -dual.gradient(beta) / rho  # what it is at the optimum, up to a constant per example
    for _ in range(ADMM_STEPS * (turn + 1)):
        smooth = resolvent @ (rho * (beta - multiplier) - linear)
        smooth = smooth - smooth.mean(-1, keepdim=True) + total / beta.shape[-1]
        relaxed = OVER_RELAXATION * smooth + (1 - OVER_RELAXATION) * beta
        beta = onto_simplex(relaxed + multiplier, total)
        multiplier = multiplier + relaxed - beta
    return beta


def onto_simplex(v: Tensor, total: float) -> Tensor:
    """The nearest point of {β ≥ 0, Σβ = total} in the last axis, exactly, by sorting.

    It is max(v + θ, 0) with θ = min_j (total − Σ_{i≤j} v₍ᵢ₎)/j over v sorted downwards (water filling).
    """
    count = torch.arange(1, v.shape[-1] + 1, dtype=v.dtype, device=v.device)
    level = (total - v.sort(-1, descending=True).values.cumsum(-1)) / count
    return (v + level.amin(-1, keepdim=True)).clamp(min=0)
