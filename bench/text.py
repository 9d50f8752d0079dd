"""Numbers and text as both pages of the leaderboard show them."""

from __future__ import annotations

from bench.published import Entry
from bench.results import Row


def ours(row: Row) -> str:
    """ "98.52 ± 0.21 (± 0.35 over 3 seeds)"."""
    m = row.measured
    if m is None:
        return "diverged"
    seeds = f" (± {m.seeds_ci95:.2f} over {m.seeds} seeds)" if m.seeds_ci95 is not None else ""
    return f"{m.mean:.2f} ± {m.ci95:.2f}{seeds}"


def published(entry: Entry) -> str:
    """ "98.7 ± 0.4 (Finn et al. 2017, Table 1)"."""
    kinds = {"std-over-seeds": f" std of {entry.interval.seeds} seeds", "unstated": " (undefined)"}
    half = entry.interval.half_width
    width = "" if half is None else f" ± {half:g}{kinds.get(entry.interval.kind, '')}"
    value = "curves only" if entry.value is None else f"{entry.value}"
    return f"{value}{width} ({entry.cite}, {entry.table})"


def one_line(text: str) -> str:
    """The text on one line, with a replacement character for each that cannot be printed."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


def duration(seconds: float) -> str:
    """ "1 h 05 min", "12 min" or "34 s"."""
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min" if seconds >= 60 else f"{seconds:.0f} s"
