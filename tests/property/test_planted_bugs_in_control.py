"""Each check of the outer steps of control can fail: it passes on the program as it is, not once a bug is planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from metabench.algorithms import Batch, Gaussian, Learner
from metabench.algorithms.ops.convex import ridge
from metabench.algorithms.ops.perceptron_curvature import Pass, UpdatePass
from metabench.algorithms.outer import jacobian, trust_region
from metabench.algorithms.outer.jacobian import Jacobian, TracedJacobian
from metabench.algorithms.outer.surrogate import Piece, surrogate
from tests.support.control import assert_padding_does_not_matter, assert_steps_stay_inside, assert_worse_is_refused
from tests.support.policies import meta_batch, policy
from tests.support.proximal import assert_epochs_are_the_references
from tests.support.trpo import assert_step_is_the_references

Plant = Callable[[pytest.MonkeyPatch], None]


def trpo(kind: str = "maml") -> None:
    rule = policy(kind)
    assert_step_is_the_references(rule, *meta_batch(rule, tasks=2))


def trpo_of_learned_rates() -> None:
    trpo("meta-sgd")


def a_floor() -> None:
    rule = policy("maml")
    rule.network.likelihood.log_std.data[0] = -20.0
    rule.network.likelihood.least = -2.0
    assert_step_is_the_references(rule, *meta_batch(rule))


def padding() -> None:
    assert_padding_does_not_matter("maml")


def padding_of_the_convex_head() -> None:
    assert_padding_does_not_matter("metaoptnet")


def padding_of_prototypes() -> None:
    assert_padding_does_not_matter("protonet")


def epochs() -> None:
    assert_epochs_are_the_references("maml")


def worse() -> None:
    with pytest.MonkeyPatch.context() as patch:
        assert_worse_is_refused(patch)


def downhill(patch: pytest.MonkeyPatch) -> None:
    """The gradient's sign, its value's not."""
    right = trust_region._ascent

    def flipped(rule: Learner, query: Batch, of: Jacobian) -> Tensor:
        flat = right(rule, query, of)
        return torch.cat([-flat[:-2], flat[-2:]])

    patch.setattr(trust_region, "_ascent", flipped)


def no_metric(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Gaussian, "fisher", lambda self, outputs: torch.ones_like(outputs))


def metric_of_the_mean_alone(patch: pytest.MonkeyPatch) -> None:
    right = Gaussian.fisher
    half = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    patch.setattr(Gaussian, "fisher", lambda self, outputs: right(self, outputs) * half)


def curvature_without_adaptation(patch: pytest.MonkeyPatch) -> None:
    """F of the policy as if what adaptation adds to θ were a constant."""
    product, fold = trust_region.fisher_product, jacobian.adapt

    def constant(rule: Learner, supports: list[Batch]) -> dict[str, Tensor]:
        prior, fast = rule.begin(), fold(rule, supports)
        return {name: prior[name] + (t - prior[name]).detach() for name, t in fast.items()}

    def around(rule: Learner, piece: Piece, of: Jacobian) -> trust_region.Product:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(jacobian, "adapt", constant)
            return product(rule, piece, TracedJacobian(rule, piece))

    patch.setattr(trust_region, "fisher_product", around)


def altered_hessian(change: Callable[[Tensor], Tensor], parts: slice = slice(None)) -> Plant:
    """The written-out products with the inner loss's Hessian, changed: in every layer and the log-stds, or in parts."""
    right = UpdatePass.hessian

    def wrong(self: UpdatePass, along: list[Tensor]) -> list[Tensor]:
        found = right(self, along)
        found[parts] = [change(t) for t in found[parts]]
        return found

    return lambda patch: patch.setattr(UpdatePass, "hessian", wrong)


def straight_tanh(patch: pytest.MonkeyPatch) -> None:
    """As if tanh had no second derivative."""
    altered(patch, UpdatePass, lambda of: of.bends.clear())


def no_floor(patch: pytest.MonkeyPatch) -> None:
    altered(patch, Pass, lambda of: setattr(of, "gate", torch.ones_like(of.gate)))


def idle_rates(patch: pytest.MonkeyPatch) -> None:
    """As if the outputs did not depend on the learned rates."""
    altered(patch, UpdatePass, lambda of: setattr(of, "gradient", [0 * g for g in of.gradient]))


def altered(patch: pytest.MonkeyPatch, kind: type, change: Callable[[Any], object]) -> None:
    """What is kept for products, changed once it is made."""
    right = kind.__init__  # type: ignore[misc]

    def made(self: object, *args: object) -> None:
        right(self, *args)
        change(self)

    patch.setattr(kind, "__init__", made)


def all_count_in_means(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Batch, "mean", lambda self, values: values.mean(1))


def all_count_in_the_curvature(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(trust_region, "_shares", lambda query: torch.ones_like(query.w) / query.w.shape[1])


def all_count_in_the_convex_head(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("metabench.algorithms.learners.metaoptnet.ridge", lambda z, t, penalty, weights: ridge(z, t, penalty))


def no_check_of_the_kl(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Gaussian, "kl", lambda self, old, new: torch.zeros_like(old[..., 0]))


def no_check_of_the_gain(patch: pytest.MonkeyPatch) -> None:
    """Every try seems to gain."""

    def cheerful(*args: object, **options: object) -> Tensor:
        return surrogate(*args, **options) + (0.0 if torch.is_grad_enabled() else 10.0)  # type: ignore[arg-type]

    patch.setattr(trust_region, "surrogate", cheerful)


def no_clip(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        "metabench.algorithms.outer.proximal.surrogate",
        lambda rule, outputs, query, clip=None: surrogate(rule, outputs, query),
    )


def no_penalty(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        "metabench.algorithms.outer.proximal._inner_kl", lambda rule, piece, old, new: torch.zeros(()).double()
    )


def reverse_kl(patch: pytest.MonkeyPatch) -> None:
    right = Gaussian.kl
    patch.setattr(Gaussian, "kl", lambda self, old, new: right(self, new, old))


CASES: list[tuple[str, Plant, Callable[[], None]]] = [
    ("downhill / reference", downhill, trpo),
    ("no metric / reference", no_metric, trpo),
    ("log-stds without curvature / reference", metric_of_the_mean_alone, trpo),
    ("curvature without adaptation / reference", curvature_without_adaptation, trpo),
    ("sign of the inner Hessian / reference", altered_hessian(torch.neg), trpo),
    ("no inner Hessian / reference", altered_hessian(torch.zeros_like), trpo),
    ("no inner Hessian / reference, Meta-SGD", altered_hessian(torch.zeros_like), trpo_of_learned_rates),
    ("log-stds without inner Hessian / reference", altered_hessian(torch.zeros_like, slice(-1, None)), trpo),
    ("straight tanh / reference", straight_tanh, trpo),
    ("idle rates / reference, Meta-SGD", idle_rates, trpo_of_learned_rates),
    ("no floor / reference", no_floor, a_floor),
    ("all examples count in means / reference", all_count_in_means, trpo),
    ("all examples count in means / padding", all_count_in_means, padding),
    ("all examples count in means / padding, ProtoNet", all_count_in_means, padding_of_prototypes),
    ("all examples count in the curvature / reference", all_count_in_the_curvature, trpo),
    ("all examples count in the head / padding", all_count_in_the_convex_head, padding_of_the_convex_head),
    ("no check of the KL / inside the region", no_check_of_the_kl, assert_steps_stay_inside),
    ("no check of the gain / worse is refused", no_check_of_the_gain, worse),
    ("KL of new to old / reference", reverse_kl, trpo),
    ("no clip / ProMP reference", no_clip, epochs),
    ("no penalty / ProMP reference", no_penalty, epochs),
    ("KL of new to old / ProMP reference", reverse_kl, epochs),
]


@pytest.mark.parametrize(("plant", "check"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_planted_bug_is_found(plant: Plant, check: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    check()
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check()
