"""What `--precision auto` stands for: bfloat16 where the hardware has it and the learner was shown to bear it.

A learner was shown to bear it by runs of two rows or more, three seeds each, once in float32 and once in bfloat16,
whose accuracies (or returns) differ by no more than the interval of the float32 ones. The runs' records are in
`results/precision/`, and `shown` is the rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from metabench.bench.records.metric import METRICS
from metabench.bench.records.rows import summarise

BEARS_BF16: frozenset[tuple[str, str]] = frozenset({("protonet", "accuracy")})
"""(learner, metric) with records that show it; `tests/unit/bench/test_precision.py` holds each against its records."""

LEAST_ROWS, LEAST_SEEDS = 2, 3

_CPU_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
"""Flags in /proc/cpuinfo: instructions that multiply bfloat16, on x86 and on ARM."""


def automatic(learner: str, metric: str, device: str) -> Literal["bf16", "fp32"]:
    """The precision of a run on a device ("cpu" or "cuda") that asks for none by name."""
    return "bf16" if (learner, metric) in BEARS_BF16 and has_bf16(device) else "fp32"


def has_bf16(device: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the hardware itself multiplies bfloat16; in software it would be slower than float32."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    flags = {flag for line in lines if line.lower().startswith(("flags", "features")) for flag in line.split()}
    return not flags.isdisjoint(_CPU_FLAGS)


def shown(records: Iterable[Mapping[str, Any]]) -> str:
    """Why these records do not show that a learner bears bfloat16; "" where they do.

    Args:
        records: completed results of one learner, in float32 and in bfloat16.
    """
    rows: dict[tuple[str, str], dict[str, dict[int, Mapping[str, Any]]]] = {}
    for record in records:
        of = rows.setdefault((record["algorithm"], record["benchmark"]), {"fp32": {}, "bf16": {}})
        of[record["provenance"]["precision"]][record["seed"]] = record
    if len(rows) < LEAST_ROWS:
        return f"{len(rows)} rows, {LEAST_ROWS} are needed"
    for (algorithm, benchmark), of in sorted(rows.items()):
        seeds = sorted(of["fp32"].keys() & of["bf16"].keys())
        if len(seeds) < LEAST_SEEDS:
            return f"{algorithm} {benchmark}: {len(seeds)} seeds in both precisions, {LEAST_SEEDS} are needed"
        pairs = [(of["fp32"][seed], of["bf16"][seed]) for seed in seeds]
        if any(full["recipe_digest"] != low["recipe_digest"] for full, low in pairs):
            return f"{algorithm} {benchmark}: the recipes differ"
        scale = METRICS[pairs[0][0]["metric"]].scale
        full, low = (summarise([pair[k] for pair in pairs], scale) for k in (0, 1))
        change = low.mean - full.mean
        if abs(change) > full.ci95:
            return f"{algorithm} {benchmark}: {change:+.2f} in bfloat16, beyond ± {full.ci95:.2f}"
    return ""
