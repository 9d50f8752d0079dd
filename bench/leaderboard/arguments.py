"""What `metabench report` takes; importing it takes no torch, so that help is there at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from metabench.bench.places import RESULTS


@dataclass(frozen=True)
class ReportCommand:
    """Write the leaderboard from the records."""

    results: Path = RESULTS
    """Folder with records/, and published.yaml if not the package's; the leaderboard is written there."""
    check: bool = False
    """Write nothing; exit 1 if the leaderboard there is not what the records give."""
    costs: bool = False
    """First estimate anew, on one core of this machine, what the published rows that were not run would take."""


def parse_report(arguments: Sequence[str]) -> ReportCommand:
    """The command that the words after the verb say; SystemExit after --help or for what cannot be read."""
    return tyro.cli(ReportCommand, args=arguments, prog="metabench report")
