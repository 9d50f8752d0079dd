"""What the tests of the outer steps of control assert, as functions: the planted bugs must make them fail."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from metabench.algorithms import Batch, Learner, TrustRegionOuter, Workers, adapt
from metabench.algorithms.outer.jacobian import jacobian_of
from metabench.algorithms.outer.surrogate import Piece, flatten
from metabench.algorithms.outer.trust_region import fisher_product
from tests.support.checks import EXACT, assert_close
from tests.support.policies import meta_batch, policy


def stepped(rule: Learner, supports: list[Batch], query: Batch, *, chunk: int = 0, threads: int = 1) -> Tensor:
    """θ after a step of a copy of the learner; few products and much damping, since each product grows rounding."""
    rule = copy.deepcopy(rule)
    TrustRegionOuter(workers=Workers(threads), damping=0.5, iterations=5, chunk=chunk).step(rule, supports, query)
    return flatten(rule.parameters()).detach()


def assert_same_step(kind: str) -> None:
    """A loop over tasks, all at once, uneven chunks and threads: one step."""
    rule = policy(kind)
    supports, query = meta_batch(rule, tasks=5, updates=2)
    loop = stepped(rule, supports, query, chunk=1)
    for chunk, threads in ((5, 1), (2, 1), (1, 2), (2, 2), (0, 3)):
        got = stepped(rule, supports, query, chunk=chunk, threads=threads)
        assert_close([got], [loop], EXACT, f"{kind}, chunks of {chunk} on {threads} threads")


def product_of(rule: Learner, piece: Piece) -> Callable[[Tensor], Tensor]:
    """v -> Fv of a piece's tasks, as a step makes it."""
    return fisher_product(rule, piece, jacobian_of(rule, piece))


def padded(batch: Batch, rows: int) -> Batch:
    """The same examples, and after them rows of huge numbers that do not count."""
    assert batch.valid is not None

    def more(t: Tensor, value: float) -> Tensor:
        return torch.cat([t, torch.full_like(t[:, :rows], value)], 1)

    old = None if batch.old is None else more(batch.old, -1e9)
    return Batch(more(batch.x, 1e9), more(batch.y, -1e9), more(batch.w, 1e9), valid=more(batch.valid, 0.0), old=old)


def assert_padding_does_not_matter(kind: str) -> None:
    """Neither what an invalid example holds nor how many there are changes a step, with scores or ratios inside."""
    rule = policy(kind)
    for ratio in (False, True):
        supports, query = meta_batch(rule, updates=2, ratio=ratio)
        plain = stepped(rule, supports, query)
        got = stepped(rule, [padded(s, 5) for s in supports], padded(query, 4))
        assert_close([got], [plain], EXACT, f"{kind}, padded")


def assert_steps_stay_inside() -> None:
    """The KL, measured anew after each of some steps that are long for their curvature, is within δ."""
    for seed in range(6):
        rule = policy("maml", seed=seed)
        supports, query = meta_batch(rule, updates=2, seed=seed)
        with torch.no_grad():
            old = rule.predict(adapt(rule, supports), query.x)
            TrustRegionOuter(workers=Workers(1), radius=0.5).step(rule, supports, query)
            new = rule.predict(adapt(rule, supports), query.x)
            law = rule.network.likelihood
            assert query.valid is not None
            (m0, s0), (m1, s1) = ((o.chunk(2, -1)[0], o.chunk(2, -1)[1].exp()) for o in (old, new))
            normal = torch.distributions.Normal
            each = torch.distributions.kl_divergence(normal(m0, s0), normal(m1, s1)).sum(-1)
            kl = ((each * query.valid).sum(1) / query.valid.sum(1)).mean().item()
        assert law is not None and 0 < kl <= 0.5, f"seed {seed}: the mean KL is {kl:.3f}, beyond 0.5"


def assert_worse_is_refused(patch: pytest.MonkeyPatch) -> None:
    """Sent the wrong way, the line search finds no step, and θ is as it was to the bit."""
    from metabench.algorithms.outer import trust_region

    with patch.context() as here:
        right = trust_region.conjugate_gradient

        def wrong(*args: object) -> tuple[Tensor, float]:
            x, curvature = right(*args)  # type: ignore[arg-type]
            return -x, curvature

        here.setattr(trust_region, "conjugate_gradient", wrong)
        rule = policy("maml")
        before = flatten(rule.parameters()).detach().clone()
        supports, query = meta_batch(rule)
        assert torch.equal(stepped(rule, supports, query), before), "a step that loses was taken"
