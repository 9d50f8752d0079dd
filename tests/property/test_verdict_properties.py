"""What a verdict must respect whatever the numbers: never a comparison across protocols, no order, no surprise."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bench.leaderboard.protocol import CONTROL_FIELDS, NOTED, UNSTATED, VISION_FIELDS
from bench.leaderboard.verdict import WORDS, verdict
from bench.records.rows import Row
from tests.support.synthetic import control_record, entry, record

TASKS = 20
MEANS = st.floats(0.2, 0.8)
LEVELS = st.sampled_from(["primary", "official-repo", "secondary", "issue", "memory"])
DECISIVE = sorted(set(VISION_FIELDS) - NOTED - {"queries"})
VALUES: dict[type, st.SearchStrategy[Any]] = {
    str: st.sampled_from(["vinyals", "transductive", "running", "conv4-64", "x/y"]),
    int: st.integers(1, 90),
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


@settings(max_examples=60, deadline=None)
@given(low=MEANS, high=MEANS, others=protocols(), level=LEVELS, value=st.floats(0, 100), width=st.floats(0, 20))
def test_a_higher_score_never_makes_it_worse(
    low: float, high: float, others: dict[str, Any], level: str, value: float, width: float
) -> None:
    rank = {"below": 0, "reproduced": 1}
    reference = entry(value, width, verification=level, protocol=others)
    worse, better = (verdict(Row((ours(m),)), reference).word for m in sorted([low, high]))
    assert (worse in rank) == (better in rank)
    assert rank.get(worse, 0) <= rank.get(better, 0)


@settings(max_examples=60, deadline=None)
@given(mean=MEANS, others=protocols(), value=st.floats(0, 100), width=st.floats(0, 20))
def test_a_recalled_number_decides_nothing(mean: float, others: dict[str, Any], value: float, width: float) -> None:
    found = verdict(Row((ours(mean),)), entry(value, width, verification="memory", protocol=others))
    assert found.word == "unverified reference"


@settings(max_examples=60, deadline=None)
@given(mean=MEANS, value=st.floats(0, 100), level=LEVELS, width=st.floats(0, 20))
def test_reproduced_means_ours_reaches_the_published_interval(
    mean: float, value: float, level: str, width: float
) -> None:
    row = Row((ours(mean),))
    found = verdict(row, entry(value, width, verification=level))
    assert row.measured is not None
    lead = row.measured.mean + row.measured.ci95 - (value - width)
    assume(abs(lead) > 1e-9)
    if level != "memory":
        assert found.word == ("reproduced" if lead > 0 else "below")


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
    theirs = {f: mine["protocol"][f] if f in stated else UNSTATED for f in CONTROL_FIELDS}
    # Of the numbers of updates, those differ after which no score was recorded.
    taken = range(len(mine["test"]["updates"])) if field == "updates" else [mine["protocol"][field]]
    theirs[field] = data.draw(VALUES[CONTROL_FIELDS[field]].filter(lambda v: v not in taken))
    found = verdict(Row((mine,)), entry(value, 50.0, metric="return", protocol=theirs))
    assert found.word == "not comparable"
    assert field in {d.field for d in found.comparison.decisive}
    assert set(found.comparison.assumed) == {f for f in CONTROL_FIELDS if theirs[f] == UNSTATED}
