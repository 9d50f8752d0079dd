"""What the verbs of `metabench data` take; importing it takes no torch, so that help is there at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from metabench.vision.data.options import Options

Name = tyro.conf.Positional[str]


@dataclass(frozen=True)
class ListData:
    """What data there is, and how to get the rest."""


@dataclass(frozen=True)
class Download:
    """Fetch a data set into the data folder."""

    name: Name
    """Data set."""


@dataclass(frozen=True)
class Import:
    """Copy your files of a data set into the data folder; or make one, under a new name, of pictures of your own."""

    name: Name
    """Data set that metabench knows (omniglot, mini-imagenet, quick-draw), or the new name of your own."""
    path: tyro.conf.Positional[Path]
    """Files of a known one: a file (zip, tar, npz, npy, csv, pkl), a class folder, or a folder that holds such files.
    Of your own: a folder, zip or tar of class folders, or of folders train, val and test, or of pictures and a CSV."""
    unreadable: Literal["stop", "skip"] = "stop"
    """Pictures of your own that cannot be read: import nothing, or all the others. Each is named."""
    own: Annotated[Options, tyro.conf.arg(name="")] = field(default_factory=Options)


@dataclass(frozen=True)
class Verify:
    """Read and decode everything of a data set, and say what it is."""

    name: Name
    """Data set."""


@dataclass(frozen=True)
class Preview:
    """Draw one episode as a picture."""

    name: Name
    """Data set."""
    out: Path = Path("preview.png")
    """File of the picture; the ending, such as .png, chooses the format."""
    split: Literal["train", "val", "test"] = "test"
    """Split whose classes are drawn."""
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
    """Seed of the stream."""


Command = ListData | Download | Import | Verify | Preview
VERBS: dict[str, type[Command]] = {
    "list": ListData,
    "download": Download,
    "import": Import,
    "verify": Verify,
    "preview": Preview,
}
Verb = (
    Annotated[ListData, tyro.conf.subcommand("list")]
    | Annotated[Download, tyro.conf.subcommand("download")]
    | Annotated[Import, tyro.conf.subcommand("import")]
    | Annotated[Verify, tyro.conf.subcommand("verify")]
    | Annotated[Preview, tyro.conf.subcommand("preview")]
)


def parse_data(arguments: Sequence[str]) -> ListData | Download | Import | Verify | Preview:
    """The command that the words after `data` say; SystemExit after --help or for what cannot be read."""
    command: ListData | Download | Import | Verify | Preview = tyro.cli(
        Verb,
        args=arguments,
        prog="metabench data",
        description="List, get, check and look at data sets.",
        config=(tyro.conf.OmitArgPrefixes,),
    )
    return command
