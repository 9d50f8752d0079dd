"""The names and flags that there are, remembered between commands: making them imports torch, which takes seconds.

They are kept beside the decoded images, in one small file for each state of the sources and of the imported data sets.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import metabench
from metabench.bench.flags import Flags, flags_of
from metabench.vision.data.places import DataError, cache_root, data_root

HEAVY = "metabench.bench.worlds"
"""The module that knows every name; where it is imported already, its answer costs nothing and is the newest.

A program may have entered names of its own there, which are not kept: `remember` is for the command line alone.
"""


@dataclass(frozen=True)
class WorldNames:
    """The names of one world."""

    title: str
    """The world's name in a heading, e.g. "control"."""
    algorithms: list[str]
    benchmarks: list[str]
    flags: dict[str, Flags]
    """Algorithm -> the flags that its recipes have."""


@dataclass(frozen=True)
class Names:
    """Every name that a command line may hold."""

    worlds: list[WorldNames]
    data_sets: list[str]

    @property
    def algorithms(self) -> list[str]:
        """Those of both worlds, each once."""
        return list(dict.fromkeys(name for world in self.worlds for name in world.algorithms))


def names() -> Names:
    """The names; made and kept where nothing is kept, or something changed since."""
    found = names_at_hand()
    if found is None:
        remember(found := _made())
    return found


def names_at_hand() -> Names | None:
    """The names, where no import has to be waited for; None where they would have to be made."""
    if HEAVY in sys.modules:
        return _made()
    with contextlib.suppress(DataError, OSError, ValueError, TypeError, LookupError):
        kept = json.loads(_path().read_text(encoding="utf-8"))
        return Names([WorldNames(**world) for world in kept["worlds"]], kept["data_sets"])
    return None


def remember(found: Names | None = None) -> None:
    """Keep the names for the next command, those given or those there are, unless they are kept already."""
    with contextlib.suppress(DataError, OSError):  # a cache that cannot be written costs time alone
        path = _path()
        if path.exists():
            return
        text = json.dumps(dataclasses.asdict(found or _made()))
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in path.parent.glob("names-*.json"):
            old.unlink(missing_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)


def _made() -> Names:
    from metabench.bench.worlds import WORLDS, resolve
    from metabench.vision import DATASETS

    return Names(
        [
            WorldNames(
                world.title,
                list(world.algorithms),
                list(world.benchmarks),
                {name: flags_of(type(resolve(name, world.benchmarks[0]))) for name in world.algorithms},
            )
            for world in WORLDS
        ],
        list(DATASETS),
    )


def _path() -> Path:
    imported = data_root() / "imported"
    state: Mapping[str, Any] = {
        "sources": sorted(_sources(Path(metabench.__file__).parent)),
        "imported": sorted(path.name for path in imported.iterdir()) if imported.is_dir() else [],
    }
    digest = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]
    return cache_root() / f"names-{digest}.json"


def _sources(folder: Path) -> Iterator[tuple[str, int, int]]:
    """(path, time of its last change, size) of every Python file of the package."""
    for place, _, files in os.walk(folder, followlinks=True):
        for file in files:
            if file.endswith(".py"):
                facts = os.stat(os.path.join(place, file))
                yield os.path.join(place, file), facts.st_mtime_ns, facts.st_size
