"""What a verdict must respect whatever the numbers: never a comparison across protocols, no order, no surprise."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from metabench.bench.leaderboard.protocol import CONTROL_FIELDS, NOTED, UNSTATED, VISION_FIELDS
from metabench.bench.leaderboard.published import Point
from metabench.bench.leaderboard.verdict import WORDS, judge, verdict
from metabench.bench.records.protocol import protocol_of
from metabench.bench.records.rows import Row
from tests.support.synthetic import control_record, entry, record

TASKS = 20
MEANS = st.floats(0.2, 0.8)
LEVELS = st.sampled_from(["primary", "official-repo", "secondary", "issue", "memory"])
DECISIVE = sorted(set(VISION_FIELDS) - NOTED - {"queries"})
VALUES: dict[type, st.SearchStrategy[Any]] = {
    str: st.sampled_from(["vinyals", "transductive", "running", "conv4-64", "x/y"]),
    int: st.integers(1, 90),
    float: st.sampled_from([0.0, 0.01, 0.05, 0.1]),
    bool: st.booleans(),
}


def ours(mean: float, spread: float = 0.1, seed: int = 0, protocol: Any = None) -> dict[str, Any]:
    return record(mean=mean, spread=spread, seed=seed, protocol=protocol, test_tasks=TASKS)


@st.composite
def protocols(draw: st.DrawFn) -> dict[str, Any]:
    """Some fields of a published protocol, changed or left unstated."""
    names = draw(st.lists(st.sampled_from(sorted(VISION_FIELDS)), unique=True))
    return {name: draw(st.one_of(st.just(UNSTATED), VALUES[VISION_FIELDS[name]])) for name in names}


@settings(max_examples=60, deadline=None)
@given(mean=MEANS, field=st.sampled_from(DECISIVE), others=protocols(), data=st.data(), value=st.floats(0, 100))
def test_never_decided_where_a_decisive_field_differs(
    mean: float, field: str, others: dict[str, Any], data: st.DataObject, value: float
) -> None:
    mine = ours(mean)
    other = data.draw(VALUES[VISION_FIELDS[field]].filter(lambda v: v != mine["protocol"][field]))
    found = verdict(Row((mine,)), entry(value, protocol={**others, field: other}))
    assert found.word == "not comparable"
    assert field in {d.field for d in found.comparison.decisive}
    assert field.replace("_", " ") in found.reason


@settings(max_examples=60, deadline=None)
@given(others=protocols(), level=LEVELS, mean=MEANS, data=st.data())
def test_the_order_of_fields_and_records_is_nothing(
    others: dict[str, Any], level: str, mean: float, data: st.DataObject
) -> None:
    records = [ours(mean, seed=s) for s in range(3)]
    reference = entry(50.0, 1.0, verification=level, protocol=others)
    found = verdict(Row(tuple(records)), reference)
    fields = data.draw(st.permutations(list(reference.protocol)))
    shuffled = dataclasses.replace(reference, protocol={f: reference.protocol[f] for f in fields})
    for mine in records:
        order = data.draw(st.permutations(list(mine["protocol"])))
        mine["protocol"] = {f: mine["protocol"][f] for f in order}
    assert verdict(Row(tuple(data.draw(st.permutations(records)))), shuffled) == found
    assert found.word in WORDS


RANK = {"below": 0, "no evidence": 1, "reproduced": 2, "above": 3}
SCORES = st.floats(-1000, 1000)
WIDTHS = st.floats(0, 500)
POINTS = st.builds(Point, SCORES, WIDTHS)
FLOORS = st.one_of(st.none(), POINTS)


@settings(max_examples=60, deadline=None)
@given(low=MEANS, high=MEANS, others=protocols(), level=LEVELS, value=st.floats(0, 100), width=st.floats(0, 20))
def test_a_higher_score_never_makes_it_worse(
    low: float, high: float, others: dict[str, Any], level: str, value: float, width: float
) -> None:
    reference = entry(value, width, verification=level, protocol=others)
    found = (verdict(Row((ours(m),)), reference).word.partition(",")[0] for m in sorted([low, high]))
    worse, better = found
    assert (worse in RANK) == (better in RANK)
    assert RANK.get(worse, 0) <= RANK.get(better, 0)


@given(low=SCORES, high=SCORES, width=WIDTHS, published=POINTS, least=FLOORS)
def test_the_order_of_scores_is_that_of_verdicts(
    low: float, high: float, width: float, published: Point, least: Point | None
) -> None:
    worse, better = (judge(Point(m, width), published, least) for m in sorted([low, high]))
    assert RANK[worse] <= RANK[better]


@given(ours=POINTS, published=POINTS)
def test_without_a_floor_either_number_may_be_the_other(ours: Point, published: Point) -> None:
    """And mirrored scores get the mirrored word."""
    mirror = {"below": "above", "above": "below", "reproduced": "reproduced"}
    assert judge(published, ours, None) == mirror[judge(ours, published, None)]
    turned = (Point(-p.value, p.half_width) for p in (ours, published))
    assert judge(*turned, None) == mirror[judge(ours, published, None)]


@given(ours=POINTS, published=POINTS, least=FLOORS, scale=st.floats(1e-3, 1e3), shift=SCORES)
def test_the_unit_of_a_score_is_nothing(
    ours: Point, published: Point, least: Point | None, scale: float, shift: float
) -> None:
    points = (ours, published) + (() if least is None else (least,))
    assume(_clear(ours, published, least))
    moved = [Point(scale * p.value + shift, scale * p.half_width) for p in points]
    assert judge(moved[0], moved[1], moved[2] if least else None) == judge(ours, published, least)


def _clear(ours: Point, published: Point, least: Point | None) -> bool:
    """No comparison hangs on a rounding error."""
    reach = math.hypot(ours.half_width, published.half_width)
    close = [abs(ours.value - published.value) - reach]
    if least is not None:
        close += [
            ours.value - least.value - math.hypot(ours.half_width, least.half_width),
            (published.value - least.value) / 2 - reach,
        ]
    return min(map(abs, close)) > 1e-6


@given(value=SCORES, gap=st.floats(0.1, 1.9), widths=st.tuples(st.floats(0.1, 500), st.floats(0.1, 500)))
def test_independent_errors_add_in_quadrature(value: float, gap: float, widths: tuple[float, float]) -> None:
    """Whichever of the two has which."""
    assume(abs(gap - 1) > 1e-6)
    one, other = widths
    lower = value - gap * math.sqrt(one**2 + other**2)
    expected = "reproduced" if gap < 1 else "below"
    assert judge(Point(lower, one), Point(value, other), None) == expected
    assert judge(Point(lower, other), Point(value, one), None) == expected


@given(ours=POINTS, published=POINTS, least=POINTS)
def test_no_word_of_success_without_a_lead_over_the_floor(ours: Point, published: Point, least: Point) -> None:
    word = judge(ours, published, least)
    if word in ("reproduced", "above"):
        assert ours.value - least.value > max(ours.half_width, least.half_width)
    if word == "reproduced":
        half_way = (published.value + least.value) / 2
        assert published.value > least.value
        assert half_way - 1e-6 <= ours.value <= 2 * published.value - half_way + 1e-6
    assert (word == "below") == (judge(ours, published, None) == "below")


@given(ours=POINTS, published=POINTS, least=POINTS, factor=st.floats(0, 1))
def test_a_narrower_floor_or_a_lower_one_takes_nothing_away(
    ours: Point, published: Point, least: Point, factor: float
) -> None:
    before = judge(ours, published, least)
    for easier in (Point(least.value, factor * least.half_width), Point(least.value - 1, least.half_width), None):
        assert RANK[before] <= RANK[judge(ours, published, easier)]


@settings(max_examples=60, deadline=None)
@given(mean=MEANS, others=protocols(), value=st.floats(0, 100), width=st.floats(0, 20))
def test_a_recalled_number_decides_nothing(mean: float, others: dict[str, Any], value: float, width: float) -> None:
    found = verdict(Row((ours(mean),)), entry(value, width, verification="memory", protocol=others))
    assert found.word == "unverified reference"


@settings(max_examples=60, deadline=None)
@given(mean=MEANS, value=st.floats(0, 100), level=LEVELS, width=st.floats(0, 20))
def test_a_row_is_judged_by_its_interval_over_tasks_and_a_guess(
    mean: float, value: float, level: str, width: float
) -> None:
    row = Row((ours(mean),))
    measured = row.measured
    assert measured is not None
    found = verdict(row, entry(value, width, verification=level))
    if level != "memory":
        own = Point(measured.mean, measured.ci95)
        assert found.word == judge(own, Point(value, width), Point(20.0, 0.0))


@settings(max_examples=60, deadline=None)
@given(
    field=st.sampled_from(sorted(set(CONTROL_FIELDS) - NOTED)),
    stated=st.sets(st.sampled_from(sorted(CONTROL_FIELDS))),
    data=st.data(),
    value=st.floats(-500, 500),
)
def test_a_return_is_never_decided_where_a_decisive_field_differs(
    field: str, stated: set[str], data: st.DataObject, value: float
) -> None:
    mine = control_record()
    own = protocol_of(mine)
    theirs = {f: own[f] if f in stated else UNSTATED for f in CONTROL_FIELDS}
    # Of the numbers of updates, those differ after which no score was recorded.
    taken = range(len(mine["test"]["updates"])) if field == "updates" else [mine["protocol"][field]]
    theirs[field] = data.draw(VALUES[CONTROL_FIELDS[field]].filter(lambda v: v not in taken))
    found = verdict(Row((mine,)), entry(value, 50.0, metric="return", protocol=theirs))
    assert found.word == "not comparable"
    assert field in {d.field for d in found.comparison.decisive}
    assert set(found.comparison.assumed) == {f for f in CONTROL_FIELDS if theirs[f] == UNSTATED}
