"""The verdict on a row: what our measurement says about a published number.

Let d be ours less the published number, and r = √(h² + p²) what their two 95 % half-widths are together, since the
errors are independent. The floor is a score that needs no learning (see `floor`), the lead what the published number
has over it. The first line that holds decides:

    word                  when
    not run               there is no record
    no published number   nothing was published for this algorithm on this benchmark: a metabench extension
    unverified reference  the published number was recalled, or read off a plot: it decides nothing
    not comparable        a decisive field of the protocol differs, or the source prints curves only
    below                 d < -r, or a seed diverged
    no evidence           ours does not lie above the floor by more than both their half-widths together; or |d| <= r,
                          but r is more than half of the lead, so that intervals this wide could not tell the published
                          number from one half-way down to the floor; or no floor was recorded
    above                 d > r
    reproduced            |d| <= r: equivalent, within a margin of half the lead

"Above" reaches the published number and is told apart, since a reproduction is no improvement. Baselines make no claim
to have learned, and need no floor.

"Below", "above" and "reproduced" go on "protocol unstated" where the source leaves more than half of the decisive
fields open; "above" does too where a field of the test task is among them, because a number that is too good is then
the sign of another task.

Half-widths are those over test tasks: it is what most papers print, and unlike the one over two or three seeds it is
never so wide that everything overlaps. A published standard deviation over seeds is turned into the interval of their
mean; a number printed without an interval has ours over as many test tasks as the source says, and is taken as exact
where it does not say. A return is recorded after 0 … K updates: compared is the
one after as many as the source says, or as we trained for where it is silent, and then the number of updates is among
what is assumed.

Which fields of a protocol are decisive is said in `protocol`. A shorter schedule changes no verdict: it is a label on
the row, with the iterations of both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from metabench.bench.leaderboard.floor import CLAIMLESS, UNTRAINED, Floor, floor
from metabench.bench.leaderboard.protocol import Comparison, compare
from metabench.bench.leaderboard.published import Entry, Point
from metabench.bench.records.rows import Measured, Row
from metabench.bench.worlds.command import schedule

OPEN = ", protocol unstated"
"""How the word of a verdict goes on where the source leaves most of its protocol open."""

WORDS = (
    "reproduced", "reproduced" + OPEN, "above", "above" + OPEN, "below", "below" + OPEN, "no evidence",
    "not comparable", "unverified reference", "not run", "no published number",
)  # fmt: skip

UNVERIFIED = {"memory": "recalled, not read in the source", "figure": "read off a plot"}
"""How a number was found that decides nothing -> why."""


@dataclass(frozen=True)
class Verdict:
    """A word, why, and the protocols side by side."""

    word: str
    """One of `WORDS`."""
    reason: str
    comparison: Comparison = field(default_factory=Comparison)
    measured: Measured | None = None
    """Our score that was compared; None where no seed completed or there is no record."""
    schedule: str = ""
    """The label of a row that was not trained for as long as, or not as, the published one; else empty."""


def verdict(row: Row | None, entry: Entry | None, rows: Sequence[Row] = ()) -> Verdict:
    """What the records of a row say about a published number.

    Args:
        row: our records, or None if there are none.
        entry: the published number, or None if there is none.
        rows: all of ours, among which the floor is looked for.
    """
    if row is None:
        return Verdict("not run", "no record")
    label = _schedule(row, entry)
    if entry is None:
        return Verdict("no published number", "nothing is published for it", Comparison(), row.measured, label)
    if row.first["metric"] != entry.metric:
        reason = f"published is {_article(entry.metric)}, this run measured {_article(row.first['metric'])}"
        return Verdict("not comparable", reason, Comparison(), row.measured, label)
    stated = entry.protocol.get("updates")
    measured = row.after(stated if type(stated) is int else None)
    comparison = compare(row.protocol(measured), entry.protocol, entry.metric)
    word, reason = _decide(measured, row, entry, comparison, rows)
    return Verdict(word, reason, comparison, measured, label)


def judge(ours: Point, published: Point, least: Point | None) -> str:
    """The word for three scores: "below", "no evidence", "above" or "reproduced" (see the module).

    Args:
        least: the floor; None where the claim needs none.
    """
    gap, reach = ours.value - published.value, together(ours, published)
    if gap < -reach:
        return "below"
    if least is not None and ours.value - least.value <= together(ours, least):
        return "no evidence"
    if gap > reach:
        return "above"
    if least is not None and reach > (published.value - least.value) / 2:
        return "no evidence"
    return "reproduced"


def published_width(entry: Entry, measured: Measured, row: Row) -> float:
    """The half-width of the published number: as printed, else of ours over as many test tasks as the source had."""
    tasks = entry.protocol.get("test_tasks")
    if entry.interval.half_width is not None or type(tasks) is not int:
        return entry.interval.ci95
    return measured.ci95 * math.sqrt(len(row.complete[0]["per_task"]) / tasks)


def together(one: Point, other: Point) -> float:
    """The half-width of the difference of two independent scores."""
    return math.hypot(one.half_width, other.half_width)


def _decide(
    measured: Measured | None, row: Row, entry: Entry, comparison: Comparison, rows: Sequence[Row]
) -> tuple[str, str]:
    if entry.verification in UNVERIFIED:
        return "unverified reference", UNVERIFIED[entry.verification]
    if entry.value is None:
        return "not comparable", "the source prints curves only"
    if comparison.decisive:
        return "not comparable", "published with " + "; ".join(map(str, comparison.decisive))
    if measured is None or row.diverged:
        return "below" + _open("below", comparison), f"training diverged with seed {', '.join(map(str, row.diverged))}"
    ours, published = Point(measured.mean, measured.ci95), Point(entry.value, published_width(entry, measured, row))
    algorithm = row.first["algorithm"]
    found = None if algorithm in CLAIMLESS else floor(row, measured, rows)
    word = judge(ours, published, found and Point(found.value, found.half_width))
    if word != "below" and found is None and algorithm not in CLAIMLESS:
        word = "no evidence"
    parts = [_distance(ours, published), *_height(word, ours, published, found, row), *_silent(row, entry, comparison)]
    return word + _open(word, comparison), "; ".join(parts)


def _open(word: str, comparison: Comparison) -> str:
    wanting = comparison.mostly_open or (word == "above" and comparison.task_open)
    return OPEN if wanting and word + OPEN in WORDS else ""


def _distance(ours: Point, published: Point) -> str:
    gap, reach = ours.value - published.value, together(ours, published)
    side, place = "higher" if gap >= 0 else "lower", "within" if abs(gap) <= reach else "beyond"
    return f"{abs(gap):.2f} {side}, {place} both intervals (together ± {reach:.2f})"


def _height(word: str, ours: Point, published: Point, found: Floor | None, row: Row) -> list[str]:
    """How far above the floor, where that decides or is not a matter of course."""
    if word == "no evidence" and found is None:
        name = UNTRAINED[row.first["metric"]]
        return [f"no row of {name} under this protocol, which it would have to beat"]
    if found is None or (found.half_width == 0 and word != "no evidence"):
        return []
    lead, reach = ours.value - found.value, math.hypot(ours.half_width, found.half_width)
    height = f"{abs(lead):.2f} {'above' if lead >= 0 else 'below'} {found.name} (together ± {reach:.2f})"
    if word == "no evidence" and lead > reach:
        half = (published.value - found.value) / 2
        return [height, f"too wide an interval to tell the published number from one {half:.2f} nearer to {found.name}"]
    return [height]


def _silent(row: Row, entry: Entry, comparison: Comparison) -> list[str]:
    """How much the source leaves open, its horizon by name, since every return grows with it; and what is assumed."""
    parts = []
    if comparison.open:
        parts.append(f"{len(comparison.open)} of {len(comparison.deciding)} fields that decide unstated")
    if "horizon" in comparison.open:
        parts[-1] += f", the horizon (here {row.first['protocol'].get('horizon')}) among them"
    if row.first["benchmark"] in entry.beside:
        parts.append(f"taken for granted: {entry.beside[row.first['benchmark']]}")
    return parts


def _schedule(row: Row, entry: Entry | None) -> str:
    iterations = row.first["recipe"]["iterations"]
    published = entry.training.get("iterations") if entry is not None else None
    name = schedule(row.first)
    if name == "paper" and published in (None, iterations):
        return ""
    return f"{name} schedule: {iterations} iterations" + (f", published {published:.0f}" if published else "")


def _article(metric: str) -> str:
    return f"an {metric}" if metric[0] in "aeiou" else f"a {metric}"
