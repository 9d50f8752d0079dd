"""The leaderboard's content, whatever page shows it: our rows beside the published numbers, in a fixed order."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.published import Entry, PublishedError, load, read_yaml
from bench.results import RefusedRecord, Row, read
from bench.verdict import Verdict, verdict

ALGORITHMS = ("maml", "maml-fo", "maml-noconv", "anil", "meta-sgd", "protonet", "metaoptnet", "metaoptnet-rr")
BENCHMARKS = ("omniglot", "omniglot-within", "omniglot-lake", "mini-imagenet", "quick-draw", "glyphs")
"""Order of the rows; other names follow by alphabet."""

_SHAPE = re.compile(r"(.*)-(\d+)w(\d+)s")


@dataclass(frozen=True)
class Line:
    """A row of ours beside what was published for it."""

    row: Row
    reference: Entry | None
    verdict: Verdict
    others: tuple[tuple[Entry, Verdict], ...]
    """Other reports of the same algorithm on the same benchmark."""
    explanation: str
    """What `explanations.yaml` says about the row, Markdown; may be empty."""

    @property
    def name(self) -> str:
        """ "maml omniglot-5w1s short": under this an explanation is filed."""
        return _name(self.row)


@dataclass(frozen=True)
class Board:
    """Everything that the leaderboard shows."""

    lines: tuple[Line, ...]
    not_run: tuple[Entry, ...]
    """The reference of each published row without a record."""
    refused: tuple[RefusedRecord, ...]


def assemble(results: Path) -> Board:
    """Read a results folder: `published.yaml`, `records/` and, where there is one, `explanations.yaml`.

    Raises:
        PublishedError: for a published number or an explanation that cannot be used.
    """
    published: dict[tuple[str, str], list[Entry]] = {}
    for entry in load(results / "published.yaml"):
        published.setdefault((entry.algorithm, entry.benchmark), []).append(entry)
    rows, refused = read(results / "records")
    explanations = _explanations(results / "explanations.yaml", {_name(row) for row in rows})
    lines, run = [], set()
    for row in sorted(rows, key=lambda r: (*_place(r.first["algorithm"], r.first["benchmark"]), r.schedule)):
        key = (row.first["algorithm"], row.first["benchmark"])
        run.add(key)
        known = published.get(key, [])
        reference = known[0] if known else None
        beside = tuple((other, verdict(row, other)) for other in known[1:])
        lines.append(Line(row, reference, verdict(row, reference), beside, explanations.get(_name(row), "")))
    rest = [entries[0] for key, entries in published.items() if key not in run]
    rest.sort(key=lambda entry: _place(entry.algorithm, entry.benchmark))
    return Board(tuple(lines), tuple(rest), tuple(refused))


def _name(row: Row) -> str:
    return f"{row.first['algorithm']} {row.first['benchmark']} {row.schedule}"


def _explanations(path: Path, names: set[str]) -> Mapping[str, str]:
    content: Any = read_yaml(path) if path.is_file() else {}
    if not isinstance(content, dict) or not all(isinstance(text, str) for pair in content.items() for text in pair):
        raise PublishedError(f"{path}: expected names of rows, each with a text")
    for name in sorted(set(content) - names):
        raise PublishedError(f"{path}: {name!r} is no row of the leaderboard; they are {', '.join(sorted(names))}")
    return content


def _place(algorithm: str, benchmark: str) -> tuple[int, str, int, int, int, str]:
    """Sort key: data set, ways, shots, algorithm."""
    shape = _SHAPE.fullmatch(benchmark)
    base, ways, shots = (shape[1], int(shape[2]), int(shape[3])) if shape else (benchmark, 0, 0)
    return (index(BENCHMARKS, base), base, ways, shots, index(ALGORITHMS, algorithm), algorithm)


def index(order: tuple[str, ...], name: str) -> int:
    """Place of a name in an order; names that are not in it come last."""
    return order.index(name) if name in order else len(order)
