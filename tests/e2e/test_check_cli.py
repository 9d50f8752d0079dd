"""`metabench check` on real rows: clean runs stay green, and each planted bug turns it red.

A few rows stand for the whole set, since a test must be quick; they go through the same code.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from metabench.algorithms import Batch, GradientOuter, Learner
from metabench.algorithms.learners.protonet import class_means
from metabench.algorithms.ops.perceptron_curvature import UpdatePass
from metabench.bench.cli.main import main
from metabench.bench.places import SHIPPED
from metabench.envs.rollouts import Rollouts, normalised_advantages
from tests.support.plants import Plant, altered_step

MAML, ANIL, META_SGD, PROTONET = (
    f"trace {name} glyphs-5w1s" for name in ("maml", "anil", "meta-sgd", "protonet")
)  # fmt: skip
CONTROL = "trace maml navigation"
CHEETAH = "score maml cheetah-dir"
SPEED = "speed anil glyphs-5w1s"


@pytest.fixture(scope="module")
def baselines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of the program as it is."""
    path = tmp_path_factory.mktemp("baselines") / "check.json"
    rows = (MAML, ANIL, META_SGD, PROTONET, CONTROL, SPEED)
    assert main(["check", "--update", "--baselines", str(path), *only(*rows)]) == 0
    return path


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


def only(*rows: str) -> list[str]:
    return [word for row in rows for word in ("--only", row)]


def check(baselines: Path, *rows: str) -> int:
    return main(["check", "--baselines", str(baselines), *only(*rows)])


def prototypes_of_the_next_class(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("metabench.algorithms.learners.protonet.class_means", lambda support: class_means(support).roll(1, 1))


def no_discount(patch: pytest.MonkeyPatch) -> None:
    def undiscounted(rollouts: Rollouts, discount: float, trace: float) -> Any:
        return normalised_advantages(rollouts, 1.0, trace)

    patch.setattr("metabench.envs.suite.normalised_advantages", undiscounted)


def flat_updates(patch: pytest.MonkeyPatch) -> None:
    """The written-out derivative of an update, as if the inner gradients were constants."""
    patch.setattr(UpdatePass, "hessian", lambda self, along: [0 * t for t in along])


def test_repeated_clean_runs_are_green(baselines: Path) -> None:
    assert [check(baselines, MAML, ANIL, META_SGD, PROTONET, CONTROL) for _ in range(2)] == [0, 0]


@pytest.mark.parametrize(
    ("plant", "row"),
    [
        pytest.param(altered_step(torch.neg), MAML, id="sign flip, MAML"),
        pytest.param(altered_step(torch.neg), ANIL, id="sign flip, ANIL"),
        pytest.param(altered_step(torch.neg), META_SGD, id="sign flip, Meta-SGD"),
        pytest.param(altered_step(torch.neg), CONTROL, id="sign flip, control"),
        pytest.param(flat_updates, CONTROL, id="first order, control"),
        pytest.param(altered_step(torch.detach), MAML, id="first order, MAML"),
        pytest.param(altered_step(torch.detach), ANIL, id="first order, ANIL"),
        pytest.param(altered_step(torch.detach), META_SGD, id="first order, Meta-SGD"),
        pytest.param(prototypes_of_the_next_class, PROTONET, id="wrong prototype"),
        pytest.param(no_discount, CONTROL, id="dropped discount"),
    ],
)
def test_a_planted_bug_turns_it_red(plant: Plant, row: str, baselines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    assert check(baselines, row) == 1


def test_clean_speed_is_green(baselines: Path) -> None:
    assert check(baselines, SPEED) == 0


def test_thirty_percent_slower_is_red(baselines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of processor time, so that a busy machine makes the slow-down neither smaller nor larger."""
    quick = GradientOuter.step

    def slow(self: GradientOuter, learner: Learner, supports: Sequence[Batch], query: Batch) -> dict[str, float]:
        start = time.thread_time()
        metrics = quick(self, learner, supports, query)
        end = start + 1.3 * (time.thread_time() - start)
        while time.thread_time() < end:
            pass
        return metrics

    monkeypatch.setattr(GradientOuter, "step", slow)
    assert check(baselines, SPEED) == 1


@pytest.mark.slow
def test_a_cheetah_that_is_told_the_wrong_way_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sign of the inner gradients, against the committed baseline: one update no longer raises the return."""
    altered_step(torch.neg)(monkeypatch)
    assert check(SHIPPED / "baselines" / "check.json", CHEETAH) == 1
