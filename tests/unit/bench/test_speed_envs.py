"""`metabench bench envs`: what it times is the same on both sides, and its record is shown wherever records are."""

from __future__ import annotations

import io
import itertools
import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from metabench.algorithms import TrustRegionOuter, Workers
from metabench.bench.cli.main import main
from metabench.bench.leaderboard.report import report_command
from metabench.bench.records.check import check_speed, read_record
from metabench.bench.records.speed import rate
from metabench.bench.speed.envs import ENVS_WORKLOADS, run_envs
from metabench.bench.speed.iteration import SIMULATION, WATCHED, Iteration, _shares
from metabench.bench.speed.stepping import BesideGymnasium, BesidePhysics, ClosedLoop, same_robot
from metabench.bench.speed.stopwatch import Stopwatch
from metabench.bench.speed.table import profiles, table
from metabench.bench.speed.turns import alternate, ratio
from metabench.bench.speed.workloads import Unequal

PUBLISHED = Path(__file__).parents[3] / "results" / "published.yaml"


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


class Fake:
    """A workload of known speed."""

    peer = "a peer"

    def row(self, workers: Workers, rounds: int) -> dict[str, Any]:
        return {
            "peer": self.peer,
            "target": 0.6,
            "ours_iterations_per_second": 0.12345,
            "peer_iterations_per_second": 0.2,
            "ratio": {"min": 0.5, "median": 0.625, "max": 0.75},
            "profile": {"physics": 0.6, "policy": 0.1},
        }


def test_a_part_is_not_charged_for_those_it_calls() -> None:
    ticks = iter([0.0, 1.0, 3.0, 7.0, 7.5, 8.0])
    watch = Stopwatch(lambda: next(ticks))
    with watch.part("outer"):  # 0
        with watch.part("inner"):  # 1 to 3
            pass
        with pytest.raises(ValueError, match="of inner"), watch.part("inner"):  # 7 to 7.5
            raise ValueError("of inner")
    assert watch.seconds == {"outer": 1.0 + 4.0 + 0.5, "inner": 2.5}


def test_watched_functions_are_put_back() -> None:
    def fail() -> None:
        raise ValueError("here")

    owner = types.SimpleNamespace(fail=fail)
    watch = Stopwatch(itertools.count().__next__)
    with watch.watching([(owner, "fail", "part")]), pytest.raises(ValueError, match="here"):
        owner.fail()
    assert owner.fail is fail
    assert watch.seconds == {"part": 1}


def test_a_ratio_is_of_neighbouring_turns() -> None:
    assert ratio([1.0, 2.0, 4.0], [3.0, 2.0, 6.0]) == {"min": 1.0, "median": 1.5, "max": 3.0}


def test_sides_take_turns_and_the_first_of_each_does_not_count() -> None:
    turns: list[str] = []
    ours, theirs, _ = alternate(lambda: turns.append("a"), lambda: turns.append("b"), Workers(1), 1, 2)
    assert turns == ["a", "b"] * 3
    assert (len(ours), len(theirs)) == (2, 2)


def test_the_share_of_simulation_is_that_of_each_iteration() -> None:
    physics, measures = SIMULATION
    turns = [(10.0, {physics: 5.0, measures: 1.0, "policy": 4.0}), (20.0, {physics: 7.0, measures: 1.0, "policy": 2.0})]
    found = _shares(turns)
    assert found["ratio"] == pytest.approx({"min": 0.4, "median": 0.5, "max": 0.6})
    assert found["ours_iterations_per_second"] == pytest.approx(1 / 15)
    assert found["peer_iterations_per_second"] == pytest.approx(1 / 7)
    assert found["profile"] == pytest.approx({physics: 0.425, measures: 0.075, "policy": 0.25})


def test_an_iteration_is_taken_apart_completely() -> None:
    originals = [getattr(owner, name) for owner, name, _ in WATCHED]
    row = Iteration(0.5).row(Workers(1), 2, meta_batch=2, rollouts=2, hidden=(8,))
    assert [getattr(owner, name) for owner, name, _ in WATCHED] == originals
    assert set(row["profile"]) == {part for _, _, part in WATCHED} | {"inner update", "surrogate, gradient"}
    assert min(row["profile"].values()) > 0
    assert sum(row["profile"].values()) == pytest.approx(1, abs=0.2)
    assert 0 < row["ratio"]["median"] < 1
    assert row["peer"] == "the simulation in it; curvature 0.5"


def test_curvature_of_the_recipe_is_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    strides = set()
    step = TrustRegionOuter.step

    def spy(self: TrustRegionOuter, *arguments: Any) -> Any:
        strides.add(self.stride)
        return step(self, *arguments)

    monkeypatch.setattr(TrustRegionOuter, "step", spy)
    for name in ("iteration", "iteration-tenth"):
        work: Any = ENVS_WORKLOADS[name]
        work.row(Workers(1), 1, meta_batch=1, rollouts=2, hidden=(8,))
    assert strides == {1, 10}


def test_the_limit_replays_the_closed_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = ClosedLoop(Workers(1), steps=4, tasks=1)
    assert (loop.count, loop.steps) == (20, 4)
    assert loop.open_loop()().shape == (20, 4 * 5, 1 + 9 + 9)
    controls = ClosedLoop.controls
    monkeypatch.setattr(ClosedLoop, "controls", lambda self, played: 0.999 * controls(self, played))
    with pytest.raises(Unequal, match="different states"):
        loop.open_loop()


def test_the_robot_is_gymnasiums(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = ClosedLoop(Workers(1), steps=4, tasks=1)
    assert same_robot(loop) <= 1e-9
    controls = ClosedLoop.controls
    monkeypatch.setattr(ClosedLoop, "controls", lambda self, played: 0.999 * controls(self, played))
    with pytest.raises(Unequal, match="come apart by"):
        same_robot(loop)


def test_rows_of_stepping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    physics = BesidePhysics().row(Workers(1), 1, steps=2)
    vector = BesideGymnasium("sync", (2, 4)).row(Workers(1), 1, steps=2)
    assert physics["ratio"]["median"] == pytest.approx(
        physics["ours_steps_per_second"] / physics["peer_steps_per_second"]
    )
    assert vector["peer_size"] in (2, 4) and set(vector["peer_sizes"]) == {"2", "4"}
    assert vector["cpu_time_ratio"] > 0
    assert list(tmp_path.iterdir()) == [] and capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        ({"ours_tasks_per_second": 41.234}, ("41.2", "tasks")),
        ({"ours_steps_per_second": 21345.67}, ("21,345.7", "steps")),
        ({"ours_iterations_per_second": 0.12345}, ("0.123", "iterations")),
        ({"ours_iterations_per_second": "fast"}, None),
        ({}, None),
    ],
)
def test_rates_have_three_digits(row: dict[str, Any], shown: Any) -> None:
    assert rate(row, "ours") == shown


def test_the_record_is_a_table_and_a_profile() -> None:
    record = run_envs({"iteration": Fake()}, Workers(1), 3, Console(quiet=True))  # type: ignore[dict-item]
    check_speed(record)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table(record), profiles(record))
    text = console.export_text()
    assert "0.62 (0.50-0.75)" in text and "60.0%" in text and "0.123" in text
    del record["rows"][0]["profile"]
    assert profiles(record) is None


def test_a_filed_record_is_on_the_leaderboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("metabench.bench.speed.command.ENVS_WORKLOADS", {"iteration": Fake()})
    assert main(["bench", "envs", "--threads", "1", "--rounds", "2", "--publish"]) == 0
    (filed,) = (tmp_path / "results" / "records").iterdir()
    assert filed.name.startswith("speed_envs_cpu") and filed.name.endswith("_1-threads.json")
    assert read_record(filed) == json.loads((tmp_path / "runs" / "speed_envs.json").read_text())
    (tmp_path / "results" / "published.yaml").write_bytes(PUBLISHED.read_bytes())
    assert report_command(["--results", str(tmp_path / "results")]) == 0
    cells = ["iteration", "a peer", "0.62 × (0.50 to 0.75)", "0.123 iterations/s", "0.2 iterations/s"]
    html = (tmp_path / "results" / "leaderboard.html").read_text(encoding="utf-8")
    assert "".join(f"<td>{cell}</td>" for cell in cells) in html
    assert f"| {' | '.join(cells)} |" in (tmp_path / "results" / "leaderboard.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a suite: vision, envs"),
        (["env"], "no suite 'env'; did you mean 'envs'?"),
        (["--rounds", "3"], "no suite '--rounds'"),
        (["envs", "--only", "closed-lop"], "no workload 'closed-lop'; did you mean 'closed-loop'?"),
        (["envs", "--rounds", "0"], "--rounds is 0; it must be at least 1"),
        (["vision", "--only", "svm"], "no workload 'svm'; did you mean 'svm-head'?"),
    ],
)
def test_wrong_words_are_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_unequal_work_is_not_timed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def row(*_: Any) -> Any:
        raise Unequal("open and closed loop end in different states")

    monkeypatch.setattr("metabench.bench.speed.command.ENVS_WORKLOADS", {"a": types.SimpleNamespace(peer="b", row=row)})
    assert main(["bench", "envs"]) == 1
    assert "open and closed loop end in different states; nothing is timed" in capsys.readouterr().err


def test_help_names_the_suites(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--help"]) == 0
    assert "metabench bench envs" in capsys.readouterr().out
