"""A trained learner from Python: unequal shots, answers that depend on others or not, and the face of the package."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import metabench
from metabench.algorithms import LEARNERS
from metabench.bench.recipes.recipe import FewShotRecipe, RecipeError
from metabench.bench.training.trained import Trained, misfit
from metabench.bench.training.trainer import State
from metabench.bench.use.few_shot import Adapted, FewShotLearner
from metabench.bench.worlds import resolve
from metabench.bench.worlds.few_shot_build import make_learner
from metabench.vision.data.form import Form
from metabench.vision.data.source import Dataset

ROOT = Path(__file__).resolve().parents[3]
LABELS = [*"aaaabbc"]
"""Four, two and one example of three classes."""


def few_shot(algorithm: str, **fields: object) -> FewShotLearner:
    """A learner of three ways as it is drawn, on images (1, 8, 8)."""
    recipe = dataclasses.replace(
        resolve(algorithm, "glyphs-3w1s"), backbone="mlp", train_ways=3, train_queries=1, **fields
    )
    assert isinstance(recipe, FewShotRecipe)
    weights = make_learner(recipe, 0, 1, 8).state_dict()
    return FewShotLearner(Trained(Path("run"), recipe, 0, {}, Form(1, 8), State(best_learner=weights)))


def images(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def adapted(algorithm: str, **fields: object) -> Adapted:
    return few_shot(algorithm, **fields).adapt(images(7), LABELS)


def test_prototypes_are_the_means_of_as_many_examples_as_there_are() -> None:
    one, query = adapted("protonet"), images(5, 1)
    body = one.learner.network
    fast = one.learner.begin()
    with torch.no_grad():
        z, q = (body.features(fast, x.unsqueeze(0))[0] for x in (images(7), query))
    centres = torch.stack([z[:4].mean(0), z[4:6].mean(0), z[6]])
    expected = (-(q.unsqueeze(1) - centres).square().sum(-1)).softmax(1)
    assert torch.allclose(one.predict(query).probabilities, expected, atol=1e-5)


def test_a_gradient_step_is_that_of_the_mean_over_all_examples() -> None:
    one = adapted("maml", test_steps=1, inner_lr=0.3, norm="running")
    network = one.learner.network
    names = list(dict(network.named_parameters()))
    fast = {name: t.detach().clone().requires_grad_(name in names) for name, t in one.learner.begin().items()}
    logits = network(fast, images(7).unsqueeze(0))[0]
    loss = sum(F.cross_entropy(logits[i], torch.tensor("abc".index(label))) for i, label in enumerate(LABELS)) / 7
    grads = torch.autograd.grad(loss, [fast[name] for name in names])
    stepped = fast | {name: fast[name] - 0.3 * g for name, g in zip(names, grads)}
    expected = network(stepped, images(5, 1).unsqueeze(0))[0].softmax(1)
    assert torch.allclose(one.predict(images(5, 1)).probabilities, expected, atol=1e-6)


@pytest.mark.parametrize("algorithm", ["metaoptnet", "metaoptnet-rr", "anil", "meta-sgd"])
def test_other_rules_take_unequal_shots_and_answer_for_them(algorithm: str) -> None:
    one = adapted(algorithm)
    found = one.predict(images(7))
    assert found.classes == ("a", "b", "c")
    assert torch.allclose(found.probabilities.sum(1), torch.ones(7))
    order = [6, 5, 4, 3, 2, 1, 0]
    again = few_shot(algorithm).adapt(images(7)[order], [LABELS[i] for i in order]).predict(images(7))
    assert torch.allclose(found.probabilities, again.probabilities, atol=1e-5), "the order of examples says nothing"


@pytest.mark.parametrize(("norm", "together"), [("running", False), ("support", False), ("transductive", True)])
def test_whether_an_answer_depends_on_the_queries_beside_it(norm: str, together: bool) -> None:
    one = adapted("anil", norm=norm)
    assert one.together == together
    both, alone = one.predict(images(4, 1)).probabilities, one.predict(images(4, 1)[:1]).probabilities
    assert torch.allclose(both[:1], alone, atol=1e-6) != together


def test_many_queries_are_answered_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    one, query = adapted("protonet"), images(10, 1)
    whole = one.predict(query).probabilities
    monkeypatch.setattr("metabench.bench.use.few_shot.AT_ONCE", 3)
    assert torch.allclose(one.predict(query).probabilities, whole, atol=1e-6)


def test_uint8_of_another_size_is_brought_to_the_form() -> None:
    one = adapted("protonet")
    large = (torch.rand(2, 3, 20, 20) * 255).to(torch.uint8)
    brought = torch.from_numpy(one.form.bring(large.numpy()))
    assert torch.equal(one.predict(large).probabilities, one.predict(brought).probabilities)
    assert torch.equal(one.predict(large.numpy()).images, brought.float() / 255)


def test_numbers_of_classes_and_of_updates_that_cannot_be() -> None:
    with pytest.raises(RecipeError, match="the head is learned for 3 ways and cannot answer for 2"):
        few_shot("maml").adapt(images(2), ["a", "b"])
    with pytest.raises(RecipeError, match="test_steps is -1; it must be at least 0"):
        few_shot("maml").adapt(images(7), LABELS, steps=-1)
    assert few_shot("maml").adapt(images(7), LABELS, steps=0).updates == 0


def test_a_misfit_names_the_first_three() -> None:
    one = make_learner(few_shot("maml").recipe, 0, 1, 8)
    weights = dict(one.state_dict())
    assert misfit(weights, one) == ""
    weights["network.head.bias"] = torch.zeros(9)
    weights["more"] = weights.pop("network.head.weight")
    assert misfit(weights, one) == (
        "network.head.bias is 9, here 3; network.head.weight is missing; more is not the learner's"
    )
    assert misfit({}, one).endswith(f"and {len(one.state_dict()) - 3} more")


def test_the_package_has_a_face_that_costs_nothing() -> None:
    assert metabench.learners is LEARNERS
    assert metabench.Dataset is Dataset
    assert {"Dataset", "learners", "load", "run"} <= set(dir(metabench))
    with pytest.raises(AttributeError, match="metabench has no 'laod'; it has Dataset, learners, load, run"):
        metabench.laod  # noqa: B018
    program = (
        "import sys, time; before = time.perf_counter(); import metabench; taken = time.perf_counter() - before; "
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules; print(taken)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert float(done.stdout) < 0.2
