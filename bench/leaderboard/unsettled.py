"""Which published numbers are still to be reproduced."""

from __future__ import annotations

from pathlib import Path

from metabench.bench.leaderboard.board import assemble
from metabench.bench.leaderboard.published import load
from metabench.bench.places import published_in


def unsettled(results: Path) -> list[tuple[str, str]]:
    """(algorithm, benchmark) of every published number that no record of any schedule reaches, in the file's order.

    Raises:
        PublishedError: for a published number that cannot be used.
    """
    settled = {
        (line.reference.algorithm, line.reference.benchmark)
        for line in assemble(results).lines
        if line.reference is not None and line.settled
    }
    cells = [(entry.algorithm, entry.benchmark) for entry in load(published_in(results)) if entry.value is not None]
    return [cell for cell in dict.fromkeys(cells) if cell not in settled]
