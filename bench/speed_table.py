"""A record of speed as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

WIDTH = 128
"""Characters that the table with the roofline needs."""
PEERS = ("workload", "ours/s", "peer/s", "ratio (min-max)", "target", "CPU time")
ROOFLINE = ("GFLOP", "MB", "limit/s", "of limit", "sampling")


def table(record: Mapping[str, Any]) -> Table:
    """Both speeds and their ratio, a line a workload; and what the roofline says, where it was measured."""
    facts, machine = record["provenance"], record.get("machine")
    peak = f", peak {machine['gflops']:.0f} GFLOP/s" if machine else ""
    shown = Table(title=f"{facts['device']}, {facts['threads']} threads{peak}", title_justify="left")
    for column in PEERS + (ROOFLINE if machine else ()):
        shown.add_column(column, justify="left" if column == "workload" else "right")
    for row in record["rows"]:
        ratio = row["ratio"]
        cells = [
            row["workload"],
            f"{row['ours_tasks_per_second']:.1f}",
            f"{row['peer_tasks_per_second']:.1f}",
            f"{ratio['median']:.2f} ({ratio['min']:.2f}-{ratio['max']:.2f})",
            f"{row['target']:g}",
            f"{row['cpu_time_ratio']:.2f}",
        ]
        shown.add_row(*cells, *(_roofline(row) if machine else ()))
    return shown


def _roofline(row: Mapping[str, Any]) -> list[str]:
    share = f"{row['sampling_share']:.1%}" if "sampling_share" in row else ""
    if "limit_tasks_per_second" not in row:
        return ["", "", "", "", share]
    return [
        f"{row['flops_per_task'] / 1e9:.2f}",
        f"{row['bytes_per_task'] / 1e6:.0f}",
        f"{row['limit_tasks_per_second']:.1f}",
        f"{row['share_of_limit']:.0%}",
        share,
    ]
