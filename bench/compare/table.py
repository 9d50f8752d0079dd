"""A comparison of two sets of records as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from metabench.bench.records.statistics import Interval
from metabench.bench.text import one_line

if TYPE_CHECKING:
    from metabench.bench.compare.command import Comparison

JSON_SCHEMA = 1

COLUMNS = ("row", "A", "B", "B − A (95 %)", "over seeds", "P(B > A)", "B is")


def table(found: Sequence[Comparison], total: Interval | None, a: str, b: str) -> Group:
    """A line a row, then what each row differs in."""
    shown = Table(title=one_line(f"A {a}, B {b}"), title_justify="left")
    rows = [dict(zip(COLUMNS, (c.name, *_cells(c)), strict=True)) for c in found]
    columns = [column for column in COLUMNS if column != "over seeds" or any(row[column] for row in rows)]
    for column in columns:  # folded, not cut: the end of a name may be all that tells two rows apart
        shown.add_column(column, justify="left" if column == "row" else "right", overflow="fold")
    for row in rows:
        shown.add_row(*(row[column] for column in columns))
    lines = [Text(f"{c.name}: {_differs(c)}") for c in found]
    if total is not None:
        lines.append(Text(f"P(B > A) averaged over rows: {_probability(total)}"))
    return Group(shown, *lines)


def _cells(c: Comparison) -> tuple[str, ...]:
    if c.means is None or c.difference is None or c.over_tasks is None or c.improvement is None:
        return ("", "", "", "", "", "diverged on one side")
    runs = [f"{mean:.2f} ({len(s)} seed{'s' * (len(s) != 1)})" for mean, s in zip(c.means, c.seeds, strict=True)]
    by = "paired" if c.paired else "other tasks"
    seeds = "" if c.over_seeds is None else f"± {c.over_seeds:.2f}"
    return (
        *runs, f"{c.difference:+.2f} ± {c.over_tasks:.2f} {by}", seeds, _probability(c.improvement), direction(c)
    )  # fmt: skip


def direction(c: Comparison) -> str:
    """ "higher" or "lower" where the difference leaves both its intervals, else "not shown to differ"."""
    if c.difference is None or c.over_tasks is None or abs(c.difference) <= max(c.over_tasks, c.over_seeds or 0.0):
        return "not shown to differ"
    return "higher" if c.difference > 0 else "lower"


def _probability(p: Interval) -> str:
    return f"{float(p.value):.3f} ({float(p.low):.3f} to {float(p.high):.3f})"


def _differs(c: Comparison) -> str:
    """One line; a value from a record is data, so nothing in it can style the terminal."""
    parts = [f"{name} {one_line(str(x)):.60} | {one_line(str(y)):.60}" for name, (x, y) in c.differs.items()]
    return "same recipe, protocol, code and versions" if not parts else "; ".join(parts)


def as_json(found: Sequence[Comparison], total: Interval | None) -> dict[str, Any]:
    """All of it."""
    rows = [
        {
            "row": c.name,
            "metric": c.metric,
            "seeds": c.seeds,
            "means": c.means,
            "difference": c.difference,
            "ci95_over_tasks": c.over_tasks,
            "ci95_over_seeds": c.over_seeds,
            "same_test_tasks": c.paired,
            "probability_of_improvement": _interval(c.improvement),
            "b_is": direction(c),
            "differs": c.differs,
        }
        for c in found
    ]
    return {"rows": rows, "probability_of_improvement": _interval(total)}


def _interval(p: Interval | None) -> dict[str, float] | None:
    return None if p is None else {"value": float(p.value), "low": float(p.low), "high": float(p.high)}
