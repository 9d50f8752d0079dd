"""Records of speed as rows of a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from metabench.bench.records.check import numbers


def speed_rows(file: str, record: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """A record of speed as rows of a table: what was timed, the ratio with its range, both rates, the machine."""
    provenance = record["provenance"]
    for row in record["rows"]:
        ratio = row["ratio"]
        yield {
            "workload": row["workload"],
            "beside": row["peer"],
            "ratio": f"{ratio['median']:.2f} × ({ratio['min']:.2f} to {ratio['max']:.2f})",
            "ours": _rate(row, "ours"),
            "theirs": _rate(row, "peer"),
            "machine": f"{provenance['device']}, {provenance['threads']:.0f} threads",
            "commit": provenance["commit"][:12] + (" with changes" if provenance.get("dirty") else ""),
            "record": file,
        }


def rate(row: Mapping[str, Any], side: str) -> tuple[str, str] | None:
    """("41.2", "tasks") of a field like "ours_tasks_per_second"; None where there is none."""
    for field, value in row.items():
        name = re.fullmatch(rf"{side}_([a-z]{{1,20}})_per_second", field)
        if name and numbers([value]):
            return f"{value:,.1f}" if value >= 10 else f"{value:.3g}", name[1]
    return None


def _rate(row: Mapping[str, Any], side: str) -> str:
    """ "41.2 tasks/s"; a dash where there is no rate."""
    found = rate(row, side)
    return f"{found[0]} {found[1]}/s" if found else "–"
