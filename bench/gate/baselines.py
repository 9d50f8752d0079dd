"""`results/baselines/check.json`: what `metabench check` compares with, and the only file of the past that it reads."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metabench.bench.records.check import numbers
from metabench.bench.training.checkpoint import RunFolderError, write_atomic
from metabench.bench.training.record import processor

SCHEMA = 1
LARGEST = 2**20
"""Bytes; a larger file is not read."""


class BaselineError(RunFolderError):
    """Baselines that are missing, damaged or of something else; the message says what to do."""


@dataclass(frozen=True)
class Baseline:
    """What a row measured when the baseline was made.

    values: losses of a trace, the score of each seed, or the median ratio of a speed.
    """

    values: tuple[float, ...]
    recipe: str
    """Digest of the recipe."""
    where: str
    """Kind of machine and versions on which a trace is the same bit for bit."""


def this_machine() -> str:
    """What decides the bits of a trace: equal where traces must be.

    The processor and its generation, the instructions of it that torch uses, the C library (whose functions Python and
    NumPy call), Python (whose `sum` is compensated from 3.12 on), torch and NumPy.
    """
    python = ".".join(platform.python_version_tuple()[:2])
    parts = [
        f"{processor()} {_generation()}".strip(),
        torch.backends.cpu.get_cpu_capability(),
        platform.machine(),
        " ".join(platform.libc_ver()),
        f"Python {python}",
        f"torch {torch.__version__}",
        f"NumPy {np.__version__}",
    ]
    return ", ".join(parts)


def differing(then: str, now: str) -> str:
    """ "Python 3.12 here, Python 3.11 then": what differs of two such places; empty where nothing does."""
    old, new = then.split(", "), now.split(", ")
    here_only, then_only = ([part for part in a if part not in b] for a, b in ((new, old), (old, new)))
    sides = ((here_only, "here"), (then_only, "then"))
    return "; ".join(f"{', '.join(parts)} {word}" for parts, word in sides if parts)


def _generation() -> str:
    """ "25/17", family and model, where /proc/cpuinfo has them: on rented machines many have one name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    fields = dict(reversed([line.replace("\t", "").partition(":")[::2] for line in lines]))
    return "/".join(fields[name].strip() for name in ("cpu family", "model") if name in fields)


def read(path: Path) -> dict[str, Baseline]:
    """Baselines by row name.

    Raises:
        BaselineError: the file is missing, not JSON, of another schema, or holds something else.
    """
    advice = "restore it from version control, or make it anew with: metabench check --update"
    if not path.is_file():
        raise BaselineError(f"{path}: there is no such file; {advice}")
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"larger than {LARGEST} bytes")
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise BaselineError(f"{path}: cannot be read ({error}); {advice}") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        schema = content.get("schema") if isinstance(content, dict) else None
        raise BaselineError(f"{path}: has schema {schema!r:.60}, this version reads {SCHEMA}; {advice}")
    rows = content.get("rows")
    if not isinstance(rows, dict):
        raise BaselineError(f"{path}: has no rows; {advice}")
    for name, row in rows.items():
        if not _valid(row):
            raise BaselineError(f"{path}: row {name!r:.100} is not values, recipe and where; {advice}")
    return {name: Baseline(tuple(r["values"]), r["recipe"], r["where"]) for name, r in rows.items()}


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _valid(row: Any) -> bool:
    if not isinstance(row, dict) or row.keys() != {"values", "recipe", "where"}:
        return False
    return numbers(row["values"]) and bool(row["values"]) and all(isinstance(row[k], str) for k in ("recipe", "where"))


def write(path: Path, rows: Mapping[str, Baseline]) -> None:
    """Write them all, atomically, in the order of their names."""
    content = {name: {"values": list(b.values), "recipe": b.recipe, "where": b.where} for name, b in rows.items()}
    text = json.dumps({"schema": SCHEMA, "rows": content}, indent=1, sort_keys=True, allow_nan=False)
    write_atomic(path, (text + "\n").encode())
