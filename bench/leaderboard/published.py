"""What others reported: `results/published.yaml`, read and checked.

An entry is one number with its protocol. The loader is strict, because a wrong reference makes every verdict on it
wrong: what is unknown, missing, of the wrong kind or at odds with the rest is refused with file, entry and field.

The first entry of an algorithm on a benchmark is its reference, the later ones are other reports of it. An entry whose
source leaves its benchmark open belongs to the likeliest one, and says beside which others it stands and what that
takes for granted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from metabench.bench.leaderboard.protocol import ELSEWHERE, FIELDS, UNSTATED
from metabench.bench.records.statistics import t975

KINDS = ("ci95", "std-over-seeds", "unstated", "none")
"""What the printed ± is: 95 % over test episodes, standard deviation over seeds, not said, or absent."""

VERIFICATION = ("primary", "official-repo", "secondary", "issue", "figure", "memory")
"""Read in the paper, in the system's own repository, in another text, in an issue thread; read off a plot; or recalled
and not read. The last two decide nothing."""


class PublishedError(ValueError):
    """A file of published numbers that cannot be trusted; the message names file, entry and field."""


@dataclass(frozen=True)
class Interval:
    """The ± that is printed with a number."""

    half_width: float | None
    """In the number's own unit; None where kind is "none"."""
    kind: str
    """One of `KINDS`."""
    seeds: int | None = None
    """Number of seeds, where kind is "std-over-seeds"."""

    @property
    def ci95(self) -> float:
        """Half-width of the 95 % interval: of a standard deviation over n seeds Student's t · s / √n, infinite for one
        seed; else as printed, and 0 where nothing is.
        """
        if self.half_width is None:
            return 0.0
        if self.seeds is None:
            return self.half_width
        return t975(self.seeds - 1) * self.half_width / math.sqrt(self.seeds) if self.seeds > 1 else math.inf


class Point(NamedTuple):
    """A score and the half-width of its interval, in its own unit."""

    value: float
    half_width: float


@dataclass(frozen=True)
class Entry:
    """One published number, or the curve that it is a point of."""

    id: str
    authors: str
    """As they are cited, e.g. "Finn et al."."""
    paper: str
    """Title of the work that reports the number."""
    system: str
    """Who ran it, where that is not the algorithm's own paper (a library, a re-run); else empty."""
    venue: str
    year: int | None
    table: str
    algorithm: str
    benchmark: str
    beside: Mapping[str, str]
    """Other benchmarks whose rows it stands beside -> what that takes for granted. May be empty."""
    metric: str
    """ "accuracy" (percent) or "return"."""
    value: float | None
    """None where the source prints curves only."""
    adaptation: tuple[Point, ...]
    """The scores after 0, 1, 2 … updates, where the source has them, with intervals of the same kind; `value` is the
    one that the protocol names."""
    interval: Interval
    verification: str
    """One of `VERIFICATION`."""
    source: str
    """Where the number was read."""
    url: str
    """Address of the work; empty where it is not known."""
    protocol: Mapping[str, Any]
    training: Mapping[str, float]
    """Schedule, where read: iterations, meta_batch, inner_lr, outer_lr. It decides no comparison."""
    notes: str

    @property
    def cite(self) -> str:
        """The system, or the authors with the year."""
        return self.system or f"{self.authors} {self.year or ''}".strip()


_ID = re.compile(r"[a-z0-9][a-z0-9.-]*")
_URL = re.compile(r"https://[\w./?=%-]+")
_SHAPE = re.compile(r".*-(\d+)w(\d+)s")
_TRAINING = ("iterations", "meta_batch", "inner_lr", "outer_lr")
_OPTIONAL: Mapping[str, Any] = {"system": "", "beside": {}, "adaptation": (), "training": {}, "notes": ""}


def load(path: Path) -> tuple[Entry, ...]:
    """Every entry of the file, in its order.

    Raises:
        PublishedError: for the first thing that is wrong.
    """
    content = read_yaml(path)
    whole = isinstance(content, dict) and {"entries"} <= set(content) <= {"papers", "common", "entries"}
    if not (whole and isinstance(content["entries"], list)):
        raise PublishedError(
            f"{path}: expected `entries`, a list, and perhaps `common`, what they share, and `papers`, their addresses"
        )
    papers = _papers(content.get("papers", {}), path)
    entries: dict[str, Entry] = {}
    for number, raw in enumerate(content["entries"], 1):
        name = raw["id"] if isinstance(raw, dict) and isinstance(raw.get("id"), str) else f"number {number}"
        try:
            entry = _entry(raw, papers)
            if entry.id in entries:
                raise _Wrong("id", "is used twice")
        except _Wrong as wrong:
            raise PublishedError(f"{path}: entry {name}: {wrong.field}: {wrong}") from None
        entries[entry.id] = entry
    for title in papers.keys() - {entry.paper for entry in entries.values()}:
        raise PublishedError(f"{path}: papers: {title!r} is no entry's paper")
    return tuple(entries.values())


def _papers(raw: Any, path: Path) -> Mapping[str, str]:
    """Title -> address; a page links to it, so it is an address of the web and nothing else."""
    if not isinstance(raw, dict):
        raise PublishedError(f"{path}: papers: is {_kind(raw)}, expected titles with addresses")
    for title, address in raw.items():
        if not (isinstance(address, str) and _URL.fullmatch(address)):
            raise PublishedError(f"{path}: papers: {title}: is {address!r}, expected an address, https://…")
    return raw


def read_yaml(path: Path) -> Any:
    """The plain data in a YAML file.

    Raises:
        PublishedError: if it cannot be read, or a mapping has a key twice.
    """
    try:
        loader = _LOADER(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        _refuse_repeated_keys(node)
        return None if node is None else loader.construct_document(node)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PublishedError(f"{path}: not readable: {' '.join(str(error).split())}") from error


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # plain data only; in C where PyYAML has it


def _refuse_repeated_keys(root: yaml.Node | None) -> None:
    """YAML itself would silently keep the last of them."""
    waiting, seen = [root] if root else [], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        waiting += node.value if isinstance(node, yaml.SequenceNode) else []
        names = set[str]()
        for key, value in node.value if isinstance(node, yaml.MappingNode) else []:
            if str(key.value) in names:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
            names.add(str(key.value))
            waiting += [key, value]


class _Wrong(ValueError):
    """What is wrong with a field."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def _entry(raw: Any, papers: Mapping[str, str]) -> Entry:
    if not isinstance(raw, dict):
        raise _Wrong("entry", f"is {_kind(raw)}, expected fields")
    names = [f.name for f in fields(Entry) if f.name != "url"]
    for field in raw:
        if field not in names:
            raise _Wrong(str(field), f"is no field of an entry; they are {', '.join(names)}")
    full = {**_OPTIONAL, **raw}
    if "adaptation" in raw:
        full |= _adaptation(raw)
    for field in names:
        if field not in full:
            raise _Wrong(field, "is missing")
        if field in _CHECKS:
            holds, expected = _CHECKS[field]
            if not holds(full[field]):
                raise _Wrong(field, f"is {full[field]!r}, expected {expected}")
    full["interval"] = _interval(full["interval"], full["value"])
    full["protocol"] = _protocol(full["protocol"], full["metric"], full["benchmark"])
    full["training"] = _training(full["training"])
    if full["metric"] == "accuracy" and full["value"] is not None and not 0 <= full["value"] <= 100:
        raise _Wrong("value", f"is {full['value']}, expected a percentage")
    return Entry(**full, url=papers.get(full["paper"], ""))


def _adaptation(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The curve as points, and the value and interval that it holds after the protocol's number of updates."""
    curve, interval, protocol = raw["adaptation"], raw.get("interval"), raw.get("protocol")
    if not (isinstance(curve, list) and len(curve) > 1 and all(map(_pair, curve))):
        raise _Wrong("adaptation", f"is {curve!r}, expected [value, half-width] after 0, 1, … updates")
    updates = protocol.get("updates") if isinstance(protocol, dict) else None
    if type(updates) is not int or not 0 <= updates < len(curve):
        raise _Wrong("adaptation", f"has no point after protocol.updates, which is {updates!r}")
    for field, holder in (("value", raw), ("half_width", interval if isinstance(interval, dict) else {})):
        if field in holder:
            raise _Wrong(field, f"is given twice: adaptation holds it, after {updates} updates")
    points = tuple(Point(*pair) for pair in curve)
    at = points[updates]
    width = {"interval": {**interval, "half_width": at.half_width}} if isinstance(interval, dict) else {}
    return {"adaptation": points, "value": at.value, **width}


def _interval(raw: Any, value: float | None) -> Interval:
    if not isinstance(raw, dict) or not {"half_width", "kind"} <= set(raw) <= {"half_width", "kind", "seeds"}:
        raise _Wrong("interval", f"is {raw!r}, expected half_width, kind and perhaps seeds")
    if raw["kind"] not in KINDS:
        raise _Wrong("interval.kind", f"is {raw['kind']!r}, expected one of {', '.join(KINDS)}")
    if raw["kind"] == "none" or value is None:
        if raw["half_width"] is not None or raw["kind"] != "none":
            raise _Wrong("interval.half_width", "is given without a value or a kind")
    elif not (_number(raw["half_width"]) and raw["half_width"] >= 0):
        raise _Wrong("interval.half_width", f"is {raw['half_width']!r}, expected a number of at least 0")
    if (raw["kind"] == "std-over-seeds") != _count(raw.get("seeds")):
        raise _Wrong("interval.seeds", f"is {raw.get('seeds')!r}; it is the number of seeds of a std-over-seeds")
    return Interval(**raw)


def _protocol(raw: Any, metric: str, benchmark: str) -> Mapping[str, Any]:
    expected = FIELDS[metric]
    if not isinstance(raw, dict):
        raise _Wrong("protocol", f"is {_kind(raw)}, expected fields")
    for field in ELSEWHERE.keys() & raw.keys():
        if not isinstance(raw[field], str):
            raise _Wrong(f"protocol.{field}", f"is {raw[field]!r}, expected str")
    for field in (*(name for name in raw if name not in ELSEWHERE), *expected):
        if field not in expected:
            raise _Wrong(f"protocol.{field}", f"is no field of a protocol; they are {', '.join(expected)}")
        if field not in raw:
            raise _Wrong(f"protocol.{field}", f"is missing; {UNSTATED!r} says that the source is silent")
        if type(raw[field]) is not expected[field] and raw[field] != UNSTATED:
            raise _Wrong(f"protocol.{field}", f"is {raw[field]!r}, expected {expected[field].__name__} or {UNSTATED!r}")
    shape = _SHAPE.fullmatch(benchmark)
    for field, number in zip(("ways", "shots"), shape.groups() if shape else (), strict=False):
        if raw.get(field) != int(number):
            raise _Wrong(f"protocol.{field}", f"is {raw.get(field)!r}, but the benchmark is {benchmark}")
    return raw


def _training(raw: Any) -> Mapping[str, float]:
    if not isinstance(raw, dict):
        raise _Wrong("training", f"is {_kind(raw)}, expected fields")
    for field, value in raw.items():
        if field not in _TRAINING or not (_number(value) and value > 0):
            raise _Wrong(f"training.{field}", f"is {value!r}; known are {', '.join(_TRAINING)}, positive numbers")
    return raw


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_number, value)) and value[1] >= 0


def _count(value: Any) -> bool:
    return type(value) is int and value >= 1


def _kind(value: Any) -> str:
    return type(value).__name__


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


_CHECKS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "id": (lambda v: isinstance(v, str) and bool(_ID.fullmatch(v)), "lower-case letters, digits, dots and dashes"),
    "authors": (_text, "text"),
    "paper": (_text, "text"),
    "system": (lambda v: isinstance(v, str), "text"),
    "venue": (_text, "text"),
    "year": (lambda v: v is None or (type(v) is int and 1950 <= v <= 2100), "a year or null"),
    "table": (_text, "text"),
    "algorithm": (lambda v: isinstance(v, str) and bool(_ID.fullmatch(v)), "a name as `metabench list` prints it"),
    "benchmark": (lambda v: isinstance(v, str) and bool(_ID.fullmatch(v)), "a name as `metabench list` prints it"),
    "beside": (
        lambda v: isinstance(v, dict) and all(_text(k) and _ID.fullmatch(k) and _text(w) for k, w in v.items()),
        "names as `metabench list` prints them, each with what is taken for granted",
    ),
    "metric": (lambda v: isinstance(v, str) and v in FIELDS, f"one of {', '.join(FIELDS)}"),
    "value": (lambda v: v is None or _number(v), "a finite number, or null for curves only"),
    "verification": (lambda v: v in VERIFICATION, f"one of {', '.join(VERIFICATION)}"),
    "source": (_text, "text"),
    "notes": (lambda v: isinstance(v, str), "text"),
}  # fmt: skip
