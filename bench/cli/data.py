"""The verbs `list` and `data`."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import signal
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import torch
import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from metabench.algorithms import LEARNERS, Learner
from metabench.bench.data_sets import verbs as actions
from metabench.bench.data_sets.own import import_own
from metabench.bench.recipes.few_shot import BENCHMARKS, benchmark_names
from metabench.bench.recipes.recipe import RecipeError
from metabench.bench.terminal import say, table_console
from metabench.bench.worlds import WORLDS
from metabench.envs import ENVIRONMENTS
from metabench.vision import DATASETS
from metabench.vision.data.folder import Options
from metabench.vision.data.imported import Report
from metabench.vision.data.source import cache_root, data_root
from metabench.vision.episodes import Episodes, Shape


@dataclasses.dataclass(frozen=True)
class ListCommand:
    """The names that `metabench run` knows: algorithms, benchmarks, data sets."""


def list_all(arguments: list[str]) -> int:
    """metabench list."""
    tyro.cli(ListCommand, args=arguments, prog="metabench list")
    console = table_console()
    algorithms = _table("algorithms", "name", "rule", "paper")
    for name, kind in LEARNERS.items():
        algorithms.add_row(name, escape(rule_of(kind)), escape(paper_of(kind)))
    for name, (base, fields) in {name: of for world in WORLDS for name, of in world.variants.items()}.items():
        algorithms.add_row(name, f"{base} with " + ", ".join(f"{k} = {v}" for k, v in fields.items()), "")
    console.print(algorithms)
    benchmarks = _table("benchmarks (any number of ways and shots works)", "data set", "names")
    for source in DATASETS:
        bases = {source} | {base for base, (data_set, _) in BENCHMARKS.items() if data_set == source}
        names = [name for name in benchmark_names() if name.rpartition("-")[0] in bases]
        benchmarks.add_row(source, ", ".join(names))
    console.print(benchmarks)
    show_environments(console)
    show_data(console)
    say("metabench run ALGORITHM BENCHMARK --dry-run shows a recipe and its cost.", console)
    return 0


def show_environments(console: Console) -> None:
    """Print every environment variant: what varies between its tasks, and its size."""
    table = _table("control benchmarks", "name", "tasks", "horizon", "observation", "action", "action scale")
    for name, spec in ENVIRONMENTS.items():
        sizes = (spec.horizon, spec.observation_size, spec.action_size)
        table.add_row(name, escape(spec.tasks.text), *map(str, sizes), f"{spec.action_scale:g}")
    console.print(table)


def rule_of(kind: type[Learner]) -> str:
    """What a learner does, as the first line of its module says it, or of its own docstring."""
    for text in (inspect.getmodule(kind).__doc__, kind.__doc__):
        line = (text or "").strip().partition("\n")[0]
        title, colon, rule = line.partition(": ")
        if colon and title.replace("-", "").lower() == kind.__name__.lower():
            return rule.rstrip(".")
    return line.rstrip(".")


def paper_of(kind: type[Learner]) -> str:
    """The paper that a learner's module cites: its second paragraph, up to the year."""
    paragraphs = (inspect.getmodule(kind).__doc__ or "").split("\n\n")
    found = re.match(r".*?\b(19|20)\d\d\b\)?", " ".join(paragraphs[1].split())) if len(paragraphs) > 1 else None
    return found[0] if found else ""


def show_data(console: Console) -> None:
    """Print every data set, whether it is there, and how to get what is not."""
    table = _table(
        escape(f"data sets (in {data_root()})"), "name", "present", "classes", "images", "split schemes", "licence"
    )
    rows = actions.list_data(data_root())
    for row in rows:
        unknown = "?" if row.present else ""
        counts = [unknown if n is None else f"{n:,}" for n in (row.classes, row.images)]
        schemes = "\n".join(row.schemes)
        present = "damaged" if row.damaged else "yes" if row.present else "no"
        table.add_row(row.name, present, *counts, schemes, escape(row.licence))
    console.print(table)
    for row in rows:
        if row.damaged:
            say(f"{row.name} is damaged: {row.damaged}", console)
        if row.obtain:
            say(f"{row.name} is not there; get it with: {row.obtain}", console)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        right = column in ("classes", "images")
        table.add_column(column, no_wrap=i == 0 or column == "split schemes", justify="right" if right else "left")
    return table


Name = tyro.conf.Positional[str]


@dataclasses.dataclass(frozen=True)
class ListData:
    """What data there is, and how to get the rest."""

    def act(self) -> None:
        """Print the table."""
        show_data(table_console())


@dataclasses.dataclass(frozen=True)
class Download:
    """Fetch a data set into the data folder."""

    name: Name
    """Data set."""

    def act(self) -> None:
        """Fetch, and say where."""
        with Console().status(escape(f"downloading {self.name}")):
            files = actions.download(self.name, data_root())
        _say(f"{self.name} is in", files)


@dataclasses.dataclass(frozen=True)
class Import:
    """Copy your files of a data set into the data folder; or make one, under a new name, of pictures of your own."""

    name: Name
    """Data set that metabench knows (omniglot, mini-imagenet, quick-draw), or the new name of your own."""
    path: tyro.conf.Positional[Path]
    """Files of a known one: a file (zip, tar, npz, npy, csv, pkl), a class folder, or a folder that holds such files.
    Of your own: a folder, zip or tar of class folders, or of folders train, val and test, or of pictures and a CSV."""
    unreadable: Literal["stop", "skip"] = "stop"
    """Pictures of your own that cannot be read: import nothing, or all the others. Each is named."""
    own: Annotated[Options, tyro.conf.arg(name="")] = dataclasses.field(default_factory=Options)

    def act(self) -> None:
        """Copy, and say what."""
        known = self.name in DATASETS.registered
        with Console().status(escape(f"reading {self.path}")):
            if not known:
                made = import_own(self.name, self.path, data_root(), self.own, skip=self.unreadable == "skip")
            elif (self.own, self.unreadable) != (Options(), "stop"):
                raise RecipeError(f"{self.name} is imported as it is; only its name and a path can be given")
            else:
                done = actions.import_data(self.name, self.path, data_root())
        if known:
            self._copied(done)
        else:
            self._made(made)

    def _copied(self, done: actions.Imported) -> None:
        if done.files:
            _say(f"{self.name}: {done.images:,} images read; imported", done.files)
        if done.skipped:
            _say("there already, and the same:", done.skipped)
        self._left_out(done.notes, done.left_out)

    def _made(self, made: Report) -> None:
        images = made.data.images
        _, channels, size, _ = images.images.shape
        what = f"{len(images.images):,} pictures of {len(images.names):,} classes, {size} x {size}"
        say(f"{self.name}: {what} {'grey' if channels == 1 else 'colour'}; {made.data.notes}")
        by = {"folder": "by folders", "file": "by a CSV"}.get(made.survey.scheme, f"by {made.survey.scheme}")
        say(f"classes are split {by}; this split is {made.data.split_version}")
        _say("imported into" if made.fresh else "there already, and the same:", [made.folder])
        if made.unreadable:
            _say(f"left out, as they cannot be read: {len(made.unreadable):,} pictures", made.unreadable, most=1000)
        self._left_out(made.survey.notes, [member.place for member in made.survey.left_out])
        say(f"metabench run protonet {self.name}-5w1s --dry-run shows a recipe and its cost.")

    def _left_out(self, notes: Sequence[str], places: Sequence[str]) -> None:
        for note in notes:
            say(f"note: {note}")
        if places:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in kinds_of(places).most_common())
            _say(f"left out, as no part of {self.name}: {kinds}", places)


@dataclasses.dataclass(frozen=True)
class Verify:
    """Read and decode everything of a data set, and say what it is."""

    name: Name
    """Data set."""

    def act(self) -> None:
        """Read, and say what was found."""
        actions.source_of(self.name)
        with Console().status(escape(f"reading all of {self.name}")):
            found = actions.verify(self.name, data_root())
        known = "content that metabench does not know" if found.recognised is None else found.recognised
        content = "; ".join(filter(None, (known, f"sha256 {found.digest}")))
        lines = [
            f"{found.name}: {found.classes:,} classes, {found.images:,} images, all readable ({found.seconds:.0f} s)",
            f"  {content}",
            f"  {found.notes}",
        ]
        _say("\n".join(lines), found.files)


@dataclasses.dataclass(frozen=True)
class Preview:
    """Draw one episode as a picture."""

    name: Name
    """Data set."""
    out: Path = Path("preview.png")
    """Of the picture; the ending, such as .png, chooses the format."""
    split: Literal["train", "val", "test"] = "test"
    """Whose classes."""
    scheme: str = ""
    """Split scheme; empty for the data set's first."""
    ways: int = 5
    """Classes."""
    shots: int = 1
    """Support images a class."""
    queries: int = 5
    """Query images a class."""
    rotations: bool = False
    """Count a class turned by 90°, 180° and 270° as three more classes."""
    within_group: bool = False
    """Draw the classes from one group (Omniglot: one alphabet)."""
    episode: int = 0
    """Which episode of the stream."""
    seed: int = 0
    """Of the stream."""

    def act(self) -> None:
        """Draw, and say where."""
        least = {"ways": 1, "shots": 1, "queries": 1, "episode": 0}
        for field, bound in least.items():
            if getattr(self, field) < bound:
                raise RecipeError(f"--{field} is {getattr(self, field)}; it must be at least {bound}")
        if self.episode >= 2**63:
            raise RecipeError(f"--episode is {self.episode}; the last one is {2**63 - 1}")
        source = actions.source_of(self.name)
        data = source.load(data_root(), self.scheme or source.splits[0], cache=cache_root())
        episodes = Episodes(
            data,
            self.split,
            Shape(self.ways, self.shots, self.queries),
            rotations=self.rotations,
            within_group=self.within_group,
            seed=self.seed,
        )
        support, query = episodes.draw([self.episode], torch.device("cpu"))
        title = f"{self.name} {data.split_version}, {self.split}: {self.ways} ways, {self.shots} shots"
        _say("picture:", [actions.preview(support, query, self.out, title=title)])


Verb = (
    Annotated[ListData, tyro.conf.subcommand("list")]
    | Annotated[Download, tyro.conf.subcommand("download")]
    | Annotated[Import, tyro.conf.subcommand("import")]
    | Annotated[Verify, tyro.conf.subcommand("verify")]
    | Annotated[Preview, tyro.conf.subcommand("preview")]
)


def data(arguments: list[str]) -> int:
    """metabench data list | download | import | verify | preview."""
    command: ListData | Download | Import | Verify | Preview = tyro.cli(
        Verb,
        args=arguments,
        prog="metabench data",
        description="List, get, check and look at data sets.",
        config=(tyro.conf.OmitArgPrefixes,),
    )
    with _terminated():
        command.act()
    return 0


@contextmanager
def _terminated() -> Iterator[None]:
    """A scope in which SIGTERM ends the command as an error does: what it was writing is taken back."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def kinds_of(places: Iterable[str]) -> Counter[str]:
    """How many there are of each kind: ".txt" by the ending in lower case, "folder", "file without an ending"."""
    return Counter(
        "folder" if place.endswith("/") else PurePosixPath(place).suffix.lower() or "file without an ending"
        for place in places
    )


def _say(what: str, files: Sequence[Path | str], most: int = 10) -> None:
    # A name that is not UTF-8 cannot be printed as it is.
    lines = [f"  {os.fsencode(file).decode(errors='backslashreplace')}" for file in files[:most]]
    more = [f"  … and {len(files) - most:,} more"] if len(files) > most else []
    say("\n".join([what, *lines, *more]))
