"""The two sides of a comparison: records found under a path, and which rows of both belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metabench.bench.records.check import BadRecord, read_record
from metabench.bench.records.protocol import protocol_key
from metabench.bench.records.rows import RefusedRecord, Row
from metabench.bench.training.checkpoint import RunFolderError


class CompareError(RunFolderError):
    """Two sets that cannot be compared; the message says why."""


@dataclass(frozen=True)
class Records:
    """One side: its rows by (algorithm, benchmark, schedule), and the files that could not be used."""

    name: str
    """The path or the algorithm."""
    rows: Mapping[tuple[str, str, str], tuple[Row, ...]]
    refused: tuple[RefusedRecord, ...]


def load(path: Path) -> Records:
    """The results under a path, checked one by one.

    Raises:
        CompareError: there is no such path, or no usable result under it.
    """
    if not path.exists():
        raise CompareError(f"{path}: there is no such file or folder")
    files = sorted({*path.glob("*.json"), *path.rglob("record.json")}) if path.is_dir() else [path]
    groups: dict[tuple[str, ...], dict[int, Mapping[str, Any]]] = {}
    refused = []
    for file in files:
        try:
            record = read_record(file, filed=False)
        except BadRecord as error:
            refused.append(RefusedRecord(str(file), str(error)))
            continue
        if record["kind"] != "result":
            continue
        key = (*row_key(record), record["recipe_digest"], protocol_key(record))
        if record["seed"] in groups.setdefault(key, {}):
            refused.append(RefusedRecord(str(file), f"is a second record of seed {record['seed']} of its row"))
            continue
        groups[key][record["seed"]] = record
    if not groups:
        why = "; ".join(f"{r.file} {r.reason}" for r in refused[:3]) or "no result among its files"
        raise CompareError(f"{path}: holds no record that can be used: {why}")
    rows: dict[tuple[str, str, str], tuple[Row, ...]] = {}
    for _, group in sorted(groups.items()):
        row = Row(tuple(group[seed] for seed in sorted(group)))
        rows[row_key(row.first)] = (*rows.get(row_key(row.first), ()), row)
    return Records(str(path), rows, tuple(refused))


def row_key(record: Mapping[str, Any]) -> tuple[str, str, str]:
    """Algorithm, benchmark and schedule."""
    return record["algorithm"], record["benchmark"], record["recipe"]["schedule"]


def match(a: Records, b: Records) -> tuple[list[tuple[Row, Row]], list[str]]:
    """Rows of both sides, and the names of those that stay alone.

    Several recipes can share a name: those of one digest belong together, then a single rest to a single rest.
    """
    pairs, alone = [], []
    for key in sorted(a.rows.keys() | b.rows.keys()):
        left, right = list(a.rows.get(key, ())), list(b.rows.get(key, ()))
        for row in list(left):
            same = [r for r in right if r.first["recipe_digest"] == row.first["recipe_digest"]]
            same.sort(key=lambda r, row=row: protocol_key(r.first) != protocol_key(row.first))  # type: ignore[misc]
            if same:
                pairs.append((row, same[0]))
                left.remove(row)
                right.remove(same[0])
        if len(left) == len(right) == 1:
            pairs.append((left.pop(), right.pop()))
        for side, rows in ((a, left), (b, right)):
            alone += [f"{' '.join(key)} (recipe {row.first['recipe_digest']}) of {side.name}" for row in rows]
    return pairs, alone
