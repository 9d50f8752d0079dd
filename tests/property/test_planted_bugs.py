"""Each exactness check can fail: it passes on the program as it is, and not once a bug is planted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from metabench.algorithms import ANIL, MAML, Baseline, Batch, FromModule, Learner
from metabench.algorithms.learners.protonet import ProtoNet, class_means
from metabench.algorithms.meta_gradient import MetaGradient
from metabench.algorithms.network import BatchNorm, Network, Params
from metabench.algorithms.ops.convex import crammer_singer
from metabench.algorithms.ops.fit import SGD, CosineHead, Linear
from metabench.bench.speed import peers
from tests.support.checks import (
    assert_batch_norm_is_torchs,
    assert_finite_differences,
    assert_gradient_descent,
    assert_logits_are_distances,
    assert_matches_peer,
    assert_no_side_effect,
    assert_only_the_head_changes,
    assert_same_meta_gradient,
    assert_statistics_are_torchs,
)
from tests.support.classifiers import assert_fit_is_torchs, assert_fits_are_each_task_s_own, classifier
from tests.support.modules import assert_a_module_learns_as_the_body
from tests.support.plants import Plant, altered_step
from tests.support.reference import plain
from tests.support.small import images, learner

Check = Callable[[], None]


# What is checked ----------------------------------------------------------------------------------------------


def descent() -> None:
    rule = learner("maml")
    assert isinstance(rule, MAML)
    assert_gradient_descent(rule, images(2, 2), *plain(rule.network), rule.settings.inner_lr, 2)


def learn2learn() -> None:
    rule = learner("maml", "conv4")
    assert isinstance(rule, MAML)
    assert_matches_peer(peers.maml(rule, 2), rule, images(2, 2, "conv4"), images(2, 2, "conv4", seed=1), 2)


def differences(kind: str) -> Check:
    return lambda: assert_finite_differences(learner(kind), [images(2, 2)] * 2, images(2, 2, seed=1))


def same(kind: str) -> Check:
    return lambda: assert_same_meta_gradient(learner(kind), [images(3, 2)] * 2, images(3, 2, seed=1))


def distances() -> None:
    assert_logits_are_distances(learner("protonet"), images(2, 3), images(2, 2, seed=1))


def only_the_head() -> None:
    assert_only_the_head_changes(learner("anil"), [images(2, 2)])


def fitted(kind: str) -> Check:
    return lambda: assert_fit_is_torchs(classifier(kind), images(2, 3))


def fitted_alone() -> None:
    assert_fits_are_each_task_s_own(classifier("baseline"), images(3, 2))


def no_side_effect() -> None:
    assert_no_side_effect(learner("maml"), images(2, 2))


def batch_norm() -> None:
    x = 2 + torch.randn(2, 5, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert_batch_norm_is_torchs(BatchNorm("norm.", 3).double(), x)


def statistics() -> None:
    rule = learner("protonet", "resnet12")
    model, _ = plain(rule.network)
    assert_statistics_are_torchs(rule, model, images(1, 2, "resnet12"), images(1, 2, "resnet12", seed=1))


def plain_module(kind: str) -> Check:
    batches = images(2, 2, "conv4"), images(2, 2, "conv4", seed=1)
    return lambda: assert_a_module_learns_as_the_body(learner(kind, "conv4"), *batches, 1)


# What is broken -----------------------------------------------------------------------------------------------


SIGN_FLIPPED = altered_step(torch.neg)
FIRST_ORDER = altered_step(torch.detach)
SUMMED_OVER_TASKS = altered_step(lambda g: g.sum(0, keepdim=True).expand_as(g))
TASKS_ROLLED = altered_step(lambda g: g.roll(1, 0))


def sum_for_mean(patch: pytest.MonkeyPatch) -> None:
    def sums(support: Batch) -> Tensor:
        count = torch.stack([(support.y == k).sum(1) for k in range(support.ways)], 1)
        return class_means(support) * count.unsqueeze(-1)

    patch.setattr("metabench.algorithms.learners.protonet.class_means", sums)


def no_bias(patch: pytest.MonkeyPatch) -> None:
    def rule(self: ProtoNet, fast: Params, support: Batch) -> Params:
        centre = class_means(support)
        return fast | {"head.weight": 2 * centre, "head.bias": torch.zeros_like(centre[..., 0])}

    patch.setattr(ProtoNet, "rule", rule)


def detached_prototypes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("metabench.algorithms.learners.protonet.class_means", lambda support: class_means(support).detach())


def detached_features(patch: pytest.MonkeyPatch) -> None:
    features = Network.features
    patch.setattr(Network, "features", lambda self, fast, x: features(self, fast, x).detach())


def another_epsilon(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(BatchNorm, "eps", 1e-3)


def biased_variance(patch: pytest.MonkeyPatch) -> None:
    moments = BatchNorm._moments
    patch.setattr(BatchNorm, "_moments", lambda self, mean, scale, _, tasks: moments(self, mean, scale, 10**9, tasks))


def statistics_over_tasks(patch: pytest.MonkeyPatch) -> None:
    """One mean and variance for the whole meta-batch."""
    forward = BatchNorm.forward

    def pooled(self: BatchNorm, fast: Params, x: Tensor) -> Tensor:
        mine = {name: p[:1] for name, p in fast.items()}
        return forward(self, mine, x.flatten(0, 1).unsqueeze(0)).unflatten(1, x.shape[:2])[0]

    patch.setattr(BatchNorm, "forward", pooled)


def statistics_of_the_next_layer(patch: pytest.MonkeyPatch) -> None:
    core = sys.modules[MetaGradient.__module__]  # `algorithms.meta_gradient` is the function
    unflatten = core._unflatten

    def shifted(rule: Learner, flat: list[Tensor]) -> MetaGradient:
        got: MetaGradient = unflatten(rule, flat)
        first, *rest = got.statistics.values()
        return got._replace(statistics=dict(zip(got.statistics, [*rest, first], strict=True)))

    patch.setattr(core, "_unflatten", shifted)


def anil_adapts_the_body(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ANIL, "reads", "inputs")
    patch.setattr(ANIL, "adapted", MAML.adapted)


def update_in_place(patch: pytest.MonkeyPatch) -> None:
    rule = MAML.rule

    def leaky(self: MAML, fast: Params, support: Batch) -> Params:
        fast.update(rule(self, fast, support))
        return fast

    patch.setattr(MAML, "rule", leaky)


def constant_svm(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        "metabench.algorithms.learners.metaoptnet.crammer_singer", lambda *a, **k: crammer_singer(*a, **k).detach()
    )


def first_step_damped(patch: pytest.MonkeyPatch) -> None:
    """The velocity begins at zero, which damps the first gradient too."""
    step = SGD.step
    patch.setattr(
        SGD,
        "step",
        lambda self, p, grads, u: step(self, p, grads, [torch.zeros_like(t) for t in p] if u is None else u),
    )


def length_of_the_weight_ignored(patch: pytest.MonkeyPatch) -> None:
    """The direction's gradient as if the weight were of length one."""
    pull = CosineHead.pull

    def wrong(self: CosineHead, parameters: Sequence[Tensor], grad: Linear) -> list[Tensor]:
        along, across = pull(self, parameters, grad)
        return [along, across * parameters[1].norm(dim=-1, keepdim=True)]

    patch.setattr(CosineHead, "pull", wrong)


def draws_of_the_first_task(patch: pytest.MonkeyPatch) -> None:
    core = sys.modules[Baseline.__module__]
    uniform = core._uniform
    patch.setattr(core, "_uniform", lambda count, like: uniform(count, like)[:1].expand(len(like), -1))


def module_of_all_tasks(patch: pytest.MonkeyPatch) -> None:
    """A plain module that sees all tasks as one batch, so that statistics leak from one to the others."""
    forward = FromModule.forward

    def pooled(self: FromModule, fast: Params, x: Tensor) -> Tensor:
        mine = {name: p[:1] for name, p in fast.items()}
        return forward(self, mine, x.flatten(0, 1).unsqueeze(0)).unflatten(1, x.shape[:2])[0]

    patch.setattr(FromModule, "forward", pooled)


def module_keeps_a_weight(patch: pytest.MonkeyPatch) -> None:
    """A plain module that reads one of its weights past the adaptation."""
    of_task = FromModule._of_task

    def kept(self: FromModule, own: Params, x: Tensor) -> Tensor:
        return of_task(self, own | {"module.0.weight": self.module.get_parameter("0.weight").unsqueeze(0)}, x)

    patch.setattr(FromModule, "_of_task", kept)


CASES: list[tuple[str, Plant, Check]] = [
    ("inner step uphill / torch SGD", SIGN_FLIPPED, descent),
    ("inner step uphill / learn2learn", SIGN_FLIPPED, learn2learn),
    ("first order for exact / learn2learn", FIRST_ORDER, learn2learn),
    ("first order for exact / differences of MAML", FIRST_ORDER, differences("maml")),
    ("first order for exact / differences of ANIL", FIRST_ORDER, differences("anil")),
    ("first order for exact / differences of Meta-SGD", FIRST_ORDER, differences("meta-sgd")),
    ("gradients summed over tasks / loop", SUMMED_OVER_TASKS, same("maml")),
    ("gradients summed over tasks / loop, Meta-SGD", SUMMED_OVER_TASKS, same("meta-sgd")),
    ("gradients of the next task / torch SGD", TASKS_ROLLED, descent),
    ("gradients of the next task / loop", TASKS_ROLLED, same("anil")),
    ("sum for mean / distances", sum_for_mean, distances),
    ("no bias / distances", no_bias, distances),
    ("prototypes are constants / differences", detached_prototypes, differences("protonet")),
    ("features are constants / differences", detached_features, differences("metaoptnet-svm")),
    ("SVM is a constant / differences", constant_svm, differences("metaoptnet-svm")),
    ("another epsilon / torch", another_epsilon, batch_norm),
    ("another epsilon / learn2learn", another_epsilon, learn2learn),
    ("biased variance / torch", biased_variance, batch_norm),
    ("biased variance / running statistics", biased_variance, statistics),
    ("statistics over all tasks / loop", statistics_over_tasks, same("protonet")),
    ("statistics of another layer / torch", statistics_of_the_next_layer, statistics),
    ("ANIL adapts the body / head only", anil_adapts_the_body, only_the_head),
    ("plain module sees all tasks / the body built in", module_of_all_tasks, plain_module("protonet")),
    ("plain module keeps a weight / the body built in", module_keeps_a_weight, plain_module("maml")),
    ("first step of a fit damped / torch SGD", first_step_damped, fitted("baseline")),
    ("a weight's length ignored / torch SGD", length_of_the_weight_ignored, fitted("baseline-pp")),
    ("another task's draws / loop", draws_of_the_first_task, fitted_alone),
    ("φ updated in place / side effects", update_in_place, no_side_effect),
]


@pytest.mark.parametrize(("plant", "check"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_a_planted_bug_is_found(plant: Plant, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    if check is learn2learn:
        try:
            peers.learn2learn()
        except peers.PeerMissing as missing:
            pytest.skip(str(missing))
    check()
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check()
