"""What every rule must respect, whatever the numbers: symmetries, the prior, and nothing touched in passing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from metabench.algorithms import adapt
from metabench.algorithms.network import Params
from tests.support.checks import (
    EXACT,
    assert_close,
    assert_no_side_effect,
    assert_only_the_head_changes,
    assert_statistics_are_torchs,
)
from tests.support.reference import plain
from tests.support.small import BODIES, HEAD_RULES, LEARNERS, WAYS, images, learner

ORDER = torch.tensor([2, 0, 1])
"""New label of each old one."""


@pytest.mark.parametrize("kind", LEARNERS)
def test_relabelling_the_ways_permutes_the_outputs(kind: str) -> None:
    """For a rule that starts from the meta-head, that head's rows (and rates) are permuted along."""
    support, query = images(2, 3), images(2, 2, seed=1)
    logits = learner(kind).predict(adapt(learner(kind), [support] * 2), query.x)
    other = learner(kind)
    old = torch.argsort(ORDER)
    rows = [(other.network.head.weight), (other.network.head.bias)]
    if kind == "meta-sgd":
        rates = dict(zip([n for n, _ in other.network.named_parameters()], other.rates, strict=True))  # type: ignore[arg-type]
        rows += [rates["head.weight"], rates["head.bias"]]
    for row in rows:
        row.data = row.data[old]
    relabelled = other.predict(adapt(other, [support._replace(y=ORDER[support.y])] * 2), query.x)
    torch.testing.assert_close(relabelled[..., ORDER], logits, atol=EXACT, rtol=0)
    assert not torch.allclose(relabelled, logits)


@pytest.mark.parametrize("kind", LEARNERS)
def test_the_order_of_the_support_does_not_matter(kind: str) -> None:
    rule, support, query = learner(kind), images(2, 3), images(2, 2, seed=1)
    shuffle = torch.randperm(3 * WAYS, generator=torch.Generator().manual_seed(0))
    shuffled = support._replace(x=support.x[:, shuffle], y=support.y[:, shuffle])
    before, after = (rule.predict(adapt(rule, [s]), query.x) for s in (support, shuffled))
    torch.testing.assert_close(after, before, atol=EXACT, rtol=0)


@pytest.mark.parametrize("kind", LEARNERS)
def test_one_task_does_not_see_another(kind: str) -> None:
    """Changing task 1's support changes its predictions, and not a bit of task 0's."""
    rule, support, query = learner(kind), images(2, 3), images(2, 2, seed=1)
    x = support.x.clone()
    x[1] += torch.randn(x[1].shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype)
    before, after = (rule.predict(adapt(rule, [s]), query.x) for s in (support, support._replace(x=x)))
    assert_close([after[0]], [before[0]], EXACT, "task 0")
    assert (after[1] - before[1]).abs().max() > 1e-3


@pytest.mark.parametrize("of", BODIES)
@pytest.mark.parametrize("kind", LEARNERS)
def test_no_update_predicts_as_the_plain_network(kind: str, of: str) -> None:
    rule, query = learner(kind, of), images(2, 2, of)
    model, _ = plain(rule.network)
    logits = rule.predict(adapt(rule, []), query.x)
    assert_close([logits], [torch.stack([model(x) for x in query.x])], EXACT, "logits")


@pytest.mark.parametrize("of", ["conv4", "mlp", "resnet12"])
@pytest.mark.parametrize("norm", ["transductive", "running", "support"])
def test_evaluation_normalises_as_its_protocol_says(of: str, norm: str) -> None:
    """Before any update: by the batch itself, or by the running averages, as torch's modules in train or eval mode."""
    rule, query = learner("maml", of, norm=norm).eval(), images(1, 3, of)
    model, _ = plain(rule.network)
    model.train(norm != "running")
    assert_close([rule.predict(rule.begin(), query.x)[0]], [model(query.x[0])], EXACT, norm)
    alone, among = (rule.predict(rule.begin(), x)[:, :1] for x in (query.x[:, :1], query.x)) if of != "mlp" else (0, 1)
    assert (of == "mlp") or torch.allclose(alone, among) == (norm == "running")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", LEARNERS)
def test_the_support_protocol_keeps_the_support_s_statistics(kind: str) -> None:
    """An adapted task's predictions for an image then do not depend on the images beside it."""
    support, query = images(2, 4), images(2, 3, seed=1)
    rule = learner(kind, norm="support").eval()
    fast = adapt(rule, [support] * 2)
    together, alone = rule.predict(fast, query.x)[:, :1], rule.predict(fast, query.x[:, :1])
    assert_close([alone], [together], EXACT, "one image alone")
    names = {name for name, _ in rule.network.named_buffers()}
    assert fast.keys() == rule.begin().keys() | names
    z = support.x.flatten(2) @ fast["body.weight"].transpose(1, 2) + fast["body.bias"].unsqueeze(1)
    assert_close(
        [fast["body.norm.mean"], fast["body.norm.var"]], [z.mean(1), z.var(1, correction=0)], EXACT, "statistics"
    )
    transductive = learner(kind, norm="transductive").eval().predict(fast_without(fast, names), support.x)
    assert_close([rule.predict(fast, support.x)], [transductive], EXACT, "the support itself, as it was adapted to")


def fast_without(fast: dict[str, Tensor], names: set[str]) -> dict[str, Tensor]:
    return {name: value for name, value in fast.items() if name not in names}


@pytest.mark.parametrize("kind", HEAD_RULES)
@pytest.mark.parametrize("of", BODIES)
def test_head_rules_change_the_head_and_nothing_else(kind: str, of: str) -> None:
    assert_only_the_head_changes(learner(kind, of), [images(2, 2, of)] * 2)


@pytest.mark.parametrize("norm", ["transductive", "running", "support"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", LEARNERS)
def test_an_update_has_no_side_effect(kind: str, norm: str, training: bool) -> None:
    assert_no_side_effect(learner(kind, norm=norm).train(training), images(2, 3))


@pytest.mark.parametrize("kind", LEARNERS)
@pytest.mark.parametrize("norm", ["running", "support"])
def test_an_update_gives_the_same_values_without_gradients(kind: str, norm: str) -> None:
    rule, support = learner(kind, norm=norm).eval(), images(2, 3)
    with_grad: Params = adapt(rule, [support] * 2)
    with torch.no_grad():
        without = adapt(rule, [support] * 2)
    assert with_grad.keys() == without.keys()
    assert all(torch.equal(with_grad[n], without[n]) for n in without)
    assert with_grad["head.weight"].requires_grad
    assert not any(t.requires_grad for n, t in without.items() if n in {"head.weight", "head.bias"})


@pytest.mark.parametrize("kind", ["protonet", "metaoptnet-svm"])
@pytest.mark.parametrize("of", BODIES)
def test_batch_statistics_are_those_that_torch_s_modules_would_average(kind: str, of: str) -> None:
    rule = learner(kind, of)
    model, _ = plain(rule.network)
    assert_statistics_are_torchs(rule, model, images(2, 2, of), images(2, 3, of, seed=1))
