"""What `metabench compare` takes; importing it takes no torch, so that help is there at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class CompareCommand:
    """Compare two sets of records: B − A with its interval, probability of improvement, and what differs."""

    a: tyro.conf.Positional[Path]
    """A record, a folder of records, or a folder of run folders."""
    b: tyro.conf.Positional[Path]
    """The other one."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write all of it as JSON."""


def parse_compare(arguments: Sequence[str]) -> CompareCommand:
    """The command that the words after the verb say; SystemExit after --help or for what cannot be read."""
    return tyro.cli(CompareCommand, args=arguments, prog="metabench compare")
