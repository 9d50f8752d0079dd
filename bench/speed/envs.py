"""`metabench bench envs`: the speed of control as ratios measured in one run.

Closed-loop stepping takes turns with the limit of physics and with Gymnasium's vectors (`bench.speed.stepping`); whole
iterations are taken apart (`bench.speed.iteration`). The record has kind "speed", like that of `bench vision`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from rich.console import Console

from metabench.algorithms import Workers
from metabench.bench.records.schema import SCHEMA
from metabench.bench.speed.iteration import Iteration
from metabench.bench.speed.stepping import BesideGymnasium, BesidePhysics
from metabench.bench.terminal import say
from metabench.bench.training.allocator import keep_freed_memory
from metabench.bench.training.record import provenance

EnvsWorkload = BesidePhysics | BesideGymnasium | Iteration

ENVS_WORKLOADS: dict[str, EnvsWorkload] = {
    "closed-loop": BesidePhysics(),
    "gymnasium-sync": BesideGymnasium("sync", (8, 32, 128)),
    "gymnasium-async": BesideGymnasium("async", (1, 4, 16)),
    "iteration": Iteration(1.0),
    "iteration-tenth": Iteration(0.1),
}
"""The workloads, by name. An iteration takes curvature from all transitions, or from a tenth."""


def run_envs(chosen: Mapping[str, EnvsWorkload], workers: Workers, rounds: int, console: Console) -> dict[str, Any]:
    """The speed record of some workloads.

    Raises:
        Unequal: the two sides of one do not do the same.
    """
    facts = provenance(torch.device(workers.device), workers.threads, "fp32", 1)
    keep_freed_memory()
    rows = []
    for name, workload in chosen.items():
        say(f"{name}: beside {workload.peer}", console)
        rows.append({"workload": name, **workload.row(workers, rounds)})
    return {"schema": SCHEMA, "kind": "speed", "suite": "envs", "rounds": rounds, "rows": rows, "provenance": facts}
