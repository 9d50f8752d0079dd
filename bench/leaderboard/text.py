"""Numbers and text as both pages of the leaderboard show them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from metabench.bench.leaderboard.board import Line
from metabench.bench.leaderboard.published import Entry
from metabench.bench.records.rows import Measured, Row


def ours(row: Row, measured: Measured | None) -> str:
    """ "98.52 ± 0.21 (± 0.35 over 3 seeds)", "-85.20 ± 3.10 after 1 update"; of a row, the score that is shown."""
    if measured is None:
        return "diverged"
    m = measured
    seeds = f" (± {m.seeds_ci95:.2f} over {m.seeds} seeds)" if m.seeds_ci95 is not None else ""
    return f"{m.mean:.2f} ± {m.ci95:.2f}{seeds}{after(row.first['metric'], m.updates)}"


def after(metric: str, updates: Any) -> str:
    """ " after 1 update" of a return, which has several numbers of them; empty for an accuracy, or where unstated."""
    if metric == "accuracy" or type(updates) is not int:
        return ""
    return f" after {updates} update{'' if updates == 1 else 's'}"


def published(entry: Entry) -> str:
    """ "98.7 ± 0.4 (Finn et al. 2017, Table 1)", "293.19 ± 17.23 after 1 update (Finn et al. 2017, Figure 5)"."""
    kinds = {"std-over-seeds": f" std of {entry.interval.seeds} seeds", "unstated": " (undefined)"}
    half = entry.interval.half_width
    width = "" if half is None else f" ± {half:g}{kinds.get(entry.interval.kind, '')}"
    if entry.value is None:
        return f"curves only ({entry.cite}, {entry.table})"
    return f"{entry.value}{width}{after(entry.metric, entry.protocol.get('updates'))} ({entry.cite}, {entry.table})"


def spread(values: Sequence[float]) -> str:
    """ "44.42 to 48.3 (8)": the least and the largest of so many; a dash for none."""
    if not values:
        return "–"
    return f"{min(values):g} to {max(values):g} ({len(values)})" if len(values) > 1 else f"{values[0]:g} (1)"


def adapted(line: Line) -> list[tuple[str, ...]]:
    """(updates, ours, published) after each number of updates that either has, a dash where one has none.

    Where no curve is published, (updates, ours).
    """
    row, theirs = line.row, line.reference.adaptation if line.reference is not None else ()
    known = row.complete[0]["test"]["updates"] if row.complete else []
    found = []
    for updates in sorted({*known, *range(len(theirs))}):
        measured = row.after(updates)
        mine = f"{measured.mean:.2f} ± {measured.ci95:.2f}" if measured and measured.updates == updates else "–"
        points = [f"{p.value:.2f} ± {p.half_width:.2f}" for p in theirs[updates : updates + 1]] or ["–"] * bool(theirs)
        found.append((str(updates), mine, *points))
    return found


def signed(value: float) -> str:
    """ "+1.37" or "−0.50"."""
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def links(entry: Entry) -> Iterator[tuple[str, str]]:
    """(name, address): of the paper, and of each repository or issue on GitHub that the number was read in."""
    if entry.url:
        yield "paper", entry.url
    for name, commit in re.findall(r"\b([\w-]+/[\w.-]+)@([0-9a-f]{7,40})\b", entry.source):
        yield name, f"https://github.com/{name}/tree/{commit}"
    for name, number in re.findall(r"\b([\w-]+/[\w.-]+) (?:issue|pull request) (\d+)", entry.source):
        yield f"{name} #{number}", f"https://github.com/{name}/issues/{number}"


def duration(seconds: float) -> str:
    """ "1 h 05 min", "12 min" or "34 s"."""
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min" if seconds >= 60 else f"{seconds:.0f} s"


def about(seconds: float) -> str:
    """ "3 days", "14 h", "12 min" or "34 s": an estimate, whose smaller parts are not known."""
    for unit, size, least in (("days", 86_400, 2), ("h", 3600, 1), ("min", 60, 1)):
        if seconds >= least * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
