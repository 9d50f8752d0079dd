"""`metabench check`: the regression gate. It runs a fixed, fast set of work and compares it with stored baselines.

The work is in `bench.gate.rows`, the test in `bench.gate.decide`. Exit status: 0 every row is good, 1 a row
regressed, 2 the run is broken (a row raised, or there is no baseline that fits).
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from metabench.bench.gate import baselines
from metabench.bench.gate.arguments import parse_check
from metabench.bench.gate.baselines import Baseline, BaselineError
from metabench.bench.gate.decide import ALPHA, ELSEWHERE, holm, score_p, speed_p, trace_fault
from metabench.bench.gate.report import Finding, markdown, status, table, write_junit
from metabench.bench.gate.rows import Row, rows
from metabench.bench.places import RESULTS, baselines_in
from metabench.bench.recipes.recipe import RecipeError
from metabench.bench.terminal import say, table_console
from metabench.bench.training.allocator import keep_freed_memory

BASELINES = RESULTS / "baselines" / "check.json"
"""The file that new baselines are written to."""
SLOWER = 0.2
"""Margin of a speed: a slow-down of 30 % is to be caught, and the same code's ratio to the yardstick has been seen to
drift by a tenth from one hour to another."""
LOOKS = 3
"""A speed that is not shown to be good is measured again, this often in all."""


@dataclass(frozen=True)
class Measured:
    """What came of one row: values, or why there are none."""

    row: Row
    values: tuple[float, ...]
    error: str
    seconds: float
    p: float = 0.0
    """The p-value of "worse by the margin or more"; a trace has none."""


def check(arguments: list[str]) -> int:
    """metabench check."""
    command = parse_check(arguments)
    chosen = [row for row in rows() if not command.only or any(text in row.name for text in command.only)]
    if not chosen:
        names = ", ".join(row.name for row in rows())
        raise RecipeError(f"no row has {' or '.join(map(repr, command.only))} in its name; the rows are: {names}")
    console = table_console()
    keep_freed_memory()
    path = command.baselines or baselines_in(RESULTS)
    if command.update:
        return update(chosen, path, command.baselines or BASELINES, console)
    known = baselines.read(path)
    fitting(chosen, known, path)
    findings = compare(chosen, known, console)
    console.print(table(findings))
    if command.junit is not None:
        write_junit(command.junit, findings)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with open(summary, "a", encoding="utf-8") as page:
            page.write(markdown(findings))
    return status(findings)


def fitting(chosen: Sequence[Row], known: dict[str, Baseline], path: Path) -> None:
    """Raise BaselineError unless there is a baseline for each row, of the same recipe."""
    for row in chosen:
        baseline = known.get(row.name)
        if baseline is None or baseline.recipe != row.work.recipe.digest():
            why = "has no baseline" if baseline is None else "has a baseline of another recipe"
            raise BaselineError(f"{path}: {row.name} {why}; measure it with: metabench check --update")


def compare(chosen: Sequence[Row], known: dict[str, Baseline], console: Console) -> list[Finding]:
    """Measure the rows and decide."""
    measured = []
    for row in chosen:
        measured.append(_measured_repeatedly(row, known[row.name]))
        say(f"{row.name}: {measured[-1].seconds:.1f} s", console)
    family = [m for m in measured if not m.error and m.row.kind != "trace"]
    adjusted = dict(zip((m.row.name for m in family), holm([m.p for m in family]), strict=True))
    return [_finding(m, known[m.row.name], adjusted.get(m.row.name, 1.0)) for m in measured]


def _measured_repeatedly(row: Row, baseline: Baseline) -> Measured:
    """A row and its p-value. A speed gets up to `LOOKS` looks; Bonferroni pays for the best of them."""
    if row.kind != "speed":
        m = _measured(row)
        differences = [b - a for a, b in zip(baseline.values, m.values, strict=False)]
        p = score_p(differences, row.work.margin) if len(m.values) == len(baseline.values) else 1.0
        return Measured(row, m.values, m.error, m.seconds, p)
    bound = baseline.values[0] * (1 + SLOWER)
    best, seconds = 1.0, 0.0
    for _ in range(LOOKS):
        m = _measured(row)
        seconds += m.seconds
        if m.error:
            break
        best = min(best, LOOKS * speed_p(m.values, bound))
        if best <= ALPHA / 100:
            break
    return Measured(row, m.values, m.error, seconds, min(1.0, best))


def _measured(row: Row) -> Measured:
    start = time.monotonic()
    values: tuple[float, ...] = ()
    error = ""
    try:
        values = tuple(row.measure())
    except Exception as raised:  # whatever it is, the other rows are still measured and the run ends as broken
        error = f"{type(raised).__name__}: {raised}"
    return Measured(row, values, error, time.monotonic() - start)


def _finding(m: Measured, baseline: Baseline, p: float) -> Finding:
    kind, was = m.row.kind, _shown(m.row.kind, baseline.values)
    if m.error:
        return Finding(m.row.name, "broken", was, "", m.error, m.seconds)
    now = _shown(kind, m.values)
    if kind == "trace":
        elsewhere = baselines.differing(baseline.where, baselines.this_machine())
        fault = trace_fault(baseline.values, m.values, exact=not elsewhere)
        good = f"to {ELSEWHERE:g}: {elsewhere}" if elsewhere else "bit for bit"
        return Finding(m.row.name, "regression" if fault else "same", was, now, fault or good, m.seconds)
    margin = f"{SLOWER:.0%} slower" if kind == "speed" else f"{m.row.work.margin:g} lower"
    verdict = "no worse" if p <= ALPHA else "regression"
    return Finding(m.row.name, verdict, was, now, f"{margin}? p = {p:.2g}", m.seconds)


def _shown(kind: str, values: Sequence[float]) -> str:
    if not values:
        return "none"
    if kind == "trace":
        return f"{values[0]:.6g} … {values[-1]:.6g}"
    if kind == "speed":
        return f"{statistics.median(values):.3f} × yardstick"
    return f"{statistics.fmean(values):.4f} over {len(values)} seeds"


def update(chosen: Sequence[Row], known: Path, path: Path, console: Console) -> int:
    """Measure the rows and write the baselines, unless one cannot be measured; the rows not chosen stay as known."""
    old = _old(known, console)
    new = {name: b for name, b in old.items() if name in {row.name for row in rows()}}
    for row in chosen:
        m = _measured(row)
        say(f"{row.name}: {m.seconds:.1f} s", console)
        if m.error:
            raise BaselineError(f"{row.name} cannot be measured ({m.error}); {path} is unchanged")
        values = (statistics.median(m.values),) if row.kind == "speed" else m.values
        new[row.name] = Baseline(values, row.work.recipe.digest(), baselines.this_machine())
    baselines.write(path, new)
    for name in sorted(old.keys() | new.keys()):
        say(_change(name, old.get(name), new.get(name)), console)
    say(f"baselines: {path}", console)
    return 0


def _change(name: str, was: Baseline | None, now: Baseline | None) -> str:
    """ "score maml glyphs-5w1s: 0.7031 over 5 seeds -> 0.7112 over 5 seeds"."""
    if was is not None and now is not None and was.values == now.values and was.recipe == now.recipe:
        return f"{name}: unchanged"
    kind = name.partition(" ")[0]
    return f"{name}: " + " -> ".join("none" if b is None else _shown(kind, b.values) for b in (was, now))


def _old(path: Path, console: Console) -> dict[str, Baseline]:
    """What there is to update; nothing, with a line that says why, where it cannot be read."""
    try:
        return baselines.read(path)
    except BaselineError as error:
        say(f"all anew: {error}", console)
        return {}
