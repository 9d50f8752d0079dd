"""The trust-region step: its parts by hand and by differences, what it refuses, and that it is one step however run."""

from __future__ import annotations

import copy
import math
import threading

import pytest
import torch
from torch import Tensor

from metabench.algorithms import (
    Batch,
    Categorical,
    Diverged,
    Learner,
    Network,
    ProtoNet,
    TrustRegionOuter,
    Workers,
    adapt,
)
from metabench.algorithms.outer.surrogate import MetaBatch, Piece, flatten, surrogate
from metabench.algorithms.outer.trust_region import conjugate_gradient
from tests.support.checks import EXACT, assert_close
from tests.support.control import (
    assert_padding_does_not_matter,
    assert_same_step,
    assert_steps_stay_inside,
    assert_worse_is_refused,
    product_of,
    stepped,
)
from tests.support.policies import POLICIES, meta_batch, policy


def theta(rule: Learner) -> Tensor:
    return flatten(rule.parameters()).detach()


def outer(**options: object) -> TrustRegionOuter:
    return TrustRegionOuter(workers=Workers(1), **options)  # type: ignore[arg-type]


def test_the_surrogate_by_hand() -> None:
    """One action, σ = 1: at y = μ + 1 and old = log p + ln ½ the ratio is 2; ratios 2, 1, ½ and weights 3, −1, 4."""
    rule = policy("maml")
    normaliser = -0.5 * math.log(2 * math.pi)
    outputs = torch.zeros(1, 4, 4, dtype=torch.float64)
    log_p = torch.full((1, 4), 2 * normaliser, dtype=torch.float64)
    ratios = torch.tensor([[2.0, 1.0, 0.5, 1e300]], dtype=torch.float64)
    w = torch.tensor([[3.0, -1.0, 4.0, 1e300]], dtype=torch.float64)
    query = Batch(outputs[..., :2], outputs[..., :2], w, old=log_p - ratios.log())
    query = query._replace(valid=torch.tensor([[1.0, 1.0, 1.0, 0.0]], dtype=torch.float64))
    assert surrogate(rule, outputs, query).item() == pytest.approx((6 - 1 + 2) / 3)
    assert surrogate(rule, outputs, query, clip=0.3).item() == pytest.approx((3.9 - 1 + 2) / 3)
    worse = query._replace(w=-w)  # where the advantage is negative, only a ratio below 1 − ε gains nothing
    assert surrogate(rule, outputs, worse, clip=0.3).item() == pytest.approx((-6 + 1 - 2.8) / 3)


def test_a_weight_of_nothing_and_a_task_without_examples() -> None:
    rule = policy("maml")
    supports, query = meta_batch(rule)
    query = query._replace(valid=torch.zeros_like(query.w))
    assert torch.equal(surrogate(rule, rule.predict(adapt(rule, supports), query.x), query), torch.zeros(3).double())


def test_conjugate_gradient_is_a_dense_solve() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    matrix, g = root @ root.T + torch.eye(6), torch.randn(6, generator=generator, dtype=torch.float64)
    x, curvature = conjugate_gradient(lambda v: matrix @ v, g, 20)
    torch.testing.assert_close(x, torch.linalg.solve(matrix, g), atol=1e-9, rtol=0)
    assert curvature == pytest.approx(float(x @ matrix @ x), abs=1e-9)
    short, curvature = conjugate_gradient(lambda v: matrix @ v, g, 2)
    assert curvature == pytest.approx(float(short @ matrix @ short), rel=1e-9)
    zero, curvature = conjugate_gradient(lambda v: matrix @ v, 0 * g, 5)
    assert (float(zero.abs().max()), curvature) == (0.0, 0.0)


@pytest.mark.parametrize("kind", POLICIES)
def test_a_fisher_product_is_the_change_of_the_kls_gradient(kind: str) -> None:
    """(∇KL(θ + hv) − ∇KL(θ − hv)) / 2h, the KL's first argument fixed at θ."""
    rule = policy(kind)
    supports, query = meta_batch(rule, updates=2)
    law, start = rule.network.likelihood, theta(rule)
    with torch.no_grad():
        old = rule.predict(adapt(rule, supports), query.x)

    def slope(at: Tensor) -> Tensor:
        torch.nn.utils.vector_to_parameters(at, rule.parameters())
        kl = query.mean(law.kl(old, rule.predict(adapt(rule, supports), query.x))).sum()  # type: ignore[operator]
        return flatten(torch.autograd.grad(kl, list(rule.parameters()), materialize_grads=True))

    v = torch.randn(start.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    expected = (slope(start + 1e-5 * v) - slope(start - 1e-5 * v)) / 2e-5
    torch.nn.utils.vector_to_parameters(start, rule.parameters())
    assert_close([product_of(rule, Piece(supports, query))(v)], [expected], 1e-7, "Fv")


def test_the_curvature_of_a_part_is_that_of_every_nth_example() -> None:
    rule = policy("maml")
    supports, query = meta_batch(rule)
    thin = MetaBatch(supports, query, chunk=3, workers=Workers(1), all_reduce=None).every(2)
    assert torch.equal(thin.query.x, query.x[:, ::2]) and torch.equal(thin.query.valid, query.valid[:, ::2])  # type: ignore[index, arg-type]
    v = torch.ones_like(theta(rule))
    by_hand = product_of(rule, Piece([supports[0].every(2)], query.every(2)))(v)
    torch.testing.assert_close(thin.map(lambda piece: product_of(rule, piece)(v))[0], by_hand, atol=0, rtol=0)


@pytest.mark.parametrize("curvature", [1.0, 0.5, 0.2])
def test_every_share_of_the_examples_makes_a_step_inside_the_region(curvature: float) -> None:
    rule = policy("maml")
    supports, query = meta_batch(rule, examples=40)
    metrics = outer(curvature=curvature).step(rule, supports, query)
    assert 0.002 < metrics["kl"] <= 0.01 and metrics["surrogate"] > 0


@pytest.mark.parametrize("kind", POLICIES)
def test_loop_batch_and_threads_take_one_step(kind: str) -> None:
    assert_same_step(kind)


@pytest.mark.parametrize("kind", POLICIES)
def test_what_follows_the_end_of_a_rollout_does_not_matter(kind: str) -> None:
    assert_padding_does_not_matter(kind)


def test_a_step_never_leaves_the_region() -> None:
    assert_steps_stay_inside()


def test_a_step_that_does_not_improve_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_worse_is_refused(monkeypatch)


def test_without_supports_it_is_plain_trpo() -> None:
    rule = policy("maml")
    _, query = meta_batch(rule, updates=0)
    metrics = outer().step(rule, [], query)
    assert 0 < metrics["kl"] <= 0.01


def test_processes_take_the_step_of_one() -> None:
    """Two processes with one and two tasks: the same θ bit for bit, and that of a process with all three."""
    whole = policy("maml")
    supports, query = meta_batch(whole)
    shards = [slice(0, 1), slice(1, 3)]
    rules = [copy.deepcopy(whole) for _ in shards]
    barrier, sums = threading.Barrier(2), [torch.empty(0), torch.empty(0)]

    def process(rank: int) -> None:
        def all_reduce(t: Tensor) -> None:
            sums[rank] = t.clone()
            barrier.wait()
            t.copy_(sums[0] + sums[1])
            barrier.wait()

        part = [s.at(shards[rank]) for s in supports]
        step = outer(damping=0.1, all_reduce=all_reduce)
        metrics.append(step.step(rules[rank], part, query.at(shards[rank])))

    metrics: list[dict[str, float]] = []
    threads = [threading.Thread(target=process, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics[0] == metrics[1]
    assert torch.equal(theta(rules[0]), theta(rules[1]))
    alone = outer(damping=0.1).step(whole, supports, query)
    assert metrics[0] == pytest.approx(alone, abs=EXACT)
    torch.testing.assert_close(theta(rules[0]), theta(whole), atol=EXACT, rtol=0)


@pytest.mark.parametrize("poison", ["w", "x", "old"])
def test_divergence_leaves_the_learner_as_it_was(poison: str) -> None:
    rule = policy("maml")
    supports, query = meta_batch(rule)
    getattr(query, poison)[0, 0] = math.nan
    before, step = theta(rule).clone(), outer()
    with pytest.raises(Diverged, match="the surrogate is nan, or its gradient is not finite, at outer step 0"):
        step.step(rule, supports, query)
    assert torch.equal(theta(rule), before) and step.steps == 0


def test_where_nothing_can_be_gained_nothing_moves() -> None:
    rule = policy("anil")
    supports, query = meta_batch(rule)
    before = theta(rule).clone()
    metrics = outer().step(rule, supports, query._replace(w=torch.zeros_like(query.w)))
    assert metrics == {"surrogate": 0.0, "kl": 0.0, "tries": 15.0}
    assert torch.equal(theta(rule), before)


def test_what_it_refuses() -> None:
    rule = policy("maml")
    supports, query = meta_batch(rule)
    with pytest.raises(ValueError, match=r"curvature is 0; it is a share of the examples, above 0 and at most 1"):
        outer(curvature=0)
    with pytest.raises(ValueError, match="the query does not hold the log-probabilities of its actions"):
        outer().step(rule, supports, query._replace(old=None))
    classifier = ProtoNet(Network(rule.network.body, 2, Categorical()))
    with pytest.raises(ValueError, match="needs a Gaussian policy, not Categorical"):
        outer().step(classifier, supports, query)


def test_nothing_is_left_on_the_parameters_and_the_step_is_counted() -> None:
    rule = policy("meta-sgd")
    step, resumed = outer(), outer()
    step.step(rule, *meta_batch(rule))
    assert all(p.grad is None for p in rule.parameters())
    resumed.load_state_dict(step.state_dict())
    assert (step.steps, resumed.steps) == (1, 1)


def test_first_order_is_another_step() -> None:
    exact, first = policy("maml"), policy("maml", first_order=True)
    supports, query = meta_batch(exact)
    moved = [stepped(rule, supports, query) for rule in (exact, first)]
    assert float((moved[0] - moved[1]).abs().max()) > 1e-4
