"""The leaderboard as one HTML page that needs nothing else: no network, no file beside it.

Text from records goes through `html.escape`, and the page's own policy lets no script run but the one whose hash it
names, so that even a mistake there could not make a record do anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from bench import charts
from bench.board import ALGORITHMS, Board, Line, index
from bench.page_assets import SCRIPT, STYLE
from bench.protocol import FIELDS, shown
from bench.published import Entry
from bench.records import file_name
from bench.results import SCALE, numbers
from bench.text import duration, one_line, ours, published
from bench.verdict import WORDS

SIGNS = dict(zip(WORDS, ("✓", "▼", "≠", "?", "○", "+"), strict=True))
"""A shape for each verdict, beside its word and its colour."""

WORLDS = {"accuracy": "images", "return": "control"}
COLUMNS = ("algorithm", "benchmark", "ours", "published", "verdict", "schedule")


def html(board: Board) -> str:
    """The whole page."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    parts = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>metabench leaderboard</title><style>{STYLE}</style></head><body><main><h1>metabench leaderboard</h1>",
        "<p>Every number comes from a record of a finished run. It is compared with a published one only where both "
        "protocols agree; the rows say where they do not.</p>",
        *_matrix(board.lines),
        *_table(board.lines),
        *_scatter(board.lines),
        *_not_run(board.not_run),
    ]
    if board.refused:
        items = "".join(f"<li><code>{text(file)}</code>: {text(reason)}</li>" for file, reason in board.refused)
        parts.append(f"<h2>Records set aside</h2><ul>{items}</ul>")
    return "\n".join([*parts, f"</main><script>{SCRIPT}</script></body></html>\n"])


def text(value: Any) -> str:
    """Text of any origin as HTML that shows it and does nothing."""
    return escape(one_line(str(value)))


def _matrix(lines: Sequence[Line]) -> Iterator[str]:
    """Algorithm × benchmark: our value and the verdict's sign; the first row of each cell where there are several."""
    if not lines:
        return
    cells: dict[tuple[str, str], int] = {}
    for i, line in enumerate(lines):
        cells.setdefault((line.row.first["algorithm"], line.row.first["benchmark"]), i)
    columns = list(dict.fromkeys(line.row.first["benchmark"] for line in lines))
    head = "".join(f'<th scope="col">{text(benchmark)}</th>' for benchmark in columns)
    yield '<h2>Overview</h2><div class="scroll" tabindex="0" role="region" aria-label="Overview">'
    yield f'<table class="matrix"><thead><tr><td></td>{head}</tr></thead><tbody>'
    named = {line.row.first["algorithm"] for line in lines}
    for algorithm in sorted(named, key=lambda name: (index(ALGORITHMS, name), name)):
        row = [_cell(lines, cells.get((algorithm, benchmark))) for benchmark in columns]
        yield f'<tr><th scope="row">{text(algorithm)}</th>{"".join(row)}</tr>'
    legend = " · ".join(f'<span class="{_style(word)}">{SIGNS[word]} {word}</span>' for word in WORDS)
    yield f"</tbody></table></div><p>{legend}</p>"


def _cell(lines: Sequence[Line], place: int | None) -> str:
    if place is None:
        return '<td class="faint">–</td>'
    line = lines[place]
    m = line.row.measured
    value = "diverged" if m is None else f"{m.mean:.2f}"
    word = line.verdict.word
    return f'<td><a class="{_style(word)}" href="#row{place}" title="{word}">{SIGNS[word]} {value}</a></td>'


def _table(lines: Sequence[Line]) -> Iterator[str]:
    """One body a row of the leaderboard, so that sorting and filtering keep its details with it."""
    yield "<h2>Results</h2>"
    if not lines:
        yield "<p>No record yet.</p>"
        return
    choices = {
        "world": [WORLDS[line.row.first["metric"]] for line in lines],
        "algorithm": [line.row.first["algorithm"] for line in lines],
        "verdict": [line.verdict.word for line in lines],
    }
    selects = "".join(_select(name, values) for name, values in choices.items())
    yield f'<div class="filters">{selects}<label>search<input type="search"></label></div>'
    head = "".join(f'<th scope="col"><button type="button">{name}</button></th>' for name in COLUMNS)
    yield f'<p id="count" role="status" class="faint"></p><table class="rows"><thead><tr>{head}</tr></thead>'
    for i, line in enumerate(lines):
        yield _row(i, line)
    yield "</table>"


def _select(name: str, values: Iterable[str]) -> str:
    options = "".join(f'<option value="{text(v)}">{text(v)}</option>' for v in dict.fromkeys(values))
    return f'<label>{name}<select name="{name}"><option value="">all</option>{options}</select></label>'


def _row(i: int, line: Line) -> str:
    first, word = line.row.first, line.verdict.word
    m = line.row.measured
    value = line.reference.value if line.reference is not None else None
    button = f'<button type="button" class="open" aria-expanded="false" aria-controls="detail{i}">'
    cells = (
        (text(first["algorithm"]), f"{button}{text(first['algorithm'])}</button>"),
        (f"{i:06d}", text(first["benchmark"])),
        ("-1e9" if m is None else f"{m.mean}", text(ours(line.row))),
        ("-1e9" if value is None else f"{value}", "–" if line.reference is None else text(published(line.reference))),
        (str(WORDS.index(word)), f'<span class="verdict {_style(word)}">{SIGNS[word]} {word}</span>'),
        (f"{first['recipe']['iterations']}", text(f"{line.row.schedule}, {first['recipe']['iterations']} iterations")),
    )
    shown = "".join(f'<td data-key="{k}" data-label="{c}">{v}</td>' for c, (k, v) in zip(COLUMNS, cells, strict=True))
    data = f'data-world="{WORLDS[first["metric"]]}" data-algorithm="{text(first["algorithm"])}" data-verdict="{word}"'
    detail = f'<tr class="detail" id="detail{i}" hidden><td colspan="{len(COLUMNS)}">{_detail(line)}</td></tr>'
    return f'<tbody id="row{i}" {data}><tr>{shown}</tr>{detail}</tbody>'


def _detail(line: Line) -> str:
    """Why, the two protocols, the curves, and how it was made."""
    parts = [f"<p><strong>{line.verdict.word}</strong>: {text(line.verdict.reason)}. {text(line.verdict.schedule)}</p>"]
    if line.explanation:
        parts.append(f"<p>{text(line.explanation)}</p>")
    parts.append(f'<div class="charts">{"".join(_curves(line))}</div>')
    if line.reference is not None:
        parts.append(_protocols(line, line.reference))
    return "".join([*parts, *(_origin(record) for record in line.row.records)])


def _curves(line: Line) -> Iterator[str]:
    metric = line.row.first["metric"]
    scale, unit = SCALE[metric], f"{metric}, %" if metric == "accuracy" else metric
    complete = [r for r in line.row.records if r["status"] == "complete"]
    learning = [charts.Series(f"seed {r['seed']}", learning_curve(r, scale)) for r in line.row.records]
    adaptation = [charts.Series(f"seed {r['seed']}", adaptation_curve(r, scale)) for r in complete]
    seeds = [(r["seed"], scale * r["test"]["mean"][-1], scale * r["test"]["ci95"][-1]) for r in complete]
    pictures = (
        ("Validation while training", charts.lines("Learning curve", "iteration", unit, learning)),
        ("Test after each update", charts.lines("Adaptation curve", "updates", unit, adaptation)),
        ("Test of each seed", charts.lines("Seeds", "seed", unit, [charts.Series(str(s[0]), [s]) for s in seeds])),
    )
    for caption, picture in pictures:
        if picture:
            yield f"<figure>{picture}<figcaption>{caption}, ± 95 % over tasks</figcaption></figure>"


def adaptation_curve(record: Mapping[str, Any], scale: float) -> list[tuple[float, float, float | None]]:
    """(updates, mean, half-width) on the test tasks."""
    test = record["test"]
    return [(k, scale * m, scale * h) for k, m, h in zip(test["updates"], test["mean"], test["ci95"], strict=True)]


def learning_curve(record: Mapping[str, Any], scale: float) -> list[tuple[float, float, float | None]]:
    """(iteration, mean, half-width) of each validation; points that are not numbers are left out."""
    points: list[tuple[float, float, float | None]] = []
    for point in record["curve"] if isinstance(record.get("curve"), list) else []:
        values: Any = [point.get(f) for f in ("iteration", "mean", "ci95")] if isinstance(point, dict) else None
        if numbers(values):
            points.append((values[0], scale * values[1], scale * values[2]))
    return points


def _protocols(line: Line, entry: Entry) -> str:
    """Both protocols, field by field."""
    mine = line.row.first["protocol"]
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


def _origin(record: Mapping[str, Any]) -> str:
    p, name = record["provenance"], file_name(dict(record))
    changes = " with changes" if p.get("dirty") else ""
    packages = p.get("packages") if isinstance(p.get("packages"), dict) else {}
    versions = ", ".join(f"{k} {v}" for k, v in sorted(packages.items(), key=str)) if packages else "not recorded"
    return (
        f'<p>Seed {record["seed"]}: <a href="records/{name}">record</a>, <code>{text(p["command"])}</code>, commit '
        f"<code>{text(p['commit'][:12])}</code>{changes}; {text(p['device'])}, {p['threads']:.0f} threads × "
        f"{p['processes']:.0f} processes, {text(p['precision'])}; trained {duration(p['train_seconds'])}, tested "
        f"{duration(p['test_seconds'])}; {text(versions)}</p>"
    )


def _scatter(lines: Sequence[Line]) -> Iterator[str]:
    for metric, world in WORLDS.items():
        points = [
            charts.Reproduction(
                line.name, line.row.measured.mean, line.row.measured.ci95,
                line.reference.value, line.reference.interval.half_width or 0.0, _style(line.verdict.word),
            )
            for line in lines
            if line.row.first["metric"] == metric == (line.reference.metric if line.reference else None)
            and line.row.measured is not None and line.reference is not None and line.reference.value is not None
        ]  # fmt: skip
        if points:
            caption = "On the diagonal, ours is the published number; bars are both intervals."
            picture = charts.scatter(f"Ours against published, {world}", points)
            yield f"<h2>Ours against published, {world}</h2>"
            yield f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _not_run(entries: Sequence[Entry]) -> Iterator[str]:
    if entries:
        cells = [(e.algorithm, e.benchmark, published(e)) for e in entries]
        rows = "".join(f"<tr>{''.join(f'<td>{text(c)}</td>' for c in some)}</tr>" for some in cells)
        yield f"<details><summary>Published, not run here: {len(entries)} rows</summary><table>{rows}</table></details>"


def _style(word: str) -> str:
    return word.replace(" ", "-")
