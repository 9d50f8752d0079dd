"""Ridge against the normal equations; the SVM against SciPy on the same dual, its KKT conditions and gradcheck."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from metabench.algorithms.ops import convex
from metabench.algorithms.ops.convex import crammer_singer, dual_optimum, onto_simplex, ridge


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def episode(
    tasks: int, ways: int, shots: int, width: int, *, noise: float = 1.0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Non-negative features, as a ReLU network's, around class centres: (T, N, D) and labels (T, N)."""
    centres = 0.5 * normal(tasks, ways, 1, width, seed=seed)
    features = (centres + noise * normal(tasks, ways, shots, width, seed=seed + 1)).relu()
    return features.flatten(1, 2), torch.arange(ways).repeat_interleave(shots).expand(tasks, -1)


# Ridge ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("examples", "width"), [(4, 9), (9, 4), (6, 6)], ids=["dual", "primal", "square"])
@pytest.mark.parametrize("weighted", [False, True])
def test_ridge_solves_the_normal_equations(examples: int, width: int, weighted: bool) -> None:
    z, t = normal(3, examples, width), normal(3, examples, 2, seed=1)
    w = normal(3, examples, seed=2).abs() if weighted else None
    if w is not None:
        w[:, 0] = 0.0
    got = ridge(z, t, 0.7, w).numpy()
    for task in range(3):
        omega = np.eye(examples) if w is None else np.diag(w[task].numpy())
        left = z[task].numpy().T @ omega @ z[task].numpy() + 0.7 * np.eye(width)
        right = z[task].numpy().T @ omega @ t[task].numpy()
        np.testing.assert_allclose(got[task], np.linalg.solve(left, right).T, atol=1e-12)


def test_ridge_of_one_example_by_hand() -> None:
    """z = (1, 0), t = 3, λ = 0.5: minimise (a − 3)² + ½a² + ½b²."""
    z, t = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[3.0]]])
    torch.testing.assert_close(ridge(z, t, 0.5), torch.tensor([[[2.0, 0.0]]]))


@pytest.mark.parametrize(("examples", "width"), [(3, 5), (5, 3)], ids=["dual", "primal"])
def test_ridge_gradients_of_both_orders(examples: int, width: int) -> None:
    inputs = [
        normal(2, examples, width),
        normal(2, examples, 2, seed=1),
        torch.tensor(0.8, dtype=torch.float64),
        normal(2, examples, seed=2).abs() + 0.1,
    ]
    leaves = tuple(x.requires_grad_() for x in inputs)
    assert torch.autograd.gradcheck(ridge, leaves)
    assert torch.autograd.gradgradcheck(ridge, leaves)


def test_ridge_gradient_at_a_weight_of_zero_is_finite() -> None:
    for examples, width in [(3, 5), (5, 3)]:
        w = torch.zeros(1, examples, dtype=torch.float64, requires_grad=True)
        ridge(normal(1, examples, width), normal(1, examples, 2, seed=1), 1.0, w).sum().backward()
        assert w.grad is not None and w.grad.isfinite().all() and w.grad.abs().min() > 0


def test_ridge_extremes_of_the_penalty() -> None:
    z, t = normal(2, 4, 9), normal(2, 4, 3, seed=1)
    assert ridge(z, t, 1e12).abs().max() < 1e-9
    torch.testing.assert_close(z @ ridge(z, t, 1e-9).mT, t, atol=1e-7, rtol=0)
    penalty = torch.tensor([0.1, 10.0], dtype=torch.float64)
    torch.testing.assert_close(ridge(z, t, penalty)[1:], ridge(z[1:], t[1:], 10.0), atol=1e-12, rtol=0)


def test_ridge_keeps_the_type_and_its_accuracy_in_float32() -> None:
    z, t = normal(2, 75, 1600), normal(2, 75, 5, seed=1)
    single = ridge(z.float(), t.float(), 50.0)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), ridge(z, t, 50.0), atol=1e-7, rtol=1e-5)


# The simplex ------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=7), st.floats(1e-2, 10))
def test_the_nearest_point_of_the_simplex(values: list[float], total: float) -> None:
    """Feasible, and v − p is in the normal cone: equal where p > 0, no larger elsewhere."""
    v = torch.tensor(values, dtype=torch.float64)
    p = onto_simplex(v, total)
    slope = v - p
    assert p.min() >= 0 and abs(p.sum().item() - total) < 1e-12 * (10 + total)
    assert (slope.max() - slope[p > 1e-12]).abs().max() < 1e-11
    torch.testing.assert_close(onto_simplex(p, total), p, atol=1e-14, rtol=1e-14)


# The SVM ----------------------------------------------------------------------------------------------------


def kkt_errors(z: Tensor, y: Tensor, alpha: Tensor, c: float, smoothing: float = 1.0) -> dict[str, float]:
    """What the optimality conditions of the dual leave over, worst case, written independently of the solver.

    There are multipliers ν_n with g = Hα − Y: g_nk = ν_n where α_nk is below its cap, g_nk ≤ ν_n on the cap.
    """
    h = z @ z.mT + smoothing * torch.eye(z.shape[1], dtype=z.dtype)
    labels = F.one_hot(y, alpha.shape[-1]).to(z.dtype)
    g = h @ alpha - labels
    below = alpha < c * labels - 1e-10 * c
    nu = torch.where(below, g, -torch.inf).amax(-1, keepdim=True)
    return {
        "sum": alpha.sum(-1).abs().max().item() / c,
        "cap": (alpha - c * labels).max().item() / c,
        "free": torch.where(below, nu - g, 0).max().item(),
        "capped": torch.where(below, 0, g - nu).max().item(),
    }


def slsqp(z: np.ndarray, y: np.ndarray, ways: int, c: float, smoothing: float = 1.0) -> np.ndarray:
    """α (N, K) by SciPy's SLSQP on the dual of one task."""
    n = len(y)
    h = z @ z.T + smoothing * np.eye(n)
    labels = np.eye(ways)[y]

    def objective(a: np.ndarray) -> tuple[float, np.ndarray]:
        a = a.reshape(n, ways)
        return float(0.5 * np.sum(a * (h @ a)) - np.sum(labels * a)), (h @ a - labels).ravel()

    sums = np.kron(np.eye(n), np.ones(ways))
    out = minimize(
        objective, np.zeros(n * ways), jac=True, method="SLSQP", bounds=[(None, u) for u in (c * labels).ravel()],
        constraints={"type": "eq", "fun": lambda a: sums @ a, "jac": lambda a: sums},
        options={"ftol": 1e-16, "maxiter": 1000},
    )  # fmt: skip
    return np.asarray(out.x.reshape(n, ways))


@pytest.mark.parametrize(
    ("ways", "shots", "width", "noise", "c"),
    [(5, 1, 16, 1.0, 0.1), (3, 4, 8, 1.0, 0.1), (2, 5, 3, 2.0, 0.5), (5, 3, 6, 2.0, 0.02), (4, 2, 64, 0.3, 10.0)],
)
@pytest.mark.parametrize("duplicates", [False, True])
def test_svm_agrees_with_scipy(ways: int, shots: int, width: int, noise: float, c: float, duplicates: bool) -> None:
    z, y = episode(2, ways, shots, width, noise=noise, seed=ways)
    if duplicates:
        z[:, 1::2] = z[:, :1]  # the same example in several classes, and twice in one
    alpha = dual_optimum(z, y, ways, c)
    for task in range(2):
        reference = slsqp(z[task].numpy(), y[task].numpy(), ways, c)
        np.testing.assert_allclose(alpha[task].numpy(), reference, atol=1e-6)
        weight = crammer_singer(z, y, ways, c)[task].numpy()
        np.testing.assert_allclose(weight, reference.T @ z[task].numpy(), atol=1e-5)


def test_svm_of_two_examples_by_hand() -> None:
    """Orthonormal z, two ways: by symmetry α = a(1, −1) and −a(1, −1); minimise (1 + s)·2a² − 2a: a = 1/(2 + 2s)."""
    z, y = torch.eye(2, dtype=torch.float64).unsqueeze(0), torch.tensor([[0, 1]])
    for c, a in [(10.0, 0.25), (0.1, 0.1)]:
        expected = a * torch.tensor([[[1.0, -1.0], [-1.0, 1.0]]], dtype=torch.float64)
        torch.testing.assert_close(dual_optimum(z, y, 2, c), expected, atol=1e-14, rtol=0)


problems = st.fixed_dictionaries(
    {
        "ways": st.integers(2, 6),
        "shots": st.integers(1, 6),
        "width": st.integers(1, 40),
        "scale": st.floats(0.01, 10),
        "c": st.floats(1e-3, 10),
        "duplicates": st.booleans(),
        "seed": st.integers(0, 10**6),
    }
)


@settings(max_examples=60, deadline=None)
@given(problems)
def test_svm_meets_its_kkt_conditions(problem: dict[str, int | float | bool]) -> None:
    ways, shots, c = int(problem["ways"]), int(problem["shots"]), float(problem["c"])
    z, y = episode(1, ways, shots, int(problem["width"]), seed=int(problem["seed"]))
    z = z * problem["scale"]
    if problem["duplicates"]:
        z[:, 1::2] = z[:, :1]
    errors = kkt_errors(z, y, dual_optimum(z, y, ways, c), c)
    assert max(errors.values()) < 1e-8, errors


@pytest.mark.parametrize(
    ("ways", "shots", "width"), [(5, 1, 1600), (5, 15, 1600), (5, 15, 16000), (20, 5, 64), (20, 5, 1600)]
)
@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_svm_is_robust_in_float32(ways: int, shots: int, width: int, scale: float) -> None:
    z, y = episode(1, ways, shots, width)
    z = (scale * z).float().requires_grad_()
    alpha = dual_optimum(z, y, ways)
    (alpha.mT @ z).square().sum().backward()
    assert alpha.dtype == torch.float32 and z.grad is not None and z.grad.isfinite().all()
    errors = kkt_errors(z.detach().double(), y, alpha.detach().double(), 0.1)
    # α rounded to float32 moves a margin by about 1e-7 |α|·|z|²; near a cap, by that much too.
    assert max(errors.values()) < 1e-5 * max(1.0, scale**2), errors


def wrong_classes(v: Tensor, total: float) -> Tensor:
    """A planted bug: the budget of every example is laid on the class next to the right one."""
    return onto_simplex(v, total).roll(1, -1)


def clamped_and_scaled(v: Tensor, total: float) -> Tensor:
    """A planted bug: feasible, but not the nearest point."""
    v = v.clamp(min=1e-300)
    return v * (total / v.sum(-1, keepdim=True))


@pytest.mark.filterwarnings("ignore:16 rounds leave")
@pytest.mark.parametrize("bug", [wrong_classes, clamped_and_scaled])
def test_the_kkt_checker_reports_a_wrong_projection(bug: object, monkeypatch: pytest.MonkeyPatch) -> None:
    z, y = episode(1, 5, 3, 16)
    assert max(kkt_errors(z, y, dual_optimum(z, y, 5), 0.1).values()) < 1e-10
    monkeypatch.setattr(convex, "onto_simplex", bug)
    assert max(kkt_errors(z, y, dual_optimum(z, y, 5), 0.1).values()) > 1e-3


@pytest.mark.parametrize(
    ("ways", "shots", "width", "c"), [(5, 1, 7, 0.1), (3, 4, 5, 0.1), (3, 2, 4, 1.0), (2, 3, 9, 0.01)]
)
def test_svm_gradients(ways: int, shots: int, width: int, c: float) -> None:
    z, y = episode(2, ways, shots, width, noise=2.0, seed=3)
    fit = functools.partial(crammer_singer, y=y, ways=ways, c=c)
    assert torch.autograd.gradcheck(fit, (z.requires_grad_(),), eps=1e-6, atol=1e-7)


def test_gradcheck_reports_a_wrong_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted bug: the active set is forgotten, and with it that caps do not move. The solution stays right."""
    z, y = episode(1, 3, 2, 4, noise=2.0, seed=3)
    original = convex._Face.of.__func__  # type: ignore[attr-defined]
    everything_free = classmethod(lambda cls, h, free: original(cls, h, torch.ones_like(free)))
    fit = functools.partial(crammer_singer, y=y, ways=3)
    right = fit(z.requires_grad_())
    assert torch.autograd.gradcheck(fit, (z,), atol=1e-7)
    monkeypatch.setattr(convex._Face, "of", everything_free)
    torch.testing.assert_close(fit(z), right, atol=1e-9, rtol=0)
    assert not torch.autograd.gradcheck(fit, (z,), atol=1e-7, raise_exception=False)


def test_svm_gradient_where_complementarity_fails_is_finite() -> None:
    """All features zero: every margin is the same whatever W, so multipliers of caps vanish."""
    z = torch.zeros(1, 6, 4, dtype=torch.float64, requires_grad=True)
    crammer_singer(z, torch.tensor([[0, 1, 2, 0, 1, 2]]), 3).square().sum().backward()
    assert z.grad is not None and z.grad.isfinite().all()


def test_a_second_derivative_is_refused_not_wrong() -> None:
    z, y = episode(1, 3, 2, 4)
    (first,) = torch.autograd.grad(crammer_singer(z.requires_grad_(), y, 3).square().sum(), z, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_relabelling_the_ways_permutes_the_rows() -> None:
    z, y = episode(2, 4, 3, 10, noise=2.0)
    weight = crammer_singer(z, y, 4)
    for order in list(itertools.permutations(range(4)))[5::7]:
        relabelled = crammer_singer(z, torch.tensor(order)[y], 4)
        torch.testing.assert_close(relabelled[:, list(order)], weight, atol=1e-10, rtol=0)


def test_the_order_of_examples_does_not_matter() -> None:
    z, y = episode(2, 4, 3, 10, noise=2.0)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(crammer_singer(z[:, order], y[:, order], 4), crammer_singer(z, y, 4), atol=1e-10, rtol=0)


def test_batched_equals_one_by_one() -> None:
    """Tasks of very different difficulty, so that they do not converge in the same round."""
    z, y = episode(4, 5, 5, 12, noise=2.0)
    z = (z * torch.tensor([0.01, 1.0, 5.0, 30.0]).view(-1, 1, 1)).requires_grad_()
    weight = crammer_singer(z, y, 5)
    (grad,) = torch.autograd.grad(weight.square().sum(), z)
    for task in range(4):
        own = z[task : task + 1].detach().requires_grad_()
        alone = crammer_singer(own, y[task : task + 1], 5)
        torch.testing.assert_close(alone[0], weight[task], atol=1e-10, rtol=0)
        (own_grad,) = torch.autograd.grad(alone.square().sum(), own)
        torch.testing.assert_close(own_grad[0], grad[task], atol=1e-10, rtol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 30.0, 300.0])
def test_large_features_take_no_more_rounds(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """What rounding leaves of the KKT conditions grows with the features; more rounds cannot lower it."""
    torch.manual_seed(0)
    turns = []
    once = convex._admm
    monkeypatch.setattr(convex, "_admm", lambda dual, beta, turn: turns.append(turn) or once(dual, beta, turn))
    y = (torch.arange(75) % 5).expand(2, 75)
    dual_optimum(scale * torch.randn(2, 75, 1600).relu(), y, 5)
    assert turns == [0]


def test_a_solution_short_of_the_optimum_is_said() -> None:
    torch.manual_seed(0)
    y = torch.randint(5, (8, 40))  # labels at random, in two dimensions: not separable
    with pytest.warns(UserWarning, match=r"1 rounds leave an SVM head at \S+ times its tolerance"):
        dual_optimum(3 * torch.randn(8, 40, 2), y, 5, 1.0, iterations=1)


def test_fixed_rounds_can_be_traced_with_their_gradient() -> None:
    def loss_gradient(features: Tensor) -> Tensor:
        weight = crammer_singer(features, y, 5, iterations=2, tolerance=0.0)
        return torch.autograd.grad(weight.square().sum(), features)[0]

    z, y = episode(2, 5, 1, 12)
    traced = make_fx(loss_gradient)(z.requires_grad_())
    other = episode(2, 5, 1, 12, seed=9)[0].requires_grad_()
    torch.testing.assert_close(traced(other), loss_gradient(other), atol=1e-12, rtol=0)


@pytest.mark.parametrize("wrong", [{"c": 0.0}, {"smoothing": 0.0}, {"iterations": 0}])
def test_arguments_that_cannot_work_are_refused(wrong: dict[str, float]) -> None:
    z, y = episode(1, 2, 1, 3)
    with pytest.raises(ValueError, match="must be positive"):
        crammer_singer(z, y, 2, **wrong)  # type: ignore[arg-type]
