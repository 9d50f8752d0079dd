"""The verdict on a row: what our measurement says about a published number.

    reproduced            same protocol; the intervals overlap, or ours is higher
    below                 same protocol; ours is lower and the intervals are apart, or a seed diverged
    not comparable        a decisive field of the protocol differs, or the source prints curves only
    unverified reference  the published number was recalled or read off a plot: it decides nothing
    not run               there is no record
    no published number   nothing was published for this algorithm on this benchmark: a metabench extension

Two intervals of ours are shown: over test episodes and over seeds. The verdict uses the one over test episodes: it is
what most papers print, and unlike the one over two or three seeds it is never so wide that everything overlaps. The
published ± is taken as it is printed, whatever it is (for a standard deviation over three seeds that is close to a 95 %
half-width of their mean, 1.96 s / √3 = 1.13 s); a number printed without one is taken as exact.

A return is recorded after 0 … K updates: compared is the one after as many as the source says, or after one where it is
silent, and then the number of updates is among what is assumed.

Which fields of a protocol are decisive is said in `protocol`. A shorter schedule changes no verdict: it is a label on
the row, with the iterations of both.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.leaderboard.protocol import Comparison, compare
from bench.leaderboard.published import Entry
from bench.records.rows import Measured, Row

UNVERIFIED = {"memory": "recalled, not read in the source", "figure": "read off a plot"}
"""How a number was found that decides nothing -> why."""

WORDS = ("reproduced", "below", "not comparable", "unverified reference", "not run", "no published number")


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


def verdict(row: Row | None, entry: Entry | None) -> Verdict:
    """What the records of a row say about a published number.

    Args:
        row: our records, or None if there are none.
        entry: the published number, or None if there is none.
    """
    if row is None:
        return Verdict("not run", "no record")
    schedule = _schedule(row, entry)
    if entry is None:
        return Verdict("no published number", "nothing is published for it", Comparison(), row.measured, schedule)
    if row.first["metric"] != entry.metric:
        reason = f"published is {_article(entry.metric)}, this run measured {_article(row.first['metric'])}"
        return Verdict("not comparable", reason, Comparison(), row.measured, schedule)
    stated = entry.protocol.get("updates")
    measured = row.after(stated if type(stated) is int else None)
    comparison = compare(row.protocol(measured), entry.protocol, entry.metric)
    word, reason = _decide(measured, row, entry, comparison)
    return Verdict(word, reason, comparison, measured, schedule)


def _decide(measured: Measured | None, row: Row, entry: Entry, comparison: Comparison) -> tuple[str, str]:
    if entry.verification in UNVERIFIED:
        return "unverified reference", UNVERIFIED[entry.verification]
    if entry.value is None:
        return "not comparable", "the source prints curves only"
    if comparison.decisive:
        return "not comparable", "published with " + "; ".join(map(str, comparison.decisive))
    if measured is None or row.diverged:
        return "below", f"training diverged with seed {', '.join(map(str, row.diverged))}"
    gap = entry.value - measured.mean
    reach = measured.ci95 + (entry.interval.half_width or 0.0)
    silent = _silent(row, entry, comparison)
    if gap <= 0:
        return "reproduced", f"{-gap:.2f} above the published number{silent}"
    if gap <= reach:
        return "reproduced", f"{gap:.2f} lower, within both intervals (together ± {reach:.2f}){silent}"
    return "below", f"{gap:.2f} lower, beyond both intervals (together ± {reach:.2f}){silent}"


def _silent(row: Row, entry: Entry, comparison: Comparison) -> str:
    """How much the source leaves open, its horizon by name, since every return grows with it; and what is assumed."""
    parts = []
    if comparison.assumed:
        parts.append(f"{len(comparison.assumed)} protocol fields unstated")
    if "horizon" in comparison.assumed:
        parts[-1] += f", the horizon (here {row.first['protocol'].get('horizon')}) among them"
    if row.first["benchmark"] in entry.beside:
        parts.append(f"taken for granted: {entry.beside[row.first['benchmark']]}")
    return "".join(f"; {part}" for part in parts)


def _schedule(row: Row, entry: Entry | None) -> str:
    iterations = row.first["recipe"]["iterations"]
    published = entry.training.get("iterations") if entry is not None else None
    if row.schedule == "paper" and published in (None, iterations):
        return ""
    return f"{row.schedule} schedule: {iterations} iterations" + (f", published {published:.0f}" if published else "")


def _article(metric: str) -> str:
    return f"an {metric}" if metric[0] in "aeiou" else f"a {metric}"
