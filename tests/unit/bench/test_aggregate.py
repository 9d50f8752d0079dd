"""Algorithms side by side: which scores are drawn together, and that the same scores give the same picture."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from metabench.bench.leaderboard.aggregate import LARGEST, PANELS, Panel, Sample, duels, panels
from metabench.bench.leaderboard.board import Cell, Line, assemble
from metabench.bench.leaderboard.plots import improvement, interquartile_means, profiles
from tests.support.synthetic import control_record, record, row, write

PUBLISHED = Path(__file__).parents[3] / "results" / "published.yaml"


@pytest.fixture
def cells(tmp_path: Path) -> tuple[Cell, ...]:
    shutil.copy(PUBLISHED, tmp_path / "published.yaml")
    write(
        tmp_path,
        *(record(seed=s, mean=0.9 + s / 100, spread=0.05) for s in range(2)),
        record(schedule="short", mean=0.5),
        record("maml-noconv", mean=0.88, spread=0.05),
        record("protonet", mean=0.92, spread=0.05),
        record("protonet", "omniglot-20w1s", mean=0.8),
        record("anil", diverged=True),
        control_record("maml"),
        control_record("oracle", means=(400.0,)),
    )
    return assemble(tmp_path).cells


def test_rows_are_side_by_side_where_they_were_asked_the_same_episodes(cells: tuple[Cell, ...]) -> None:
    """ProtoNet's have 15 queries and MAML's one; one algorithm alone is no comparison; what diverged has no scores."""
    (images,) = panels(cells, "accuracy")
    assert images.benchmark == "omniglot-5w1s"
    assert [(s.algorithm, s.number, s.scores.shape) for s in images.samples] == [
        ("maml", 0, (2, 600)),
        ("maml-noconv", 1, (1, 600)),
    ]
    # The table's row, of the paper's schedule, stands for maml, in percent.
    assert images.samples[0].scores.mean() == pytest.approx(90.5)
    (control,) = panels(cells, "return")
    assert [(s.algorithm, float(s.scores.mean())) for s in control.samples] == [("maml", 160.0), ("oracle", 400.0)]
    assert panels((), "return") == ()


def test_what_is_drawn_has_a_limit() -> None:
    def cell(algorithm: str, benchmark: str, seeds: int) -> Cell:
        records = row(*(control_record(algorithm, benchmark, seed=s) for s in range(seeds)))
        line = Line(records, None, None, (), "", ())  # type: ignore[arg-type]
        return Cell(algorithm, benchmark, "return", line, (), None, ())

    many = [cell(name, f"cheetah-dir-{i}", 1) for i in range(PANELS + 3) for name in ("maml", "anil")]
    assert [p.benchmark for p in panels(many, "return")] == [f"cheetah-dir-{i}" for i in range(PANELS)]
    (panel,) = panels([cell("maml", "cheetah-dir", 300), cell("anil", "cheetah-dir", 1)], "return")
    assert panel.samples[0].scores.shape == (LARGEST // 40, 40)


def sample(name: str, style: int, scores: list[list[float]]) -> Sample:
    return Sample(name, style, np.array(scores))


def test_the_better_one_of_a_pair_comes_first() -> None:
    a, b, c = (sample("a", 0, [[1.0, 2.0]]), sample("b", 1, [[2.0, 3.0]]), sample("c", 2, [[5.0, 5.0]]))
    first, second = duels([Panel("one", (a, b)), Panel("two", (sample("b", 1, [[0.0, 9.0]]), c))])
    # b wins 3 of 4 and ties one; then b and c win 2 of 4 each.
    assert (first.better, first.worse, first.benchmarks, float(first.probability.value)) == ("b", "a", 1, 0.875)
    assert first.probability.low <= first.probability.value <= first.probability.high
    assert (second.better, second.worse, float(second.probability.value)) == ("b", "c", 0.5)


def test_a_pair_is_averaged_over_the_benchmarks_that_both_ran() -> None:
    both = [
        Panel("one", (sample("a", 0, [[3.0]]), sample("b", 1, [[1.0]]))),
        Panel("two", (sample("a", 0, [[3.0]]), sample("b", 1, [[3.0]]))),
        Panel("three", (sample("b", 1, [[9.0]]),)),
    ]
    (duel,) = duels(both)
    assert (duel.better, duel.benchmarks, tuple(map(float, duel.probability))) == ("a", 2, (0.75, 0.75, 0.75))


def test_pictures_are_the_same_each_time_and_follow_the_pages_colours(cells: tuple[Cell, ...]) -> None:
    for metric in ("accuracy", "return"):
        drawn = panels(cells, metric)
        again = panels(cells, metric)
        for panel, twin in zip(drawn, again):
            for draw in (interquartile_means, profiles):
                svg = draw(panel, "score")
                assert svg == draw(twin, "score")
                ElementTree.fromstring(svg)
                assert "var(--maml)" in svg
                assert "<metadata" not in svg
                assert "<style" not in svg
                assert "#0f00" not in svg
        assert improvement(list(duels(drawn)), metric) == improvement(list(duels(again)), metric)


def test_a_picture_shows_the_mean_where_the_axis_says() -> None:
    """Two algorithms at 10 and 30 without a spread: their markers are as far apart as the ticks 10 and 30."""
    svg = interquartile_means(Panel("one", (sample("a", 0, [[10.0] * 4]), sample("b", 1, [[30.0] * 4]))), "return")
    tree = ElementTree.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    ticks = {t.text: float(t.get("x", "nan")) for t in tree.iter(f"{space}text")}
    markers = [float(u.get("x", "nan")) for u in tree.iter(f"{space}use") if "--other" in u.get("style", "")]
    assert sorted(set(markers)) == pytest.approx([ticks["10"], ticks["30"]], abs=0.11)


def test_coordinates_are_cut_and_what_is_written_is_not() -> None:
    svg = profiles(Panel("one", (sample("a", 0, [[0.0, 1.0]]), sample("b", 1, [[0.0, 2.0]]))), "return")
    texts = [t.text for t in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert [t for t in texts if t and len(t) == 4 and t[1] == "."] == ["0.00", "0.25", "0.50", "0.75", "1.00"]
    assert not re.search(r' (?:d|x|y)="[^"]*\.\d\d', svg)
    assert "opacity: 0.18" in svg


def test_one_value_for_all_can_be_drawn() -> None:
    panel = Panel("one", (sample("a", 0, [[0.0, 0.0]]),))
    assert "<svg" in interquartile_means(panel, "return")
    assert "<svg" in profiles(panel, "return")
