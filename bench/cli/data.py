"""The verbs below `data`: what each of them does."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import torch
from rich.console import Console
from rich.markup import escape

from metabench.bench.cli.data_arguments import Download, Import, ListData, Preview, Verify, parse_data
from metabench.bench.cli.listing import show_data
from metabench.bench.data_sets import verbs as actions
from metabench.bench.data_sets.own import import_own
from metabench.bench.recipes.recipe import RecipeError
from metabench.bench.terminal import say, table_console
from metabench.vision import DATASETS
from metabench.vision.data.imported import Report
from metabench.vision.data.options import Options
from metabench.vision.data.source import cache_root, data_root
from metabench.vision.episodes import Episodes, Shape


def download(command: Download) -> None:
    """Fetch a data set, and say where it is."""
    with Console().status(escape(f"downloading {command.name}")):
        files = actions.download(command.name, data_root())
    _say(f"{command.name} is in", files)


def import_files(command: Import) -> None:
    """Copy files of a known data set or make one of pictures, and say what was read and what left out."""
    known = command.name in DATASETS.registered
    with Console().status(escape(f"reading {command.path}")):
        if not known:
            made = import_own(command.name, command.path, data_root(), command.own, skip=command.unreadable == "skip")
        elif (command.own, command.unreadable) != (Options(), "stop"):
            raise RecipeError(f"{command.name} is imported as it is; only its name and a path can be given")
        else:
            done = actions.import_data(command.name, command.path, data_root())
    if known:
        _copied(command, done)
    else:
        _made(command, made)


def _copied(command: Import, done: actions.Imported) -> None:
    if done.files:
        _say(f"{command.name}: {done.images:,} images read; imported", done.files)
    if done.skipped:
        _say("there already, and the same:", done.skipped)
    _left_out(command, done.notes, done.left_out)


def _made(command: Import, made: Report) -> None:
    images = made.data.images
    _, channels, size, _ = images.images.shape
    what = f"{len(images.images):,} pictures of {len(images.names):,} classes, {size} x {size}"
    say(f"{command.name}: {what} {'grey' if channels == 1 else 'colour'}; {made.data.notes}")
    by = {"folder": "by folders", "file": "by a CSV"}.get(made.survey.scheme, f"by {made.survey.scheme}")
    say(f"classes are split {by}; this split is {made.data.split_version}")
    _say("imported into" if made.fresh else "there already, and the same:", [made.folder])
    if made.unreadable:
        _say(f"left out, as they cannot be read: {len(made.unreadable):,} pictures", made.unreadable, most=1000)
    _left_out(command, made.survey.notes, [member.place for member in made.survey.left_out])
    say(f"metabench run protonet {command.name}-5w1s --dry-run shows a recipe and its cost.")


def _left_out(command: Import, notes: Sequence[str], places: Sequence[str]) -> None:
    for note in notes:
        say(f"note: {note}")
    if places:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in kinds_of(places).most_common())
        _say(f"left out, as no part of {command.name}: {kinds}", places)


def verify(command: Verify) -> None:
    """Read all of a data set, and say what was found."""
    actions.source_of(command.name)
    with Console().status(escape(f"reading all of {command.name}")):
        found = actions.verify(command.name, data_root())
    known = "content that metabench does not know" if found.recognised is None else found.recognised
    content = "; ".join(filter(None, (known, f"sha256 {found.digest}")))
    lines = [
        f"{found.name}: {found.classes:,} classes, {found.images:,} images, all readable ({found.seconds:.0f} s)",
        f"  {content}",
        f"  {found.notes}",
    ]
    _say("\n".join(lines), found.files)


def preview(command: Preview) -> None:
    """Draw an episode, and say where the picture is."""
    least = {"ways": 1, "shots": 1, "queries": 1, "episode": 0}
    for field, bound in least.items():
        if getattr(command, field) < bound:
            raise RecipeError(f"--{field} is {getattr(command, field)}; it must be at least {bound}")
    if command.episode >= 2**63:
        raise RecipeError(f"--episode is {command.episode}; the last one is {2**63 - 1}")
    source = actions.source_of(command.name)
    data = source.load(data_root(), command.scheme or source.splits[0], cache=cache_root())
    episodes = Episodes(
        data,
        command.split,
        Shape(command.ways, command.shots, command.queries),
        rotations=command.rotations,
        within_group=command.within_group,
        seed=command.seed,
    )
    support, query = episodes.draw([command.episode], torch.device("cpu"))
    title = f"{command.name} {data.split_version}, {command.split}: {command.ways} ways, {command.shots} shots"
    _say("picture:", [actions.preview(support, query, command.out, title=title)])


def data(arguments: list[str]) -> int:
    """metabench data list | download | import | verify | preview."""
    command = parse_data(arguments)
    with _terminated():
        match command:
            case ListData():
                show_data(table_console())
            case Download():
                download(command)
            case Import():
                import_files(command)
            case Verify():
                verify(command)
            case Preview():
                preview(command)
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
