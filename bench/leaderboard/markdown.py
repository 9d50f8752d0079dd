"""The leaderboard as Markdown: what a repository's host shows, and the part of it that the README embeds.

Text that comes from a record is escaped wherever it is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from metabench.bench.leaderboard.board import Board, Cell, Line
from metabench.bench.leaderboard.floor import BASELINES
from metabench.bench.leaderboard.published import Entry
from metabench.bench.leaderboard.text import about, adapted, duration, ours, published, spread
from metabench.bench.leaderboard.verdict import WORDS, Verdict
from metabench.bench.records.metric import METRICS
from metabench.bench.records.schema import file_name
from metabench.bench.records.speed import speed_rows
from metabench.bench.text import one_line
from metabench.bench.worlds.command import command, schedule

WORLDS = {"accuracy": "Few-shot images (test accuracy, %)", "return": "Control (mean return of a test task)"}
"""Metric -> heading of its world."""

TELLING = 6
"""Rows that the README shows."""

INTRO = """\
# Leaderboard

Written by `metabench report` from the records in [records/](records) and from [published.yaml](published.yaml); do not
edit. Ours is the score on the test tasks, ± its 95 % interval over test tasks; where a row has several seeds, their
95 % interval too. An accuracy is that after the last update, a return that after as many updates as the row says.
Published is the number of the algorithm's own paper where it has one, ± as printed; *others* is the range of what
re-implementations by others reached with the same kind of network, and how many they are. An algorithm has one row on
a benchmark: the one nearest to the published protocol, of these the one trained on most tasks, then that of most
seeds; what else was run is folded below. A schedule other than the paper's is labelled; a recipe that no schedule has
today is called by its flags. The same with curves, filters and aggregate plots is in
[leaderboard.html](leaderboard.html), a page to open in a browser.

The verdict compares protocol with protocol, and a number only where they agree. *Reproduced*: ours and the published
number cannot be told apart by their intervals, which are narrow enough to tell the published one from one half-way
down to what needs no learning (a guess, or the untrained policy). *Above* and *below*: they can. *No evidence*: ours
does not beat what needs no learning, or its interval is too wide. *Protocol unstated*: the source leaves most of what
decides open, or, for a number above, what the test task is.
"""


def markdown(board: Board) -> str:
    """The whole page."""
    parts = [INTRO, *_summary(board)]
    for metric, heading in WORLDS.items():
        parts += _world(heading, [cell for cell in board.run if cell.metric == metric])
    parts += _differences(board.lines)
    parts += _other_reports(board.lines)
    parts += _speeds(board)
    parts += _not_run([cell for cell in board.cells if cell.line is None], board.costs)
    parts += _provenance(board.lines)
    if board.refused:
        parts.append("## Records set aside\n")
        parts.append("".join(f"- {code(file)}: {escape(reason)}\n" for file, reason in board.refused))
    return "\n".join(parts)


def embedded(readme: str, board: Board) -> str:
    """The README with the most telling rows between its leaderboard marks; as it was if it has none."""
    columns = ("algorithm", "benchmark", "ours", "published", "others", "verdict", "schedule")
    rows = ([*_cells(line)[:6], _trained(line, schedule(line.row.first))] for line in telling(board))
    before, opening, rest = readme.partition("<!-- leaderboard -->\n")
    _, closing, after = rest.partition("<!-- /leaderboard -->")
    if not opening or not closing:
        return readme
    more = (
        f"\n*Others* is the range of that many re-implementations by others. All {len(board.run)} rows, what the "
        "verdicts mean, and why each row has its own: [results/leaderboard.md](results/leaderboard.md).\n"
    )
    return before + opening + "\n" + table(columns, rows) + more + closing + after


def telling(board: Board) -> list[Line]:
    """`TELLING` rows for a first look, a benchmark each: learners with a film first, then by verdict, then in order."""
    lines = [cell.line for cell in board.run if cell.line is not None and cell.algorithm not in BASELINES]
    lines.sort(key=lambda line: (not line.figures, WORDS.index(line.verdict.word)))
    first = {line.row.first["benchmark"]: line for line in reversed(lines)}
    return [line for line in lines if line is first[line.row.first["benchmark"]]][:TELLING]


def _summary(board: Board) -> Iterator[str]:
    words = [line.verdict.word for line in board.lines] + ["not run"] * len(board.not_run)
    counts = [f"{word} {words.count(word)}" for word in WORDS if word in words]
    yield f"Verdicts: {', '.join(counts)}.\n" if counts else "No record and no published number.\n"


def _world(heading: str, cells: Sequence[Cell]) -> Iterator[str]:
    yield f"## {heading}\n"
    if not cells:
        yield "No record yet.\n"
        return
    columns = ("algorithm", "benchmark", "ours", "published", "others", "verdict", "why", "schedule", "seeds")
    yield table(columns, (_cells(cell.line) for cell in cells if cell.line is not None))
    behind = [line for cell in cells for line in cell.behind]
    if behind:
        yield folded(f"{len(behind)} more rows of the same", table(columns, map(_cells, behind)))


def _cells(line: Line) -> tuple[str, ...]:
    first = line.row.first
    return (
        escape(first["algorithm"]),
        escape(first["benchmark"]),
        ours(line.row, line.verdict.measured),
        escape(published(line.reference)) if line.reference else "–",
        spread(line.reruns),
        f"**{line.verdict.word}**",
        escape(line.verdict.reason),
        _trained(line, line.called),
        ", ".join(f"[{r['seed']}](records/{file_name(dict(r))})" for r in line.row.records),
    )


def _trained(line: Line, how: str) -> str:
    return escape(f"{how}, {line.row.first['recipe']['iterations']} iterations")


def _differences(lines: Iterable[Line]) -> Iterator[str]:
    """What stands between each number and the published one."""
    yield "## Differences, row by row\n"
    for line in lines:
        if line.reference is None and not line.explanation and not line.figures:
            continue
        yield f"### {escape(line.name)}: {line.verdict.word}\n"
        if line.explanation:
            yield line.explanation.strip() + "\n"
        if line.reference is not None:
            yield "".join(f"- {point}\n" for point in _points(line.reference, line.verdict))
            if line.reference.adaptation:
                yield table(("updates", "ours", "published"), adapted(line))
        for figure in line.figures:
            yield f"![Adaptation to a test task, seed {figure.seed}](figures/{figure.file})\n"


def _points(entry: Entry, found: Verdict) -> Iterator[str]:
    yield f"Reference: {escape(published(entry))}, {entry.verification}: {escape(entry.source)}."
    yield f"Verdict: {found.word}: {escape(found.reason)}."
    if found.schedule:
        yield f"Label: {escape(found.schedule)}."
    for kind, differences in (("Decisive", found.comparison.decisive), ("Noted", found.comparison.noted)):
        if differences:
            yield f"{kind}: published with {escape('; '.join(map(str, differences)))}."
    if found.comparison.assumed:
        yield f"Not stated by the source, assumed as here: {escape(_words(found.comparison.assumed))}."
    if entry.notes:
        yield f"About the published number: {escape(entry.notes)}"


def _other_reports(lines: Iterable[Line]) -> Iterator[str]:
    """What others measured for the rows that we ran."""
    yield "## Other reports of the same\n"
    cells = [
        (
            escape(line.name),
            ours(line.row, found.measured),
            escape(published(entry)),
            entry.verification,
            f"**{found.word}**",
            escape(found.reason),
        )
        for line in lines
        for entry, found in line.others
    ]
    columns = ("row", "ours", "reported", "read in", "verdict", "why")
    yield folded(f"{len(cells)} numbers", table(columns, cells)) if cells else "None for the rows above.\n"


def _speeds(board: Board) -> Iterator[str]:
    """Both sides took turns; nothing where there is no record."""
    rows = [row for file, record in board.speeds for row in speed_rows(file, record)]
    if rows:
        yield "## Speed\n"
        yield "Median and range of the ratio between neighbouring turns, in one process on identical work.\n"
        yield table(list(rows[0]), ([escape(cell) for cell in row.values()] for row in rows))


def _not_run(cells: Sequence[Cell], costs: Mapping[str, float]) -> Iterator[str]:
    yield "## Published, not run here\n"
    rows = [
        (
            cell.algorithm,
            cell.benchmark,
            escape(published(cell.reference)),
            spread(cell.reruns),
            cell.reference.verification,
            about(costs[cell.id]) if cell.id in costs else "–",
        )
        for cell in cells
        if cell.reference is not None
    ]
    columns = ("algorithm", "benchmark", "published", "others", "read in", "a run takes, about")
    yield folded(f"{len(rows)} rows", table(columns, rows)) if rows else "None.\n"


def _provenance(lines: Iterable[Line]) -> Iterator[str]:
    """How each number was made."""
    yield "## Provenance\n"
    cells = [_origin(record) for line in lines for record in line.row.records]
    columns = (
        "record",
        "command",
        "commit",
        "device",
        "threads × processes",
        "precision",
        "train + test time",
        "score",
    )
    yield table(columns, cells) if cells else "No record yet.\n"


def _origin(record: Mapping[str, Any]) -> tuple[str, ...]:
    p = record["provenance"]
    name = file_name(dict(record))
    score = METRICS[record["metric"]].scale * record["test"]["mean"][-1] if record["status"] == "complete" else None
    return (
        f"[{name.removesuffix('.json')}](records/{name})",
        code(command(record)),
        code(p["commit"][:12]) + (" with changes" if p.get("dirty") else ""),
        escape(p["device"]),
        f"{p['threads']:.0f} × {p['processes']:.0f}",
        escape(p["precision"]),
        f"{duration(p['train_seconds'])} + {duration(p['test_seconds'])}",
        escape(record["status"]) if score is None else f"{score:.2f}",
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the cells are Markdown already."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def folded(summary: str, body: str) -> str:
    """A part that opens on a click."""
    return f"<details><summary>{summary}</summary>\n\n{body}\n</details>\n"


def escape(text: str) -> str:
    """Text as Markdown that shows it and does nothing: on one line, no markup, no HTML, no link."""
    text = re.sub(r"[<>&|`*_\[\]\\~#!{}@$]", lambda m: f"&#{ord(m[0])};", one_line(text))
    return re.sub(r"(?i)(:)(?=//)|(?<=www)(\.)", lambda m: f"&#{ord(m[0])};", text)


def code(text: str) -> str:
    """The same in the typeface of code."""
    return f"<code>{escape(text)}</code>"


def _words(fields: Iterable[str]) -> str:
    return ", ".join(field.replace("_", " ") for field in fields)
