"""Records: one JSON file for each finished run, and the only source of every number that is shown.

Everything outside `provenance` and the checksum is a function of the recipe, the seed and the data, bit for bit on a
CPU with the same number of threads; `provenance` says where, when and how long.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
import resource
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metabench.bench.recipes.recipe import Recipe
from metabench.bench.records.schema import SCHEMA, sealed
from metabench.bench.records.statistics import mean_interval
from metabench.bench.training.checkpoint import write_atomic
from metabench.bench.training.trainer import State
from metabench.bench.worlds.built import Built

PACKAGES = ("torch", "torchvision", "numpy", "pillow", "gymnasium", "mujoco")
SOURCES = ("algorithms", "vision", "envs", "bench")
ROOT = Path(__file__).resolve().parents[2]


def make_record(
    recipe: Recipe,
    seed: int,
    built: Built,
    state: State,
    scores: np.ndarray,
    provenance: dict[str, Any],
    trained: Recipe | None = None,
) -> dict[str, Any]:
    """The record of a finished run.

    Args:
        trained: what the learner was trained and selected under, where it is tested under something else.
        scores: (test tasks, K + 1) after 0 … K updates; empty where the run diverged.
    """
    after = [mean_interval(column) for column in scores.T] if len(scores) else []
    return {
        "schema": SCHEMA,
        "kind": "result",
        "algorithm": recipe.algorithm,
        "benchmark": recipe.benchmark,
        "seed": seed,
        "status": f"diverged: {state.diverged}" if state.diverged else "complete",
        "recipe": dataclasses.asdict(recipe),
        "recipe_digest": recipe.digest(trained),
        **({} if trained is None else {"trained_recipe": dataclasses.asdict(trained)}),
        "protocol": built.protocol,
        "metric": built.suite.score_name,
        "test": {
            "updates": list(range(len(after))),
            "mean": [e.mean for e in after],
            "ci95": [e.ci95 for e in after],
            "tasks": len(scores),
        },
        "judged_update": recipe.judged,
        "per_task": [round(float(s), 6) for s in scores[:, recipe.judged]] if len(scores) else [],
        "selected_iteration": state.best_iteration,
        "curve": state.curve,
        "provenance": provenance,
    }


def provenance(
    device: torch.device, threads: int, precision: str, processes: int, *, compile: bool = False
) -> dict[str, Any]:
    """Where and how a run is made, asked at its start, when the sources are those that run."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    commit, dirty = _git()
    launcher = ["metabench"] if processes == 1 else ["torchrun", f"--nproc-per-node={processes}", "-m", "metabench"]
    return {
        "command": shlex.join([*launcher, *sys.argv[1:]]),
        "device": f"{device.type}: {name}",
        "threads": threads,
        "processes": processes,
        "precision": precision,
        "compile": compile,
        "python": platform.python_version(),
        "packages": {p: importlib.metadata.version(p) for p in PACKAGES},
        "commit": commit,
        "dirty": dirty,
    }


def peak_memory_mib() -> int:
    """The largest resident set of this process so far, MiB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def processor() -> str:
    """The CPU's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _git() -> tuple[str, bool | None]:
    """Commit and whether the sources differ from it (results do not count); ("unknown", None) outside a checkout."""

    def ask(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(ask("rev-parse", "--show-toplevel")).resolve() != ROOT:  # installed somewhere in another project
            return "unknown", None
        return ask("rev-parse", "HEAD"), bool(ask("status", "--porcelain", "--", *SOURCES))
    except (OSError, subprocess.CalledProcessError):
        return "unknown", None


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write atomically, as JSON without NaN, sealed with a checksum of its content."""
    write_atomic(path, (json.dumps(sealed(record), indent=1, allow_nan=False) + "\n").encode())
