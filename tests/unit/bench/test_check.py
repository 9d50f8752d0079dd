"""The gate's statistics against SciPy and by simulation, its baselines' errors, its reports, its exit statuses."""

from __future__ import annotations

import json
import math
import os
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from metabench.bench.cli.main import main
from metabench.bench.gate import baselines
from metabench.bench.gate import check as gate
from metabench.bench.gate import yardstick as check_yardstick
from metabench.bench.gate.baselines import Baseline, BaselineError
from metabench.bench.gate.check import SLOWER
from metabench.bench.gate.decide import ALPHA, ELSEWHERE, holm, score_p, speed_p, trace_fault
from metabench.bench.gate.report import STYLES, Finding, headline, junit, markdown, status
from metabench.bench.gate.rows import WORK, Row, Work, rows
from metabench.bench.training.record import processor

# The test -----------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0.5, 2), min_size=1, max_size=40), st.floats(0.5, 2))
def test_sign_test_is_scipys(ratios: list[float], bound: float) -> None:
    below = sum(r < bound for r in ratios)
    assert speed_p(ratios, bound) == pytest.approx(stats.binomtest(below, len(ratios), alternative="greater").pvalue)


@given(st.lists(st.floats(-0.2, 0.2), min_size=2, max_size=10), st.floats(0.01, 0.2))
def test_score_test_is_scipys(differences: list[float], margin: float) -> None:
    if np.std(differences) < 1e-6:
        return
    assert score_p(differences, margin) == pytest.approx(
        stats.ttest_1samp(differences, -margin, alternative="greater").pvalue, abs=1e-9
    )


def test_score_test_where_nothing_varies() -> None:
    assert score_p([0.0] * 5, 0.05) == 0.0
    assert score_p([-0.06] * 5, 0.05) == 1.0
    assert score_p([-0.05] * 5, 0.05) == 1.0
    assert score_p([0.0, math.nan], 0.05) == 1.0
    assert score_p([0.0], 0.05) == 1.0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_family_of_bad_rows_passes_one_no_more_often_than_alpha() -> None:
    """All rows exactly as bad as their margin: the probability that any is called good stays below α."""
    rng = np.random.default_rng(0)
    passed = 0
    for _ in range(2000):
        p = [score_p(rng.normal(-0.05, 0.01, 5), 0.05) for _ in range(6)]
        p += [speed_p(rng.lognormal(math.log(1 + SLOWER), 0.1, 25), 1 + SLOWER) for _ in range(6)]
        passed += min(holm(p)) <= ALPHA
    assert passed / 2000 <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / 2000)


def test_clean_family_stays_green_and_a_third_slower_goes_red() -> None:
    """With the noise that was seen: scores vary by a point from rounding, rounds of a speed by a tenth."""
    rng = np.random.default_rng(1)
    clean = slow = 0
    for _ in range(500):
        p = [score_p(rng.normal(0, 0.008, 5), 0.05) for _ in range(6)]
        p += [speed_p(rng.lognormal(0, 0.1, 25), 1 + SLOWER) for _ in range(5)]
        clean += max(holm([*p, speed_p(rng.lognormal(0, 0.1, 25), 1 + SLOWER)])) <= ALPHA
        slow += holm([*p, speed_p(rng.lognormal(math.log(1.3), 0.1, 25), 1 + SLOWER)])[-1] <= ALPHA
    assert clean >= 490
    assert slow == 0


@pytest.mark.parametrize(
    ("now", "exact", "fault"),
    [
        ([1.0, 2.0], True, ""),
        ([1.0, np.nextafter(2.0, 3)], True, "value 1 is 2, was 2; may differ by 0 of it"),
        ([1.0, 2.0 * (1 + ELSEWHERE / 2)], False, ""),
        ([1.0, 2.0 * (1 + ELSEWHERE * 2)], False, "value 1 is 2.00004, was 2; may differ by 1e-05 of it"),
        ([1.0, math.nan], False, "value 1 is nan, was 2"),
        ([1.0], True, "1 values, the baseline has 2"),
    ],
)
def test_traces(now: list[float], exact: bool, fault: str) -> None:
    found = trace_fault([1.0, 2.0], now, exact)
    assert found.startswith(fault) if fault else found == ""


# The set ------------------------------------------------------------------------------------------------------


def test_every_learner_and_both_worlds_are_in_the_set() -> None:
    assert {w.algorithm for w in WORK} >= {"maml", "anil", "meta-sgd", "protonet", "metaoptnet"}
    assert {w.benchmark for w in WORK} >= {"glyphs-5w1s", "navigation"}
    names = [row.name for row in rows()]
    assert len(set(names)) == len(names)


def test_the_committed_baselines_fit_the_set() -> None:
    path = Path(__file__).parents[3] / "results/baselines/check.json"
    known = baselines.read(path)
    gate.fitting(rows(), known, path)
    assert known.keys() == {row.name for row in rows()}


def test_a_thread_that_waits_for_its_core_is_not_timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    queued = tmp_path / "schedstat"
    monkeypatch.setattr(check_yardstick, "QUEUED", queued)
    now = iter([10.0, 13.0])
    monkeypatch.setattr(check_yardstick.time, "perf_counter", lambda: next(now))
    queued.write_text("5 1000000000 3")
    assert check_yardstick.seconds(lambda: queued.write_text("9 2000000000 4"), 2) == pytest.approx(1.0)


# Baselines ----------------------------------------------------------------------------------------------------

GOOD = {"values": [1.5, 2.5], "recipe": "abc", "where": "here"}


def test_baselines_survive_the_file_bit_for_bit(tmp_path: Path) -> None:
    made = {"trace x": Baseline((0.1 + 0.2, 1 / 3, 1e-300), "abc", "here"), "a": Baseline((1.0,), "d", "w")}
    baselines.write(tmp_path / "b.json", made)
    assert baselines.read(tmp_path / "b.json") == made
    assert os.listdir(tmp_path) == ["b.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        ("{", "cannot be read"),
        ('{"schema": 1, "rows": {"a": {"values": [NaN], "recipe": "", "where": ""}}}', "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ('{"schema": 2, "rows": {}}', "has schema 2, this version reads 1"),
        ("[]", "has schema None"),
        ('{"schema": 1}', "has no rows"),
        (json.dumps({"schema": 1, "rows": {"a": GOOD | {"values": []}}}), "row 'a' is not values, recipe and where"),
        (json.dumps({"schema": 1, "rows": {"a": GOOD | {"values": ["1"]}}}), "row 'a' is not"),
        (json.dumps({"schema": 1, "rows": {"a": GOOD | {"recipe": 3}}}), "row 'a' is not"),
        (" " * (2**20 + 1), "larger than"),
    ],
)
def test_bad_baselines_are_a_broken_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, message: str
) -> None:
    path = tmp_path / "b.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BaselineError, match="metabench check --update"):
        baselines.read(path)
    assert main(["check", "--baselines", str(path)]) == 2
    assert message in capsys.readouterr().err


# Reports ------------------------------------------------------------------------------------------------------

FINDINGS = [
    Finding("trace maml x", "same", "1", "1", "bit for bit", 1.0),
    Finding("score anil y", "regression", "0.9", "0.5", "5 < 7 | \x1b[31m", 2.0),
    Finding("speed anil y", "broken", "1.0", "", "ValueError: <b>", 3.0),
]


def test_junit_counts_and_escapes() -> None:
    [suite] = ElementTree.fromstring(junit(FINDINGS))
    assert [suite.get(k) for k in ("tests", "failures", "errors", "time")] == ["3", "1", "1", "6.000"]
    same, failed, broken = suite
    assert (same.get("classname"), same.get("name"), len(same)) == ("metabench.check.trace", "maml x", 0)
    assert failed[0].tag == "failure" and failed[0].get("message") == "5 < 7 | �[31m"
    assert broken[0].tag == "error" and broken[0].get("message") == "ValueError: <b>"


def test_markdown_puts_what_is_bad_first() -> None:
    page = markdown(FINDINGS)
    assert page.startswith("### metabench check: 3 rows: 1 good, 1 regressed, 1 broken; 6 s\n")
    assert page.index("| score anil y") < page.index("| trace maml x")
    assert r"5 &lt; 7 \|" in page and "<b>" not in page


def test_statuses() -> None:
    assert [status(FINDINGS[:n]) for n in (0, 1, 2, 3)] == [0, 0, 1, 2]
    assert headline([]) == "0 rows: 0 good, 0 regressed, 0 broken; 0 s"
    assert {f.verdict for f in FINDINGS} < STYLES.keys()


# The command on rows that measure what they are told ----------------------------------------------------------

Told = dict[str, Callable[[], list[float]]]
WORKED = Work("maml", "glyphs-5w1s", {})
GREEN: Told = {
    "trace": lambda: [1.0, 2.0],
    "score": lambda: [0.7, 0.71, 0.72, 0.7, 0.69],
    "speed": lambda: [1.0 + 0.01 * k for k in range(25)],
}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Told:
    """What each kind of row will measure; the baselines are of GREEN."""
    measured = dict(GREEN)

    class Scripted(Row):
        def measure(self) -> list[float]:
            return measured[self.kind]()

    monkeypatch.setattr(gate, "rows", lambda: [Scripted(kind, WORKED) for kind in GREEN])
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    assert main(["check", "--update"]) == 0
    return measured


def worse(by: float) -> Callable[[], list[float]]:
    return lambda: [score - by for score in GREEN["score"]()]


def test_what_was_measured_before_is_green(told: Told, capsys: pytest.CaptureFixture[str]) -> None:
    assert [main(["check"]) for _ in range(10)] == [0] * 10
    assert "3 rows: 3 good" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "now"),
    [
        ("trace", lambda: [1.0, 2.0 + 1e-15]),
        ("trace", lambda: [1.0]),
        ("trace", list),
        ("score", worse(0.06)),
        ("score", lambda: [0.7, 0.71, math.nan, 0.7, 0.69]),
        ("score", lambda: [0.7, 0.71]),
        ("speed", lambda: [1.3 * r for r in GREEN["speed"]()]),
    ],
)
def test_what_is_worse_is_red(told: Told, kind: str, now: Callable[[], list[float]]) -> None:
    told[kind] = now
    assert main(["check"]) == 1
    assert main(["check", "--only", "trace" if kind != "trace" else "score"]) == 0


def test_what_is_better_or_hardly_worse_is_green(told: Told) -> None:
    told["score"], told["speed"] = worse(0.01), lambda: [0.5] * 25
    assert main(["check"]) == 0
    told["score"] = worse(-0.1)
    assert main(["check"]) == 0


def test_a_speed_is_looked_at_again_before_it_is_called_slow(told: Told) -> None:
    looks = iter([[2.0] * 25, GREEN["speed"]()])
    told["speed"] = lambda: next(looks)
    assert main(["check"]) == 0


def test_a_row_that_raises_breaks_the_run_and_spares_the_others(
    told: Told, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> list[float]:
        raise ZeroDivisionError("of all things")

    told["score"], told["trace"] = fail, lambda: [9.0, 9.0]
    assert main(["check", "--junit", "out/junit.xml"]) == 2
    [suite] = ElementTree.fromstring((tmp_path / "out/junit.xml").read_bytes())
    assert [suite.get(k) for k in ("tests", "failures", "errors")] == ["3", "1", "1"]
    before = (tmp_path / "results/baselines/check.json").read_bytes()
    assert main(["check", "--update"]) == 2
    assert "score maml glyphs-5w1s cannot be measured (ZeroDivisionError: of all things)" in capsys.readouterr().err
    assert (tmp_path / "results/baselines/check.json").read_bytes() == before


def test_the_summary_page_of_ci_is_appended_to(told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "summary.md"
    page.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    assert main(["check"]) == 0
    assert page.read_text().startswith("before\n### metabench check: 3 rows: 3 good")


def test_update_shows_what_changes_and_keeps_the_rest(told: Told, capsys: pytest.CaptureFixture[str]) -> None:
    told["trace"], told["score"] = lambda: [1.0, 3.0], worse(0.1)
    capsys.readouterr()
    assert main(["check", "--update", "--only", "score"]) == 0
    printed = capsys.readouterr().out
    assert "score maml glyphs-5w1s: 0.7040 over 5 seeds -> 0.6040 over 5 seeds" in printed
    assert "trace maml glyphs-5w1s: unchanged" in printed
    assert main(["check", "--only", "score"]) == 0
    assert main(["check"]) == 1


def test_a_row_without_a_fitting_baseline_breaks_the_run(
    told: Told, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gate, "rows", lambda: [Row("trace", Work("maml", "glyphs-5w1s", {"inner_lr": 0.1}))])
    assert main(["check"]) == 2
    assert "has a baseline of another recipe" in capsys.readouterr().err
    monkeypatch.setattr(gate, "rows", lambda: [Row("trace", Work("anil", "glyphs-5w1s", {}))])
    assert main(["check"]) == 2
    assert "trace anil glyphs-5w1s has no baseline" in capsys.readouterr().err


def test_a_trace_made_elsewhere_may_round_differently(
    told: Told, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told["trace"] = lambda: [1.0, 2.0 + 1e-12]
    assert main(["check"]) == 1
    other = baselines.this_machine().replace(f"NumPy {np.__version__}", "NumPy 9.9.9")
    monkeypatch.setattr(baselines, "this_machine", lambda: other)
    assert main(["check"]) == 0
    said = " ".join(re.sub("[│┃]", " ", capsys.readouterr().out).split())
    assert f"to 1e-05: NumPy 9.9.9 here; NumPy {np.__version__} then" in said
    told["trace"] = lambda: [1.0, 2.0 + 1e-4]
    assert main(["check"]) == 1


def test_bits_are_decided_by_the_processor_the_c_library_python_torch_and_numpy() -> None:
    parts = baselines.this_machine().split(", ")
    python = ".".join(map(str, sys.version_info[:2]))
    assert parts[-3:] == [f"Python {python}", f"torch {torch.__version__}", f"NumPy {np.__version__}"]
    assert parts[0].startswith(processor())
    assert len(parts) == 7


@pytest.mark.parametrize(
    ("then", "now", "said"),
    [
        ("A, B 1, C", "A, B 1, C", ""),
        ("A, B 1, C", "A, B 2, C", "B 2 here; B 1 then"),
        ("A, B 1", "A, B 2, C", "B 2, C here; B 1 then"),
        ("A, B", "A, B, C", "C here"),
    ],
)
def test_what_differs_between_two_places_is_named(then: str, now: str, said: str) -> None:
    assert baselines.differing(then, now) == said


def test_unknown_rows_are_wrong_input(told: Told, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--only", "nothing"]) == 2
    assert "the rows are: trace maml glyphs-5w1s" in capsys.readouterr().err


def test_history_is_not_read(told: Told, tmp_path: Path) -> None:
    """A FIFO among the records: whoever opened it would wait for ever."""
    (tmp_path / "results/records").mkdir()
    os.mkfifo(tmp_path / "results/records/x.json")
    assert main(["check"]) == 0
