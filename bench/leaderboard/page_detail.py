"""What a row of the page opens to: why, both protocols, the curves, and how each record was made."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from metabench.bench.leaderboard import charts
from metabench.bench.leaderboard.board import Figure, Line
from metabench.bench.leaderboard.protocol import FIELDS, shown
from metabench.bench.leaderboard.published import Entry
from metabench.bench.leaderboard.text import duration, published
from metabench.bench.records.check import numbers
from metabench.bench.records.metric import METRICS
from metabench.bench.records.schema import file_name
from metabench.bench.records.statistics import mean_interval
from metabench.bench.text import one_line
from metabench.bench.worlds.command import command

"""Metric -> what an axis calls it."""

DRAWN = 200
"""Points of a learning curve that are drawn."""


def text(value: Any) -> str:
    """Text of any origin as HTML that shows it and does nothing."""
    return escape(one_line(str(value)))


def detail(line: Line) -> str:
    """The whole of it."""
    parts = [f"<p><strong>{line.verdict.word}</strong>: {text(line.verdict.reason)}. {text(line.verdict.schedule)}</p>"]
    if line.explanation:
        parts.append(f"<p>{text(line.explanation)}</p>")
    parts.append(f'<div class="charts">{"".join([*_curves(line), *map(_moving, line.figures)])}</div>')
    if line.reference is not None:
        parts.append(_protocols(line, line.reference))
    parts += [_other(line, entry, found.word, found.reason) for entry, found in line.others]
    return "".join([*parts, *(_origin(record) for record in line.row.records)])


def _curves(line: Line) -> Iterator[str]:
    metric = line.row.first["metric"]
    scale, unit = METRICS[metric].scale, METRICS[metric].title
    learning = [charts.Series(f"seed {r['seed']}", learning_curve(r, scale)) for r in line.row.records]
    adaptation = [charts.Series(f"seed {r['seed']}", adaptation_curve(r, scale)) for r in line.row.complete]
    if line.reference is not None and line.reference.adaptation:
        theirs = [(k, point.value, point.half_width) for k, point in enumerate(line.reference.adaptation)]
        adaptation.append(charts.Series("published", theirs))
    pictures = (
        ("Validation while training", charts.lines("Learning curve", "iteration", unit, learning)),
        ("Test after each update", charts.lines("Adaptation curve", "updates", unit, adaptation)),
    )
    for caption, picture in pictures:
        if picture:
            yield f"<figure>{picture}<figcaption>{caption}, ± 95 % over tasks</figcaption></figure>"
    yield from _seeds(line, scale, unit)


def _seeds(line: Line, scale: float, unit: str) -> Iterator[str]:
    """Each seed after as many updates as it is judged by; where there are several, their mean with both intervals."""
    total = line.row.measured
    if total is None:
        return
    records = line.row.complete
    tests = [mean_interval(r["per_task"]) for r in records]
    series = [
        charts.Series(f"seed {r['seed']}", [(i, scale * t.mean, scale * t.ci95)])
        for i, (r, t) in enumerate(zip(records, tests, strict=True))
    ]
    ticks: dict[float, str] = {i: str(records[i]["seed"]) for i in range(0, len(records), math.ceil(len(records) / 8))}
    caption = "Test of each seed, ± 95 % over tasks"
    if total.seeds_ci95 is not None:
        for name, half in (("over tasks", total.ci95), ("over seeds", total.seeds_ci95)):
            at = len(series) + 0.5
            series.append(charts.Series(f"all seeds, {name}", [(at, total.mean, half)]))
            ticks[at] = "all" if name == "over tasks" else "seeds"
        caption += f"; all {total.seeds}: ± {total.ci95:.2f} over tasks, ± {total.seeds_ci95:.2f} over seeds"
    yield f"<figure>{charts.lines('Seeds', 'seed', unit, series, ticks)}<figcaption>{caption}</figcaption></figure>"


def _moving(figure: Figure) -> str:
    content = base64.b64encode(figure.content).decode()
    caption = f"Adaptation to a test task, seed {figure.seed}"
    image = f'<img alt="{caption}" src="data:image/gif;base64,{content}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def adaptation_curve(record: Mapping[str, Any], scale: float) -> list[tuple[float, float, float | None]]:
    """(updates, mean, half-width) on the test tasks."""
    test = record["test"]
    return [(k, scale * m, scale * h) for k, m, h in zip(test["updates"], test["mean"], test["ci95"], strict=True)]


def learning_curve(record: Mapping[str, Any], scale: float) -> list[tuple[float, float, float | None]]:
    """(iteration, mean, half-width) of each validation, evenly thinned; points that are not numbers are left out."""
    points: list[tuple[float, float, float | None]] = []
    for point in record["curve"] if isinstance(record.get("curve"), list) else []:
        values: Any = [point.get(f) for f in ("iteration", "mean", "ci95")] if isinstance(point, dict) else None
        if numbers(values):
            points.append((values[0], scale * values[1], scale * values[2]))
    return points[:: max(1, math.ceil(len(points) / DRAWN))]


def _protocols(line: Line, entry: Entry) -> str:
    """Both protocols, field by field."""
    mine = line.row.protocol(line.verdict.measured)
    comparison = line.verdict.comparison
    marks = {d.field: "differs" for d in comparison.decisive} | {d.field: "noted" for d in comparison.noted}
    marks |= {field: "assumed" for field in comparison.assumed if field not in marks}
    rows = "".join(
        f'<tr><th scope="row">{field.replace("_", " ")}</th><td>{text(shown(mine.get(field, "–")))}</td>'
        f"<td>{text(shown(entry.protocol[field]))}</td><td>{marks.get(field, '')}</td></tr>"
        for field in FIELDS[entry.metric]
    )
    source = text(f"{published(entry)}; {entry.verification}: {entry.source}. {entry.notes}")
    head = '<th scope="col">field</th><th scope="col">ours</th><th scope="col">published</th><td></td>'
    return f'<p>Published: {source}</p><div class="scroll"><table><thead><tr>{head}</tr></thead>{rows}</table></div>'


def _other(line: Line, entry: Entry, word: str, reason: str) -> str:
    return f"<p>Also reported: {text(published(entry))}; {word}: {text(reason)}</p>"


def _origin(record: Mapping[str, Any]) -> str:
    p, name = record["provenance"], file_name(dict(record))
    changes = " with changes" if p.get("dirty") else ""
    versions = ", ".join(f"{k} {v}" for k, v in sorted(p.get("packages", {}).items())) or "versions not recorded"
    return (
        f'<p>Seed {record["seed"]}: <a href="records/{name}">record</a>, <code>{text(command(record))}</code>, commit '
        f"<code>{text(p['commit'][:12])}</code>{changes}; {text(p['device'])}, {p['threads']:.0f} threads × "
        f"{p['processes']:.0f} processes, {text(p['precision'])}; trained {duration(p['train_seconds'])}, tested "
        f"{duration(p['test_seconds'])}; {text(versions)}</p>"
    )
