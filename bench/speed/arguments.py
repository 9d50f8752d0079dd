"""What `metabench bench` and `metabench peers` take; importing it takes no torch, so that help is there at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from metabench.bench.text import unknown

SUITES = {
    "vision": "The learners beside learn2learn, the SVM head beside qpth, and how fast the machine could be.",
    "envs": "Simulation beside the limit of physics and beside Gymnasium, and what an iteration's time goes to.",
}


@dataclass(frozen=True)
class SpeedCommand:
    """Time the learners beside learn2learn, and the SVM head beside qpth."""

    only: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Names of workloads; none for all. Repeat the flag for several."""
    rounds: int = 5
    """Turns of each side."""
    threads: int = 0
    """CPU cores; 0 for all."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where tensors live."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The record; runs/speed_SUITE.json if not given."""
    publish: bool = False
    """Also file the record under results/records/."""


def parse_bench(arguments: Sequence[str]) -> tuple[str, SpeedCommand]:
    """The suite and the command that the words after `bench` say.

    Raises:
        SystemExit: after --help, or for flags that cannot be read.
        RecipeError: the first word names no suite.
    """
    suite, *rest = arguments or [""]
    if suite in ("-h", "--help"):
        print("\n".join(f"metabench bench {name:8}{text}" for name, text in SUITES.items()))
        raise SystemExit(0)
    if suite not in SUITES:
        from metabench.bench.recipes.recipe import RecipeError

        raise RecipeError(
            f"metabench bench: {unknown('suite', suite, SUITES) if suite else 'name a suite: vision, envs'}"
        )
    return suite, tyro.cli(SpeedCommand, args=rest, prog=f"metabench bench {suite}", description=SUITES[suite])


def parse_peers(arguments: Sequence[str]) -> SpeedCommand:
    """The command that the words after `peers` say; SystemExit after --help or for what cannot be read."""
    return tyro.cli(SpeedCommand, args=arguments, prog="metabench peers")
