"""A record of speed as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from metabench.bench.records.speed import rate

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
        rates = [(rate(row, side) or ("",))[0] for side in ("ours", "peer")]
        ratios = f"{ratio['median']:.2f} ({ratio['min']:.2f}-{ratio['max']:.2f})"
        busy = f"{row['cpu_time_ratio']:.2f}" if "cpu_time_ratio" in row else ""
        shown.add_row(row["workload"], *rates, ratios, f"{row['target']:g}", busy, *(_roofline(row) if machine else ()))
    return shown


def profiles(record: Mapping[str, Any]) -> Table | None:
    """Where the time of workloads goes, part by part; None where none was taken apart."""
    rows = [row for row in record["rows"] if "profile" in row]
    if not rows:
        return None
    shown = Table("share of the time", title="What the time goes to", title_justify="left")
    for row in rows:
        shown.add_column(row["workload"], justify="right")
    for part in rows[0]["profile"]:
        shown.add_row(part, *(f"{row['profile'].get(part, 0.0):.1%}" for row in rows))
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
