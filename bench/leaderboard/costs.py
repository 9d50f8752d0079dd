"""About what a run takes of each published row that nobody ran here: the dry run's estimate, kept in a file.

An estimate is of a machine, and the leaderboard is of its results folder alone: so it is made on demand
(`metabench report --costs`) and read from `costs.yaml` ever after.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from metabench.bench.distributed import Processes
from metabench.bench.leaderboard.published import PublishedError, read_yaml
from metabench.bench.recipes.recipe import RecipeError
from metabench.bench.training.checkpoint import write_atomic
from metabench.bench.training.options import Machine
from metabench.bench.training.record import processor
from metabench.bench.worlds import resolve, world_of

if TYPE_CHECKING:
    from metabench.bench.leaderboard.board import Cell

FILE = "costs.yaml"
HEAD = """\
# About how many seconds a run takes on one core, as `metabench run … --dry-run` estimates it: of each published row
# without a record. Written by `metabench report --costs` on {device}.
"""


def load_costs(results: Path) -> Mapping[str, float]:
    """Seconds by `Cell.id`; empty where the folder has no such file.

    Raises:
        PublishedError: if it holds something else.
    """
    path = results / FILE
    content = read_yaml(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise PublishedError(f"{path}: expected names of rows, each with seconds")
    for name, seconds in content.items():
        if type(seconds) not in (int, float) or not 0 < seconds < math.inf:
            raise PublishedError(f"{path}: {name}: is {seconds!r}, expected a positive number of seconds")
    return content


def estimate(results: Path, cells: Iterable[Cell]) -> None:
    """Write the file anew, of the cells that were not run; one that no recipe here is of is passed over."""
    machine = Machine(device="cpu", threads=1)
    found = {}
    for cell in cells:
        if cell.line is not None:
            continue
        try:
            recipe = resolve(cell.algorithm, cell.benchmark)
            place = machine.settled(recipe).place(Processes(machine.where()))
            found[cell.id] = _rounded(world_of(recipe).seconds(recipe, place))
        except RecipeError:
            continue
    text = HEAD.format(device=processor()) + yaml.safe_dump(found, sort_keys=False)
    write_atomic(results / FILE, text.encode())


def _rounded(seconds: float) -> int:
    """To two figures: an estimate has no more."""
    return round(float(f"{seconds:.2g}"))
