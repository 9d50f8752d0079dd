"""An environment of one's own from the command line: the example, its record, and refusals in one line."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from metabench.algorithms import LEARNERS
from metabench.bench.cli.main import main
from metabench.bench.worlds.command import command
from metabench.envs import ENVIRONMENTS, OwnEnvironment
from metabench.envs.own import own

ROOT = Path(__file__).parents[2]
PUCK = "module:own_environment.Puck"
FEW = {"iterations": 1, "val-every": 1, "val-tasks": 2, "test-tasks": 2, "meta-batch": 2, "rollouts": 2, "hidden": 4}
SHORT = [*(word for name, n in FEW.items() for word in (f"--{name}", str(n))), "--threads", "1"]
TINY = [*SHORT, "--test-steps", "1"]


@pytest.fixture(autouse=True)
def beside_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory of one's own; the example is among what can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(ROOT / "examples"), *sys.path])
    monkeypatch.setenv("COLUMNS", "200")


def record_of(folder: Path) -> dict:
    return json.loads((folder / "record.json").read_text())


@pytest.mark.parametrize(
    "algorithm", [*(name for name, kind in LEARNERS.items() if not kind.needs_labels), "maml-promp", "oracle"]
)
def test_every_learner_runs_in_the_example(algorithm: str, tmp_path: Path) -> None:
    flags = SHORT if algorithm == "oracle" else TINY
    assert main(["run", algorithm, "--environment", PUCK, *flags, "--out", "out"]) == 0
    record = record_of(tmp_path / "out")
    assert (record["benchmark"], record["metric"], record["status"]) == ("puck", "return", "complete")
    assert record["recipe"]["environment"] == PUCK
    protocol = record["protocol"]
    assert (protocol["environment"], protocol["variant"], protocol["horizon"]) == ("puck", "puck", 40)
    assert (protocol["observations"], protocol["goals"]) == (4, "sample_tasks of Puck")
    assert "trained_in" not in protocol
    assert command(record).split()[:4] == ["metabench", "run", algorithm, PUCK]
    assert all(-40 * 4.3 < mean < 0 for mean in record["test"]["mean"])


def test_it_is_tested_again_described_and_found_under_another_spelling(tmp_path: Path, capsys) -> None:
    assert main(["run", "maml", PUCK, *TINY, "--out", "out"]) == 0
    first = record_of(tmp_path / "out")
    assert main(["run", "maml", f"--environment={PUCK}", *TINY, "--out", "again"]) == 0
    second = record_of(tmp_path / "again")
    assert (first["test"], first["recipe_digest"]) == (second["test"], second["recipe_digest"])
    assert main(["evaluate", "out", "--threads", "1", "--tasks", "3"]) == 0
    assert main(["evaluate", "out", "--environment", "navigation"]) == 2
    assert "an environment of one's own is tested in itself" in capsys.readouterr().err
    assert main(["run", "maml", "--environment", PUCK, *TINY, "--dry-run"]) == 0
    assert "simulation steps" in capsys.readouterr().out
    assert main(["render", "out", "--curve"]) == 0
    assert main(["render", "out"]) == 2
    assert "this environment has no robot to film" in capsys.readouterr().err


def test_one_registry_entry_is_a_name_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    import own_environment

    monkeypatch.setitem(ENVIRONMENTS, "table-puck", OwnEnvironment(own_environment.Puck))
    assert main(["run", "anil", "table-puck", *TINY, "--out", "out"]) == 0
    record = record_of(tmp_path / "out")
    assert (record["benchmark"], record["recipe"]["environment"]) == ("table-puck", "table-puck")
    assert main(["list"]) == 0
    assert "table-puck" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("run maml --environment module:own_environment.Pock", "own_environment has no Pock; did you mean Puck?"),
        ("run maml --environment module:own_enviroment.Puck", "there is no module own_enviroment, neither in"),
        ("run maml --environment navigation", "--environment is navigation; write module:my_package.MyEnv"),
        ("run maml --environment module:own_environment.np", "neither a class of environments nor a function"),
        ("run mamml --environment module:own_environment.Puck", "no algorithm 'mamml'; did you mean 'maml'?"),
        (
            "run maml --environment module:gymnasium.envs.classic_control.cartpole.CartPoleEnv",
            "has no set_task(task), and its tasks cannot vary",
        ),
        ("run maml --environment", "run needs an algorithm and a benchmark first"),
    ],
)
def test_what_cannot_be_used_is_one_line(arguments: str, told: str, capsys) -> None:
    assert main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert told in " ".join(error.split())
    assert "Traceback" not in error


def test_a_name_that_another_environment_has_is_refused(tmp_path: Path, capsys) -> None:
    (tmp_path / "mine.py").write_text("from own_environment import Puck as Navigation\n")
    assert main(["run", "maml", "--environment", "module:mine.Navigation"]) == 2
    assert "would be filed as navigation, which is another environment; rename it" in capsys.readouterr().err


def test_a_record_from_elsewhere_loads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What made it is a name in a file that anyone may have written: it is shown, not imported."""
    assert main(["run", "maml", "--environment", PUCK, *TINY, "--out", "out", "--publish"]) == 0
    own.cache_clear()
    monkeypatch.setattr("metabench.envs.own.load", lambda name: pytest.fail(f"loaded {name}"))
    shutil.copy(ROOT / "results" / "published.yaml", tmp_path / "results" / "published.yaml")
    assert main(["report", "--results", str(tmp_path / "results")]) == 0
    shown = (tmp_path / "results" / "leaderboard.md").read_text()
    assert "| maml | puck |" in shown
    assert f"metabench run maml {PUCK.replace('_', '&#95;')} --test-steps 1" in shown
