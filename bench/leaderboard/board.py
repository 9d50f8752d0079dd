"""The leaderboard's content, whatever page shows it: our rows beside the published numbers, in a fixed order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from metabench.bench.leaderboard.costs import load_costs
from metabench.bench.leaderboard.protocol import UNSTATED
from metabench.bench.leaderboard.published import Entry, PublishedError, load, read_yaml
from metabench.bench.leaderboard.verdict import OPEN, UNVERIFIED, Verdict, verdict
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

SETTLED = ("reproduced", "above")
"""Words of a published number that is reached, however much of its protocol is open."""

INCOMPARABLE = ("not comparable", "unverified reference")
"""Words of a published number that ours says nothing of."""

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
        return _reruns(self.reference, [entry for entry, _ in self.others], self.row.first["protocol"])

    @property
    def name(self) -> str:
        """ "maml omniglot-5w1s short", or with flags in the schedule's place."""
        return f"{self.row.first['algorithm']} {self.row.first['benchmark']} {self.called}"

    @property
    def gap(self) -> float | None:
        """Our score less the published one, in the shown unit; None where the two cannot be compared."""
        theirs, ours = self.reference, self.verdict.measured
        if theirs is None or theirs.value is None or ours is None or self.verdict.word in INCOMPARABLE:
            return None
        return ours.mean - theirs.value

    @property
    def settled(self) -> bool:
        """Whether the published number is reached."""
        return self.verdict.word.removesuffix(OPEN) in SETTLED

    @property
    def tasks_seen(self) -> int:
        """Training tasks, of all iterations."""
        return int(self.row.first["recipe"]["iterations"] * self.row.first["recipe"]["meta_batch"])


@dataclass(frozen=True)
class Cell:
    """An algorithm on a benchmark: the row of ours that stands for it, and what is published."""

    algorithm: str
    benchmark: str
    metric: str
    line: Line | None
    """The best-supported row: of those in fewest decisive fields from the published number the one trained on most
    tasks, and of these the one with most seeds. None where nothing was run."""
    behind: tuple[Line, ...]
    """The other rows, in this order."""
    reference: Entry | None
    reruns: tuple[float, ...]
    """What others measured, as `Line.reruns`."""

    @property
    def word(self) -> str:
        """The verdict's."""
        return "not run" if self.line is None else self.line.verdict.word

    @property
    def id(self) -> str:
        """ "maml/omniglot-5w1s", which a link names after its #."""
        return f"{self.algorithm}/{self.benchmark}"

    @property
    def published(self) -> float | None:
        """The published number; None where there is none, or curves only."""
        return None if self.reference is None else self.reference.value


@dataclass(frozen=True)
class Board:
    """Everything that the leaderboard shows."""

    cells: tuple[Cell, ...]
    """One for each algorithm and benchmark that was run or published, in the order of the page."""
    speeds: tuple[tuple[str, Mapping[str, Any]], ...]
    """Records of speed, each after its file name."""
    refused: tuple[RefusedRecord, ...]
    costs: Mapping[str, float]
    """About how many seconds a run takes, by `Cell.id`; of some that were not run."""

    @property
    def lines(self) -> tuple[Line, ...]:
        """Every row of ours."""
        return tuple(line for cell in self.cells if cell.line is not None for line in (cell.line, *cell.behind))

    @property
    def run(self) -> tuple[Cell, ...]:
        """The cells with a row of ours."""
        return tuple(cell for cell in self.cells if cell.line is not None)

    @property
    def not_run(self) -> tuple[Entry, ...]:
        """The reference of each published cell without one."""
        return tuple(cell.reference for cell in self.cells if cell.line is None and cell.reference is not None)


def assemble(results: Path) -> Board:
    """Read a results folder: `records/` and, where they are, `published.yaml`, `explanations.yaml`, `costs.yaml` and
    `figures/`.

    Without a `published.yaml` of its own it is held against the package's.

    Raises:
        PublishedError: for a published number, an explanation or an estimate that cannot be used.
    """
    entries = load(published_in(results))
    published = _by_row(entries)
    rows, speeds, refused = read(results / "records")
    explanations = _explanations(results / "explanations.yaml", {row.key for row in rows}, whole=not refused)
    lines: dict[tuple[str, str], list[Line]] = {}
    for row in rows:
        key = row.first["algorithm"], row.first["benchmark"]
        known = published.get(key, [])
        reference = _reference(row, known)
        beside = tuple((other, verdict(row, other, rows)) for other in known if other is not reference)
        figures = tuple(_figures(results / "figures", row.records))
        found = verdict(row, reference, rows)
        line = Line(row, reference, found, beside, explanations.get(row.key, ""), figures)
        lines.setdefault(key, []).append(line)
    own = [(entry.algorithm, entry.benchmark) for entry in entries]
    cells = [_cell(key, lines.get(key, []), published.get(key, [])) for key in dict.fromkeys([*lines, *own])]
    cells.sort(key=lambda cell: _place(cell.algorithm, cell.benchmark))
    return Board(tuple(cells), tuple(speeds), tuple(refused), load_costs(results))


def _cell(key: tuple[str, str], lines: Sequence[Line], known: Sequence[Entry]) -> Cell:
    if not lines:
        return Cell(*key, known[0].metric, None, (), known[0], _reruns(known[0], known[1:], {}))
    first, *behind = sorted(lines, key=_support)
    return Cell(*key, first.row.first["metric"], first, tuple(behind), first.reference, first.reruns)


def _support(line: Line) -> tuple[Any, ...]:
    """Sort key: the best-supported row first (see `Cell.line`); then the schedules in their order."""
    seeds, name = len(line.row.complete), schedule(line.row.first)
    decisive = len(line.verdict.comparison.decisive)
    return decisive, -line.tasks_seen, -seeds, index(SCHEDULES, name), name, line.row.key


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


def _reruns(reference: Entry | None, others: Iterable[Entry], ours: Mapping[str, Any]) -> tuple[float, ...]:
    """What others measured, ascending; `ours` is the protocol that stands in where the reference is silent."""
    if reference is None:
        return ()
    networks = (_network(reference, ours), UNSTATED)
    theirs = (e for e in others if e.system and e.verification not in UNVERIFIED and _network(e, {}) in networks)
    return tuple(sorted(e.value for e in theirs if e.value is not None))


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
