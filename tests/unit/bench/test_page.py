"""The HTML page and its charts: complete, whole, and closed to everything that is not its own."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from metabench.bench.leaderboard.board import assemble
from metabench.bench.leaderboard.charts import Reproduction, Series, lines, scatter
from metabench.bench.leaderboard.page import html
from metabench.bench.leaderboard.page_detail import learning_curve
from tests.support.synthetic import record, write

PUBLISHED = Path(__file__).parents[3] / "results" / "published.yaml"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    results = tmp_path_factory.mktemp("results")
    shutil.copy(PUBLISHED, results / "published.yaml")
    short = record(schedule="short", mean=0.97)
    short["curve"] = [{"iteration": 400, "mean": 0.9, "ci95": 0.01}, {"iteration": 800, "mean": None, "ci95": 0.01}]
    write(
        results,
        short,
        record("protonet", mean=0.98, spread=0.01),
        record("maml-fo", "mini-imagenet-5w1s", diverged=True),
    )
    return html(assemble(results))


def details(page: str) -> list[str]:
    """What the rows open to."""
    return re.findall(r'<script type="text/plain" id="text\d+">(.*?)</script>', page, re.S)


class Tags(HTMLParser):
    """Counts opened and closed tags, and collects what would load something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "input", "br", "path", "use", "img"):
            self.open.append(tag)
        self.loads += [
            value or "" for name, value in attrs if name in ("src", "srcset", "data") or name.startswith("on")
        ]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [v or "" for k, v in attrs if k == "xlink:href" and not (v or "").startswith("#")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(page: str) -> None:
    for part in (page, *details(page)):
        tags = Tags()
        tags.feed(part)
        assert tags.open == []
        assert tags.loads == []
    assert "<link" not in page
    assert "@import" not in page


def test_only_the_pages_own_script_may_run(page: str) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'; " in page


def test_each_row_has_its_verdict_in_words_and_its_details(page: str) -> None:
    assert page.count("<tbody id=") == 3
    assert 'data-world="images" data-algorithm="protonet" data-verdict="below"' in page
    assert '<span class="verdict below">▼ below</span>' in page
    assert "<td>unstated</td><td>assumed</td>" in page
    assert "<code>metabench run maml omniglot-5w1s --schedule short --seed 0 --threads 1</code>" in page
    assert 'aria-label="Learning curve"' in page
    assert "Published, not run here:" in page


def test_every_chart_is_well_formed(page: str) -> None:
    charts = re.findall(r"<svg.*?</svg>", page, re.S)
    # A learning curve, two adaptation curves, two of seeds; the scatter; a mean and a profile, and one comparison.
    assert len(charts) == 9
    for chart in charts:
        ElementTree.fromstring(chart)
    names = re.findall(r' id="([^"]+)"', page)
    assert len(names) == len(set(names))


def test_points_that_are_no_numbers_are_left_out_of_a_curve() -> None:
    curve = [{"iteration": 1, "mean": 0.5, "ci95": 0.1}, {"iteration": 2, "mean": None, "ci95": 0.1}, "x", {"mean": 1}]
    assert learning_curve({"curve": curve}, 100.0) == [(1, 50.0, 10.0)]
    assert learning_curve({"curve": "none"}, 100.0) == []
    assert learning_curve({}, 100.0) == []


def test_a_long_curve_is_thinned() -> None:
    curve = [{"iteration": i, "mean": 0.5, "ci95": 0.1} for i in range(1001)]
    points = learning_curve({"curve": curve}, 100.0)
    assert len(points) == 167
    assert [p[0] for p in points[:3]] == [0, 6, 12]


def test_seeds_stand_beside_their_mean_with_both_intervals(tmp_path: Path) -> None:
    shutil.copy(PUBLISHED, tmp_path / "published.yaml")
    write(tmp_path, *(record(seed=s, mean=0.9865 + s / 1000, spread=0.01) for s in range(3)))
    (detail,) = details(html(assemble(tmp_path)))
    assert "Test of each seed, ± 95 % over tasks; all 3: ± 0.08 over tasks, ± 0.25 over seeds" in detail
    svg = ElementTree.fromstring(re.findall(r'<svg[^>]*aria-label="Seeds".*?</svg>', detail)[0])
    assert [g.findtext("title") for g in svg.findall("g") if g.findtext("title")] == [
        "seed 0", "seed 1", "seed 2", "all seeds, over tasks", "all seeds, over seeds",
    ]  # fmt: skip
    heights = [abs(float(e.get("y1", "nan")) - float(e.get("y2", "nan"))) for e in svg.findall("g/line")][-5:]
    assert heights[4] / heights[3] == pytest.approx(0.2484 / 0.0801, rel=0.02)


def test_a_line_runs_through_its_points() -> None:
    """x from −0.1 to 2.1 over 296 units from 52; y from −0.5 to 10.5 over 168 units up from 180."""
    svg = ElementTree.fromstring(lines("T", "x", "y", [Series("<a>", [(0, 0, None), (2, 10, None)])]))
    path = svg.find("g[@class='s0']/polyline")
    assert path is not None
    assert path.get("points") == "65.5,172.4 334.5,19.6"
    assert svg.findtext("g[@class='s0']/title") == "<a>"
    assert [t.text for t in svg.findall("text")][:3] == ["0", "1", "2"]
    assert lines("T", "x", "y", []) == ""


def test_a_perfect_reproduction_lies_on_the_diagonal() -> None:
    points = [Reproduction("a", 50.0, 1.0, 50.0, 2.0, "reproduced"), Reproduction("b", 60.0, 1.0, 70.0, 0.0, "below")]
    svg = ElementTree.fromstring(scatter("T", points))
    diagonal, dot = svg.find("g[@class='diagonal']/line"), svg.find("g[@class='reproduced']/circle")
    assert diagonal is not None
    assert dot is not None
    (x1, y1, x2, y2), (x, y) = (
        [float(e.get(k, "nan")) for k in ks] for e, ks in ((diagonal, ("x1", "y1", "x2", "y2")), (dot, ("cx", "cy")))
    )
    assert y == pytest.approx(y1 + (x - x1) / (x2 - x1) * (y2 - y1), abs=0.2)
    assert scatter("T", []) == ""


def test_a_cell_of_the_overview_shows_the_row_that_saw_most_tasks(tmp_path: Path) -> None:
    shutil.copy(PUBLISHED, tmp_path / "published.yaml")
    longest = record(schedule="short", mean=0.972, iterations=9000)
    write(tmp_path, record(schedule="short", mean=0.961), longest, record(schedule="short", mean=0.93, iterations=100))
    overview = html(assemble(tmp_path)).split("<h2>Results</h2>")[0]
    assert re.findall(r"▼ (\d+\.\d+)</a>", overview) == ["97.20"]
