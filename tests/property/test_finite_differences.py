"""The meta-gradient is the derivative of what is measured: central differences of every parameter tensor."""

from __future__ import annotations

import pytest

from tests.support.checks import assert_finite_differences
from tests.support.small import LEARNERS, images, learner


@pytest.mark.parametrize("kind", LEARNERS)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_meta_gradient_is_the_derivative_of_the_query_loss(kind: str, steps: int) -> None:
    """Meta-SGD's parameters include its rates, MetaOptNet's its scale."""
    assert_finite_differences(learner(kind), [images(2, 2)] * steps, images(2, 3, seed=1))


@pytest.mark.parametrize("kind", ["maml", "anil"])
def test_also_with_a_fresh_support_for_every_update(kind: str) -> None:
    supports = [images(2, 2, seed=s) for s in (0, 5)]
    assert_finite_differences(learner(kind), supports, images(2, 3, seed=1))


def test_and_through_convolutions_pools_and_batch_norm() -> None:
    assert_finite_differences(learner("maml", "conv4"), [images(1, 2, "conv4")], images(1, 2, "conv4", seed=1))
