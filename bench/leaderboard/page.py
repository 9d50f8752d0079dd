"""The leaderboard as one HTML page that needs nothing else: no network, no file beside it.

What it looks like is in `templates/`: Jinja escapes every text that a template shows, and the page's own policy lets no
script run but the one whose hash it names, so that even a mistake there could not make a record do anything. The page
can be read without its script, which sorts, filters and opens the row that a link names.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from metabench.algorithms import LEARNERS
from metabench.bench.leaderboard import plots, text
from metabench.bench.leaderboard.aggregate import PANELS, duels, panels
from metabench.bench.leaderboard.board import ALGORITHMS, SETTLED, Board, Cell, Line, index
from metabench.bench.leaderboard.film import embedded
from metabench.bench.leaderboard.floor import BASELINES
from metabench.bench.leaderboard.palette import LOOKS, VERDICTS, look_of
from metabench.bench.leaderboard.protocol import FIELDS, shown
from metabench.bench.leaderboard.published import Entry, Point
from metabench.bench.leaderboard.verdict import OPEN, WORDS, together
from metabench.bench.records.metric import METRICS
from metabench.bench.records.schema import file_name
from metabench.bench.records.speed import speed_rows
from metabench.bench.records.statistics import mean_interval
from metabench.bench.text import one_line
from metabench.bench.worlds import learner_of
from metabench.bench.worlds.command import command

SIGNS = dict(zip(WORDS, ("✓", "(✓)", "▲", "(▲)", "▼", "(▼)", "∅", "≠", "?", "○", "+"), strict=True))
"""A shape for each verdict, beside its word and its colour."""
WORLDS = {"accuracy": "images", "return": "control"}
UNITS = {"accuracy": "test accuracy, %", "return": "mean return of a test task"}
CURVES = 60
"""Rows that open to a learning curve: the first ones. Each takes a fortieth of a second to draw."""


def html(board: Board) -> str:
    """The whole page."""
    templates = _templates()
    source = {name: templates.get_template(name).render() for name in ("script.js", "style.css")}
    digest = base64.b64encode(hashlib.sha256(source["script.js"].encode()).digest()).decode()
    return templates.get_template(
        "page.html"
    ).render(
        board=board,
        style=Markup(source["style.css"]),  # noqa: S704 (the package's own)
        script=Markup(source["script.js"]),  # noqa: S704
        digest=digest,
        film=next(filter(None, (embedded(line) for line in board.lines)), None),
        standing=_standing(board),
        matrices=[_matrix(board, metric) for metric in WORLDS],
        curves={cell.id: plots.learning(cell.line) for cell in board.run[:CURVES] if cell.line},
        gaps=plots.gaps([cell for cell in board.run if cell.metric == "accuracy"]),
        adaptations=list(_adaptations(board)),
        sides=[_side_by_side(board, metric) for metric in WORLDS],
        costs=board.costs,
        speeds=[row for file, record in board.speeds for row in speed_rows(file, record)],
    )


def _templates() -> Environment:
    """The package's templates, and what they may ask."""
    found = Environment(
        loader=PackageLoader("metabench.bench.leaderboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: one_line(value) if type(value) is str else value,
    )
    found.filters |= {
        "ours": text.ours, "published": text.published, "spread": text.spread, "duration": text.duration,
        "signed": text.signed, "about": text.about, "command": command, "tone": tone,
        "file": lambda record: file_name(dict(record)),
        "look": look_of, "shown": shown, "links": text.links, "code": _code, "values": dict[str, str].values,
    }  # fmt: skip
    found.globals |= {
        "WORDS": WORDS, "SIGNS": SIGNS, "WORLDS": WORLDS, "UNITS": UNITS, "LOOKS": LOOKS, "VERDICTS": VERDICTS,
        "METRICS": METRICS, "protocols": _protocols, "adapted": text.adapted, "seeds": _seeds,
    }  # fmt: skip
    return found


def tone(word: str) -> str:
    """CSS class of a verdict: "good", "bad" or "open"."""
    plain = word.removesuffix(OPEN)
    return "good" if plain in SETTLED else "bad" if plain == "below" else "open"


def _standing(board: Board) -> Mapping[str, Any]:
    """Of the published numbers: how many there are, how many are reached, and how many have each verdict.

    A number that stands beside several rows counts once, by the best of their verdicts.
    """
    words: dict[tuple[str, str], list[str]] = {}
    for cell in board.cells:
        if cell.reference is not None and cell.published is not None:
            words.setdefault((cell.reference.algorithm, cell.reference.benchmark), []).append(cell.word)
    counts = Counter(min(found, key=WORDS.index) for found in words.values())
    reached = [word for word in counts if tone(word) == "good"]
    return {
        "reached": sum(counts[word] for word in reached),
        "open": sum(counts[word] for word in reached if word.endswith(OPEN)),
        "all": counts.total(),
        "words": [(word, counts[word]) for word in WORDS if counts[word]],
    }


def _matrix(board: Board, metric: str) -> Mapping[str, Any]:
    """Benchmark × algorithm: the cell, if there is one, and whether its score is among the benchmark's best."""
    cells = [cell for cell in board.cells if cell.metric == metric]
    names = sorted({cell.algorithm for cell in cells}, key=lambda name: (index(ALGORITHMS, name), name))
    rows: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        rows.setdefault(cell.benchmark, {})[cell.algorithm] = cell
    best = {cell.id for row in rows.values() for cell in _best(list(row.values()))}
    return {"metric": metric, "algorithms": names, "rows": rows, "best": best}


def _best(cells: Sequence[Cell]) -> Iterator[Cell]:
    """The learner with the highest score, and those whose intervals do not tell them from it; none of a single one."""
    ran = [(cell, cell.line.verdict.measured) for cell in cells if cell.line and cell.algorithm not in BASELINES]
    known = [(cell, Point(score.mean, score.ci95)) for cell, score in ran if score is not None]
    if len(known) > 1:
        top = max((score for _, score in known), key=lambda score: score.value)
        yield from (c for c, score in known if score is top or top.value - score.value <= together(top, score))


def _adaptations(board: Board) -> Iterator[tuple[str, Markup]]:
    """A picture for each of the first benchmarks of control."""
    benchmarks: dict[str, list[Cell]] = {}
    for cell in board.run:
        if cell.metric == "return":
            benchmarks.setdefault(cell.benchmark, []).append(cell)
    for benchmark, cells in list(benchmarks.items())[:PANELS]:
        if picture := plots.adaptations(cells):
            yield benchmark, picture


def _side_by_side(board: Board, metric: str) -> Mapping[str, Any]:
    """The pictures of Agarwal et al. 2021, a pair for each set of test episodes."""
    drawn, title = panels(board.run, metric), METRICS[metric].title
    pairs = list(duels(drawn))
    return {
        "world": WORLDS[metric],
        "panels": [(p.benchmark, plots.interquartile_means(p, title), plots.profiles(p, title)) for p in drawn],
        "improvement": plots.improvement(pairs[: plots.LONGEST], WORLDS[metric]) if pairs else "",
    }


def _protocols(line: Line, entry: Entry) -> Iterator[tuple[str, str, str, str]]:
    """(field, ours, published, how they differ) of both protocols."""
    mine, comparison = line.row.protocol(line.verdict.measured), line.verdict.comparison
    marks = {d.field: "differs" for d in comparison.decisive} | {d.field: "noted" for d in comparison.noted}
    marks |= {field: "assumed" for field in comparison.assumed if field not in marks}
    for field in FIELDS[entry.metric]:
        theirs = shown(entry.protocol[field])
        yield field.replace("_", " "), shown(mine.get(field, "–")), theirs, marks.get(field, "")


def _seeds(line: Line) -> Iterator[tuple[str, str]]:
    """(seed, score) of each; of all, with the interval over them."""
    metric, total = METRICS[line.row.first["metric"]], line.row.measured
    for record in line.row.complete:
        yield str(record["seed"]), metric.shown(*mean_interval(record["per_task"])[:2])
    if total is not None and total.seeds_ci95 is not None:
        yield "all", f"{total.mean:.2f} ± {total.ci95:.2f} over tasks, ± {total.seeds_ci95:.2f} over seeds"


def _code(algorithm: str) -> str:
    """Where the rule of an algorithm is, from the repository's root: "algorithms/learners/maml.py"; else empty."""
    learner = LEARNERS.get(learner_of(algorithm))
    top, _, module = ("" if learner is None else learner.__module__).partition(".")
    return f"{module.replace('.', '/')}.py" if top == "metabench" else ""
