"""The HTML page: complete, whole, and closed to everything that is not its own."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from metabench.bench.leaderboard import film, plots
from metabench.bench.leaderboard.board import Board, Cell, assemble
from metabench.bench.leaderboard.page import html, tone
from metabench.bench.leaderboard.palette import LOOKS, VERDICTS, look_of
from metabench.bench.leaderboard.verdict import WORDS
from metabench.bench.records.schema import file_name
from tests.support.synthetic import control_record, record, write

PUBLISHED = Path(__file__).parents[3] / "results" / "published.yaml"


def board_of(folder: Path, *records: dict[str, object]) -> Board:
    """The board of these records beside the package's published numbers."""
    shutil.copy(PUBLISHED, folder / "published.yaml")
    write(folder, *records)
    return assemble(folder)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    short = record(schedule="short", mean=0.97)
    short["curve"] = [{"iteration": i, "mean": 0.9, "ci95": 0.01} for i in (400, 800, 1200)]
    return html(
        board_of(
            tmp_path_factory.mktemp("results"),
            short,
            record("protonet", mean=0.98, spread=0.01),
            record("maml-fo", "mini-imagenet-5w1s", diverged=True),
        )
    )


def row(page: str, id: str) -> str:
    """What the page holds of a row."""
    return page.split(f'<tbody id="{id}"')[1].split("<tbody id=")[0]


def words(part: str) -> str:
    """The text of a part of the page."""
    return " ".join(re.sub(r"<[^>]*>", "", part).split())


class Tags(HTMLParser):
    """Counts opened and closed tags, and collects what would load something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "input", "br", "path", "use", "img", "source"):
            self.open.append(tag)
        self.loads += [
            value or "" for name, value in attrs if name in ("src", "srcset", "data") or name.startswith("on")
        ]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [v or "" for k, v in attrs if k == "xlink:href" and not (v or "").startswith("#")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(page: str) -> None:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.loads == []
    assert "<link" not in page
    assert "@import" not in page


def test_only_the_pages_own_script_may_run(page: str) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'; " in page


def test_each_row_has_its_verdict_in_words_and_its_details(page: str) -> None:
    assert 'data-world="images" data-benchmark="omniglot-5w1s" data-algorithm="protonet" data-word="below"' in page
    found = row(page, "protonet/omniglot-5w1s")
    assert '<span class="verdict bad">▼ below</span>' in found
    assert '<td class="gap" data-key="-0.7999999999999972" data-label="gap">−0.80</td>' in found
    assert "98.8 (Snell et al. 2017, Table 1)others 98.2 to 98.5 (3)" in words(found)
    assert "<td>unstated</td><td>assumed</td>" in found
    assert '<a href="../algorithms/learners/protonet.py">algorithms/learners/protonet.py</a>' in found
    assert '<a href="https://github.com/jakesnell/prototypical-networks/tree/c9bb4d2" rel="noopener">' in found
    short = row(page, "maml/omniglot-5w1s")
    assert "<code>metabench run maml omniglot-5w1s --schedule short --seed 0 --threads 1</code>" in short
    assert 'aria-label="Learning curve, maml omniglot-5w1s short"' in short
    assert "diverged" in row(page, "maml-fo/mini-imagenet-5w1s")


def test_what_is_published_and_not_run_is_told_from_what_is_neither(page: str) -> None:
    waiting = row(page, "anil/omniglot-20w1s")
    assert 'data-word="not run"' in waiting
    assert "<code>metabench run anil omniglot-20w1s</code>" in waiting
    matrix = re.findall(r'<table class="matrix">.*?</table>', page, re.S)[0]
    assert '<a class="dashed" href="#anil/omniglot-20w1s"' in matrix
    line = next(line for line in matrix.split("<tr>") if 'scope="row">omniglot-lake-20w1s' in line)
    assert line.count('<td class="none"') == matrix.count('<th scope="col">') - 1


def test_the_first_screen_counts_what_is_reproduced(tmp_path: Path) -> None:
    """A number that stands beside two rows is one number, reproduced where one of them does."""
    board = board_of(
        tmp_path,
        record("maml", mean=0.987, spread=0.01),
        record("protonet", mean=0.95),
        control_record("maml", "cheetah-dir", means=(-20.0, 160.0)),
        control_record("maml", "cheetah-dir-2019", means=(-20.0, 50.0)),
        *(control_record("untrained", name, means=(-20.0, -15.0)) for name in ("cheetah-dir", "cheetah-dir-2019")),
    )
    found = words(html(board).split("<main>")[1].split("</header>")[0])
    (reached, published) = map(int, re.findall(r"(\d+) of (\d+) published results reproduced", found)[0])
    assert reached == 2
    assert "reproduced or exceeded, 1 of them with a source that leaves its protocol open" in found
    assert "✓ 1 reproduced (✓) 1 reproduced, protocol unstated ▼ 1 below" in found
    references = {(c.reference.algorithm, c.reference.benchmark) for c in board.cells if c.reference and c.published}
    assert published == len(references)


def test_a_cell_shows_the_row_nearest_to_the_protocol_then_the_longest(tmp_path: Path) -> None:
    board = board_of(
        tmp_path,
        record(schedule="short", mean=0.961),
        record(schedule="short", mean=0.972, iterations=9000),
        record(schedule="short", mean=0.93, iterations=100),
        record(mean=0.97, norm="running"),  # the paper's 60000 iterations under another protocol
    )
    (cell,) = board.run
    assert [line.row.first["recipe"]["iterations"] for line in (cell.line, *cell.behind)] == [9000, 4000, 100, 60000]
    found = html(board)
    matrix = re.findall(r'<table class="matrix">.*?</table>', found, re.S)[0]
    assert re.findall(r'href="#maml/omniglot-5w1s"[^>]*>(\d+\.\d+)', matrix) == ["97.20"]
    behind = row(found, "maml/omniglot-5w1s").split("<h4>Also run</h4>")[1]
    assert [float(v) for v in re.findall(r"<li>(\d+\.\d+) ±", behind)] == [96.1, 93.0, 97.0]
    assert "iterations 9000" not in behind.split("<h4>Provenance")[0]


def test_of_rows_trained_alike_the_one_with_most_seeds_is_shown(tmp_path: Path) -> None:
    board = board_of(
        tmp_path,
        record(mean=0.97, protocol={"data_digest": "1" * 64}),
        *(record(mean=0.96, seed=seed) for seed in (1, 2)),
    )
    assert [len(line.row.records) for line in board.lines] == [2, 1]


def test_the_best_of_a_line_is_bold_and_what_is_not_told_from_it(tmp_path: Path) -> None:
    found = html(
        board_of(
            tmp_path,
            record("maml", mean=0.98, spread=0.02),
            record("anil", mean=0.9799, spread=0.02),
            record("protonet", mean=0.95, spread=0.02),
            control_record("maml", means=(0.0, 100.0)),
            control_record("anil", means=(0.0, 10.0)),
            control_record("oracle", means=(900.0,)),
        )
    )
    assert re.findall(r'<td class="best"><a href="#([^"]*)"', found) == [
        "maml/omniglot-5w1s", "anil/omniglot-5w1s", "maml/cheetah-dir",
    ]  # fmt: skip


def test_every_chart_is_well_formed(page: str) -> None:
    charts = re.findall(r"<svg.*?</svg>", page, re.S)
    # The gaps and a learning curve: the two algorithms were not asked the same episodes.
    assert [re.findall(r'aria-label="([^"]*)"', chart)[0] for chart in charts] == [
        "Ours less published", "Learning curve, maml omniglot-5w1s short",
    ]  # fmt: skip
    for chart in charts:
        ElementTree.fromstring(chart)
    names = re.findall(r' id="([^"]+)"', page)
    assert len(names) == len(set(names))


def test_points_that_are_no_numbers_are_left_out_of_a_curve() -> None:
    curve = [{"iteration": 1, "mean": 0.5, "ci95": 0.1}, {"iteration": 2, "mean": None, "ci95": 0.1}, "x", {"mean": 1}]
    assert plots.learning_curve({"curve": curve}, 100.0) == [(1, 50.0, 10.0)]
    assert plots.learning_curve({"curve": "none"}, 100.0) == []
    assert plots.learning_curve({}, 100.0) == []


def test_a_long_curve_is_thinned() -> None:
    curve = [{"iteration": i, "mean": 0.5, "ci95": 0.1} for i in range(1001)]
    points = plots.learning_curve({"curve": curve}, 100.0)
    assert len(points) == 30
    assert [p[0] for p in points[:3]] == [0, 34, 68]


def test_a_curve_of_one_or_two_points_is_not_drawn(tmp_path: Path) -> None:
    one = record(mean=0.95)
    one["curve"] = [{"iteration": i, "mean": 0.9, "ci95": 0.01} for i in (400, 800)]
    (line,) = board_of(tmp_path, one).lines
    assert plots.learning(line) == ""
    cell = board_of(tmp_path, control_record("oracle", means=(400.0,))).run[-1]
    assert plots.adaptations([cell]) == ""


def test_seeds_stand_beside_their_mean_with_both_intervals(tmp_path: Path) -> None:
    found = html(board_of(tmp_path, *(record(seed=s, mean=0.9865 + s / 1000, spread=0.01) for s in range(3))))
    assert "<td>all</td><td>98.75 ± 0.08 over tasks, ± 0.25 over seeds</td>" in found
    assert "<td>2</td><td>98.85 ± 0.08</td>" in found


def test_ours_and_the_published_curve_of_adaptation_are_drawn_together(tmp_path: Path) -> None:
    board = board_of(tmp_path, control_record("maml", "cheetah-dir-maml", means=(-40.0, 290.0, 310.0)))
    svg = ElementTree.fromstring(plots.adaptations(board.run))
    markers = [use for use in svg.iter("{http://www.w3.org/2000/svg}use") if "--maml" in use.get("style", "")]
    assert len(markers) >= 3 + 4
    assert "<td>3</td><td>–</td><td>315.65 ± 14.02</td>" in html(board)


def test_an_algorithm_has_one_colour_and_a_verdict_another() -> None:
    assert {look_of(name) for name in ("maml", "my-own")} == {"maml", "other"}
    for theme in (0, 1):
        verdicts = {pair[theme] for pair in VERDICTS.values()}
        assert not verdicts & {look[theme] for look in LOOKS.values()}
        for page, look in ((("#ffffff", "#15171c")[theme], look) for look in LOOKS.values()):
            assert contrast(look[theme], page) >= 3
    assert {tone(word) for word in WORDS} == {"good", "bad", "open"}


@pytest.mark.parametrize("theme", [0, 1])
def test_the_learners_colours_stay_apart_for_the_colour_blind(theme: int) -> None:
    """Through Viénot et al. 1999's picture of protanopia and deuteranopia no two come near each other."""
    names = ("maml", "anil", "meta-sgd", "protonet", "metaoptnet")
    for blind in (
        ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0)),
        ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0)),
    ):
        seen = {name: [sum(w * v for w, v in zip(row, linear(LOOKS[name][theme]))) for row in blind] for name in names}
        for one in names:
            for other in names[names.index(one) + 1 :]:
                gap = sum((max(a, 0) ** 0.45 - max(b, 0) ** 0.45) ** 2 for a, b in zip(seen[one], seen[other])) ** 0.5
                assert gap > 0.11, (one, other, gap)


def linear(colour: str) -> list[float]:
    """Red, green and blue of "#rrggbb" as light."""
    values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in values]


def contrast(one: str, other: str) -> float:
    """As WCAG 2 defines it."""
    low, high = sorted(sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear(c))) for c in (one, other))
    return (high + 0.05) / (low + 0.05)


def gif(pictures: int, size: tuple[int, int], noise: bool = False) -> bytes:
    """A moving picture."""
    buffer = io.BytesIO()
    frames = [Image.effect_noise(size, 90) if noise else Image.new("L", size, 20 * i) for i in range(pictures)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=100)
    return buffer.getvalue()


def filmed(folder: Path, content: bytes) -> Cell:
    """A row with a film of this content."""
    good = record(mean=0.95)
    (folder / "figures").mkdir()
    (folder / "figures" / file_name(good).replace(".json", ".gif")).write_bytes(content)
    return board_of(folder, good).run[0]


def test_the_film_lies_in_the_page_small_and_for_who_wants_it_still(tmp_path: Path) -> None:
    cell = filmed(tmp_path, gif(12, (640, 480)))
    assert cell.line
    found = film.embedded(cell.line)
    assert found
    assert (found.width, found.height) == (film.WIDTH, 216)
    for address, pictures in ((found.moving, 12), (found.still, 1)):
        with Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/webp;base64,")))) as picture:
            assert (picture.size, picture.n_frames) == ((film.WIDTH, 216), pictures)
    page = html(assemble(tmp_path))
    assert f'srcset="{found.still}"' in page
    assert f'<a href="figures/{found.file}"><picture>' in page
    assert page.count("data:image/webp") == 2


def test_a_film_that_cannot_be_made_small_or_read_is_linked_only(tmp_path: Path) -> None:
    cell = filmed(tmp_path, b"GIF89a and more")
    assert cell.line
    assert film.embedded(cell.line) is None
    page = html(assemble(tmp_path))
    assert "<img" not in page
    assert f'<a href="figures/{cell.line.figures[0].file}">film</a>' in page
