"""The leaderboard as one HTML page that needs nothing else: no network, no file beside it.

Text from records goes through `html.escape`, and the page's own policy lets no script run but the one whose hash it
names, so that even a mistake there could not make a record do anything. What a row opens to lies in the page as text
and becomes elements when the row is opened, so that a page of thousands of rows opens as fast as one of ten.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence

from metabench.bench.leaderboard import charts, plots
from metabench.bench.leaderboard.aggregate import duels, panels
from metabench.bench.leaderboard.board import ALGORITHMS, Board, Line, index
from metabench.bench.leaderboard.page_assets import SCRIPT, STYLE
from metabench.bench.leaderboard.page_detail import detail, text
from metabench.bench.leaderboard.published import Entry
from metabench.bench.leaderboard.text import ours, published
from metabench.bench.leaderboard.verdict import WORDS
from metabench.bench.records.metric import METRICS
from metabench.bench.records.speed import speed_rows

SIGNS = dict(zip(WORDS, ("✓", "(✓)", "▲", "(▲)", "▼", "(▼)", "∅", "≠", "?", "○", "+"), strict=True))
"""A shape for each verdict, beside its word and its colour."""

WORLDS = {"accuracy": "images", "return": "control"}
UNITS = {"accuracy": "test accuracy, %", "return": "mean return of a test task"}
COLUMNS = ("algorithm", "benchmark", "ours", "published", "verdict", "schedule")


def html(board: Board) -> str:
    """The whole page."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>metabench leaderboard</title><style>{STYLE}</style></head><body><main><h1>metabench leaderboard</h1>",
        "<p>Every number comes from a record of a finished run. It is compared with a published one only where both "
        "protocols agree; the rows say where they do not.</p>",
        *_overview(board.lines),
        *_table(board.lines),
        *_scatter(board.lines),
        *_aggregates(board.lines),
        *_speeds(board),
        *_not_run(board.not_run),
    ]
    if board.refused:
        items = "".join(f"<li><code>{text(file)}</code>: {text(reason)}</li>" for file, reason in board.refused)
        parts.append(f"<h2>Records set aside</h2><ul>{items}</ul>")
    return "\n".join([*parts, f"</main><script>{SCRIPT}</script></body></html>\n"])


def _overview(lines: Sequence[Line]) -> Iterator[str]:
    """Algorithm × benchmark: our value and the verdict's sign; of several rows the one trained on most tasks."""
    if not lines:
        return
    yield "<h2>Overview</h2>"
    for metric, world in WORLDS.items():
        cells: dict[tuple[str, str], int] = {}
        for i, line in sorted(enumerate(lines), key=lambda item: -_tasks_seen(item[1])):
            if line.row.first["metric"] == metric:
                cells.setdefault((line.row.first["algorithm"], line.row.first["benchmark"]), i)
        if cells:
            yield f"<h3>{world.capitalize()}: {UNITS[metric]}</h3>"
            yield from _matrix(lines, cells, world)
    legend = "".join(f'<li class="{_style(word)}">{SIGNS[word]} {word}</li>' for word in WORDS)
    yield f'<ul class="legend">{legend}</ul>'


def _tasks_seen(line: Line) -> int:
    return int(line.row.first["recipe"]["iterations"] * line.row.first["recipe"]["meta_batch"])


def _matrix(lines: Sequence[Line], cells: dict[tuple[str, str], int], world: str) -> Iterator[str]:
    columns = list(dict.fromkeys(lines[i].row.first["benchmark"] for i in sorted(cells.values())))
    head = "".join(f'<th scope="col">{text(benchmark)}</th>' for benchmark in columns)
    yield f'<div class="scroll" tabindex="0" role="region" aria-label="Overview, {world}">'
    yield f'<table class="matrix"><thead><tr><td></td>{head}</tr></thead><tbody>'
    for algorithm in sorted({name for name, _ in cells}, key=lambda name: (index(ALGORITHMS, name), name)):
        row = [_cell(lines, cells.get((algorithm, benchmark))) for benchmark in columns]
        yield f'<tr><th scope="row">{text(algorithm)}</th>{"".join(row)}</tr>'
    yield "</tbody></table></div>"


def _cell(lines: Sequence[Line], place: int | None) -> str:
    if place is None:
        return '<td class="faint">–</td>'
    found = lines[place].verdict
    value = "diverged" if found.measured is None else f"{found.measured.mean:.2f}"
    link = f'<a class="{_style(found.word)}" href="#row{place}" title="{found.word}">{SIGNS[found.word]} {value}</a>'
    return f"<td>{link}</td>"


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
    for i, line in enumerate(lines):
        yield f'<script type="text/plain" id="text{i}">{detail(line)}</script>'


def _select(name: str, values: Iterable[str]) -> str:
    options = "".join(f'<option value="{text(v)}">{text(v)}</option>' for v in dict.fromkeys(values))
    return f'<label>{name}<select name="{name}"><option value="">all</option>{options}</select></label>'


def _row(i: int, line: Line) -> str:
    first, word, m = line.row.first, line.verdict.word, line.verdict.measured
    value = line.reference.value if line.reference is not None else None
    button = f'<button type="button" class="open" aria-expanded="false" aria-controls="detail{i}">'
    cells = (
        (text(first["algorithm"]), f"{button}{text(first['algorithm'])}</button>"),
        (f"{i:06d}", text(first["benchmark"])),
        ("" if m is None else f"{m.mean}", text(ours(line.row, m))),
        ("" if value is None else f"{value}", "–" if line.reference is None else text(published(line.reference))),
        (str(WORDS.index(word)), f'<span class="verdict {_style(word)}">{SIGNS[word]} {word}</span>'),
        (f"{first['recipe']['iterations']}", text(f"{line.called}, {first['recipe']['iterations']} iterations")),
    )
    shown = "".join(f'<td data-key="{k}" data-label="{c}">{v}</td>' for c, (k, v) in zip(COLUMNS, cells, strict=True))
    data = f'data-world="{WORLDS[first["metric"]]}" data-algorithm="{text(first["algorithm"])}" data-verdict="{word}"'
    opened = f'<tr class="detail" id="detail{i}" hidden><td colspan="{len(COLUMNS)}"></td></tr>'
    return f'<tbody id="row{i}" {data}><tr>{shown}</tr>{opened}</tbody>'


def _scatter(lines: Sequence[Line]) -> Iterator[str]:
    figures = []
    for metric, world in WORLDS.items():
        points = [
            charts.Reproduction(
                line.name, line.verdict.measured.mean, line.verdict.measured.ci95,
                line.reference.value, line.reference.interval.ci95, _style(line.verdict.word),
            )
            for line in lines
            if line.row.first["metric"] == metric == (line.reference.metric if line.reference else None)
            and line.verdict.measured is not None and line.reference is not None and line.reference.value is not None
        ]  # fmt: skip
        if points:
            picture = charts.scatter(f"Ours against published, {world}", points)
            figures.append(f"<figure>{picture}<figcaption>{world.capitalize()}: {UNITS[metric]}</figcaption></figure>")
    if figures:
        yield "<h2>Ours against published</h2>"
        yield "<p>On the diagonal, ours is the published number; bars are both intervals.</p>"
        yield f'<div class="charts">{"".join(figures)}</div>'


def _aggregates(lines: Sequence[Line]) -> Iterator[str]:
    """The pictures of Agarwal et al. 2021, benchmark by benchmark."""
    for metric, world in WORLDS.items():
        drawn = panels(lines, metric)
        if not drawn:
            continue
        yield f"<h2>Algorithms side by side, {world}</h2>"
        yield (
            "<p>Over the test tasks of all seeds, after as many updates as the rows say, with 95 % bootstrap "
            "intervals. First the mean of the middle half of the scores: thick over test tasks, thin over seeds too "
            "where a row has several. "
            "Then the share of test tasks whose score lies above a threshold.</p>"
        )
        for panel in drawn:
            pictures = (
                plots.interquartile_means(panel, METRICS[metric].title),
                plots.profiles(panel, METRICS[metric].title),
            )
            figures = "".join(f"<figure>{picture}</figure>" for picture in pictures)
            yield f'<h3>{text(panel.benchmark)}</h3><div class="charts">{figures}</div>'
        pairs = list(duels(drawn))
        if pairs:
            caption = "Each pair over the benchmarks that both ran, each weighing the same; ties count half."
            yield "<h3>Probability of improvement</h3>"
            yield f"<figure>{plots.improvement(pairs, world)}<figcaption>{caption}</figcaption></figure>"


def _speeds(board: Board) -> Iterator[str]:
    rows = [row for file, record in board.speeds for row in speed_rows(file, record)]
    if rows:
        head = "".join(f'<th scope="col">{text(name)}</th>' for name in rows[0])
        cells = "".join(f"<tr>{''.join(f'<td>{text(v)}</td>' for v in row.values())}</tr>" for row in rows)
        yield "<h2>Speed</h2><p>Both sides took turns in one process on identical work; the ratio is that of "
        yield "neighbouring turns: its median and, in brackets, its range.</p>"
        yield '<div class="scroll" tabindex="0" role="region" aria-label="Speed">'
        yield f"<table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table></div>"


def _not_run(entries: Sequence[Entry]) -> Iterator[str]:
    if entries:
        cells = [(e.algorithm, e.benchmark, published(e)) for e in entries]
        rows = "".join(f"<tr>{''.join(f'<td>{text(c)}</td>' for c in some)}</tr>" for some in cells)
        yield f"<details><summary>Published, not run here: {len(entries)} rows</summary><table>{rows}</table></details>"


def _style(word: str) -> str:
    """CSS classes: "below unstated" for "below, protocol unstated"."""
    word, _, more = word.partition(", protocol ")
    return f"{word.replace(' ', '-')} {more}".strip()
