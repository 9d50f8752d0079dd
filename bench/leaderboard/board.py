"""The leaderboard's content, whatever page shows it: our rows beside the published numbers, in a fixed order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from metabench.bench.leaderboard.protocol import UNSTATED
from metabench.bench.leaderboard.published import Entry, PublishedError, load, read_yaml
from metabench.bench.leaderboard.verdict import UNVERIFIED, Verdict, verdict
from metabench.bench.places import published_in
from metabench.bench.records.rows import RefusedRecord, Row, read
from metabench.bench.records.schema import file_name
from metabench.bench.worlds.command import called, schedule

ALGORITHMS = (
    "maml", "maml-fo", "maml-noconv", "maml-promp", "anil", "anil-promp", "meta-sgd", "protonet", "metaoptnet",
    "metaoptnet-rr", "untrained", "pretrained", "oracle",
)  # fmt: skip
BENCHMARKS = (
    "omniglot", "omniglot-within", "omniglot-lake", "mini-imagenet", "quick-draw", "glyphs",
    "navigation", "cheetah-dir", "cheetah-vel", "ant", "walker", "hopper", "humanoid",
)  # fmt: skip
"""Order of the rows, by the longest of these names that a name begins with; other names follow by alphabet."""
SCHEDULES = ("paper", "short", "custom")

LARGEST_FIGURE = 2_000_000
"""Bytes of an adaptation GIF; a larger one is not shown."""

_SHAPE = re.compile(r"(.*)-(\d+)w(\d+)s")


@dataclass(frozen=True)
class Figure:
    """A moving picture of a record's learner at work."""

    seed: int
    file: str
    """Under figures/."""
    content: bytes


@dataclass(frozen=True)
class Line:
    """A row of ours beside what was published for it."""

    row: Row
    reference: Entry | None
    verdict: Verdict
    others: tuple[tuple[Entry, Verdict], ...]
    """Other reports of the same algorithm on the same benchmark."""
    explanation: str
    """What `explanations.yaml` says under the row's key, Markdown; may be empty."""
    figures: tuple[Figure, ...]

    @cached_property
    def called(self) -> str:
        """The schedule, or the flags that make the recipe where it has no name today."""
        return called(self.row.first)

    @property
    def reruns(self) -> tuple[float, ...]:
        """What others measured with the same algorithm on the same benchmark and the same kind of network, ascending.

        Their protocols may differ otherwise. What was not read in a text or a repository does not count.
        """
        if self.reference is None:
            return ()
        network = _network(self.reference, self.row.first["protocol"])
        theirs = (e for e, _ in self.others if e.system and e.value is not None and e.verification not in UNVERIFIED)
        return tuple(sorted(e.value for e in theirs if e.value is not None and _network(e, {}) in (network, UNSTATED)))

    @property
    def name(self) -> str:
        """ "maml omniglot-5w1s short", or with flags in the schedule's place."""
        return f"{self.row.first['algorithm']} {self.row.first['benchmark']} {self.called}"


@dataclass(frozen=True)
class Board:
    """Everything that the leaderboard shows."""

    lines: tuple[Line, ...]
    not_run: tuple[Entry, ...]
    """The reference of each published row without a record."""
    speeds: tuple[tuple[str, Mapping[str, Any]], ...]
    """Records of speed, each after its file name."""
    refused: tuple[RefusedRecord, ...]


def assemble(results: Path) -> Board:
    """Read a results folder: `records/` and, where they are, `published.yaml`, `explanations.yaml` and `figures/`.

    Without a `published.yaml` of its own it is held against the package's.

    Raises:
        PublishedError: for a published number or an explanation that cannot be used.
    """
    entries = load(published_in(results))
    published = _by_row(entries)
    rows, speeds, refused = read(results / "records")
    explanations = _explanations(results / "explanations.yaml", {row.key for row in rows}, whole=not refused)
    lines, run = [], set()
    for row in sorted(rows, key=_order):
        key = row.first["algorithm"], row.first["benchmark"]
        known = published.get(key, [])
        run.add(key)
        reference = _reference(row, known)
        beside = tuple((other, verdict(row, other, rows)) for other in known if other is not reference)
        figures = tuple(_figures(results / "figures", row.records))
        found = verdict(row, reference, rows)
        lines.append(Line(row, reference, found, beside, explanations.get(row.key, ""), figures))
    rest = {(e.algorithm, e.benchmark): e for e in reversed(entries) if (e.algorithm, e.benchmark) not in run}
    not_run = sorted(rest.values(), key=lambda entry: _place(entry.algorithm, entry.benchmark))
    return Board(tuple(lines), tuple(not_run), tuple(speeds), tuple(refused))


def _by_row(entries: Iterable[Entry]) -> Mapping[tuple[str, str], list[Entry]]:
    """The entries that stand beside each algorithm on each benchmark, in their order."""
    found: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        for benchmark in (entry.benchmark, *entry.beside):
            found.setdefault((entry.algorithm, benchmark), []).append(entry)
    return found


def _reference(row: Row, known: list[Entry]) -> Entry | None:
    """The first of them; but if its paper measured under the row's protocol too, that number."""
    if not known:
        return None
    same_paper = (entry for entry in known if (entry.authors, entry.paper) == (known[0].authors, known[0].paper))
    return next((entry for entry in same_paper if not verdict(row, entry).comparison.decisive), known[0])


def _figures(folder: Path, records: Iterable[Mapping[str, Any]]) -> Iterator[Figure]:
    """GIFs that are named as their record; what is no GIF, a link or too large is passed over."""
    for record in records:
        path = folder / Path(file_name(dict(record))).with_suffix(".gif").name
        if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST_FIGURE:
            continue
        content = path.read_bytes()
        if content.startswith((b"GIF87a", b"GIF89a")):
            yield Figure(record["seed"], path.name, content)


def _network(entry: Entry, ours: Mapping[str, Any]) -> str:
    """ "conv4" for "conv4-strided-64"; of ours where the source is silent, and empty for a policy."""
    stated = entry.protocol.get("backbone", "")
    return str(ours.get("backbone", stated) if stated == UNSTATED else stated).partition("-")[0]


def _explanations(path: Path, keys: set[str], *, whole: bool) -> Mapping[str, str]:
    """Text by a row's key; raises PublishedError for one of no row, unless it may be that of a record set aside."""
    content: Any = read_yaml(path) if path.is_file() else {}
    if not isinstance(content, dict) or not all(isinstance(text, str) for pair in content.items() for text in pair):
        raise PublishedError(f"{path}: expected names of rows, each with a text")
    for key in sorted(set(content) - keys) if whole else ():
        raise PublishedError(f"{path}: {key!r} is no row of the leaderboard; they are {', '.join(sorted(keys))}")
    return content


def _order(row: Row) -> tuple[Any, ...]:
    name = schedule(row.first)
    return *_place(row.first["algorithm"], row.first["benchmark"]), index(SCHEDULES, name), name


def _place(algorithm: str, benchmark: str) -> tuple[Any, ...]:
    """Sort key: data set or environment, ways, shots, algorithm."""
    shape = _SHAPE.fullmatch(benchmark)
    base, ways, shots = (shape[1], int(shape[2]), int(shape[3])) if shape else (benchmark, 0, 0)
    families = [name for name in BENCHMARKS if base == name or base.startswith(f"{name}-")]
    family = index(BENCHMARKS, max(families, key=len, default=base))
    return family, base, ways, shots, index(ALGORITHMS, algorithm), algorithm


def index(order: tuple[str, ...], name: str) -> int:
    """Place of a name in an order; names that are not in it come last."""
    return order.index(name) if name in order else len(order)
