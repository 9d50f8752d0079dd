"""What `metabench compare` takes; importing it takes no torch, so that help is there at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from metabench.bench.places import RESULTS


@dataclass(frozen=True)
class CompareCommand:
    """Compare two algorithms or two sets of records: B − A with its interval, and what it may come from."""

    a: tyro.conf.Positional[str]
    """An algorithm, whose filed records are meant; or a record, a folder of records, or a folder of run folders."""
    b: tyro.conf.Positional[str]
    """The other one, of the same kind."""
    benchmark: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Benchmarks to compare on; none for all that both sides have. Repeat the flag for several."""
    results: Path = RESULTS
    """Folder with records/, where the records of algorithms are."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write all of it as JSON."""


def parse_compare(arguments: Sequence[str]) -> CompareCommand:
    """The command that the words after the verb say; SystemExit after --help or for what cannot be read."""
    return tyro.cli(CompareCommand, args=arguments, prog="metabench compare")
