"""What `metabench check` takes; importing it takes no torch, so that help is there at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class CheckCommand:
    """Run the fixed set and compare it with the baselines; exit status 1 on a regression, 2 on a broken run."""

    update: bool = False
    """Write the baselines anew, and show what changes."""
    only: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Text that a row's name must contain, e.g. "trace" or "maml glyphs"; none for all. Repeat the flag for several."""
    baselines: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The baselines; if not given those under results/baselines/, or the package's where there are none."""
    junit: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write JUnit XML."""


def parse_check(arguments: Sequence[str]) -> CheckCommand:
    """The command that the words after the verb say; SystemExit after --help or for what cannot be read."""
    return tyro.cli(CheckCommand, args=arguments, prog="metabench check")
