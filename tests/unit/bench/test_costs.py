"""What a published row that was not run would take: estimated on demand, read from its file, shown on both pages."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from metabench.bench.leaderboard import costs
from metabench.bench.leaderboard.board import assemble
from metabench.bench.leaderboard.markdown import markdown
from metabench.bench.leaderboard.page import html
from metabench.bench.leaderboard.published import PublishedError
from metabench.bench.leaderboard.report import report_command
from metabench.bench.worlds import resolve, world_of
from tests.support.synthetic import record, write

PUBLISHED = Path(__file__).parents[3] / "results" / "published.yaml"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    shutil.copy(PUBLISHED, tmp_path / "published.yaml")
    write(tmp_path, record(mean=0.97))
    return tmp_path


def test_both_pages_show_what_a_run_would_take(results: Path) -> None:
    (results / "costs.yaml").write_text("anil/omniglot-20w1s: 7500\nmaml/ant-dir: 360000\n")
    board = assemble(results)
    page = html(board)
    assert 'title="not run">not run <small>~ 2 h</small>' in page
    row = page.split('<tbody id="maml/ant-dir"')[1].split("</tbody>")[0]
    assert "<code>metabench run maml ant-dir</code>: about 4 days on one core" in row
    (line,) = [line for line in markdown(board).splitlines() if line.startswith("| anil | omniglot-20w1s |")]
    assert line.endswith("| primary | 2 h |")


def test_the_report_estimates_anew_where_it_is_told_to(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the worlds' own brief look, on one core; a row that no recipe here is of is passed over."""
    asked = []

    def seconds(recipe: object, place: object) -> float:
        asked.append((recipe.name, place.workers.threads))  # type: ignore[attr-defined]
        return 12345.0

    for algorithm, benchmark in (("maml", "omniglot-5w1s"), ("maml", "cheetah-dir")):
        monkeypatch.setattr(type(world_of(resolve(algorithm, benchmark))), "seconds", lambda _, *args: seconds(*args))
    known = results / "published.yaml"
    known.write_text(known.read_text().replace("algorithm: metaoptnet-rr", "algorithm: nobodys"))
    assert report_command(["--results", str(results), "--costs"]) == 0
    found = costs.load_costs(results)
    assert set(found.values()) == {12000}
    assert "anil/omniglot-20w1s" in found
    assert "maml/cheetah-dir-2019" in found
    assert "maml/omniglot-5w1s" not in found  # it was run
    assert not any(name.startswith("nobodys/") for name in found)
    assert {threads for _, threads in asked} == {1}
    assert "~ 3 h" in (results / "leaderboard.html").read_text()
    asked.clear()
    assert report_command(["--results", str(results), "--check"]) == 0
    assert asked == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- 1", "expected names of rows, each with seconds"),
        ("a/b: long", "a/b: is 'long', expected a positive number of seconds"),
        ("a/b: -1", "a/b: is -1, expected a positive number of seconds"),
        ("a/b: .inf", "a/b: is inf, expected a positive number of seconds"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(results: Path, content: str, message: str) -> None:
    (results / "costs.yaml").write_text(content)
    with pytest.raises(PublishedError) as caught:
        assemble(results)
    assert str(caught.value) == f"{results / 'costs.yaml'}: {message}"
