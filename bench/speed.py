"""`metabench bench vision`: our speed beside learn2learn's, in one process and on identical work.

Each workload is first checked to be the same on both sides. Then the two take turns, A B A B …, so that whatever else
the machine does meets both; the ratio is that of neighbouring turns. learn2learn gets its better number of threads.
The roofline (`bench.roofline`) says how fast the machine could be. The record (kind "speed", JSON) holds it all.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from rich.console import Console
from rich.table import Table

from algorithms import Workers
from bench import roofline
from bench.allocator import keep_freed_memory
from bench.peers import PeerMissing
from bench.recipe import RecipeError
from bench.records import SCHEMA, provenance, write_record
from bench.workloads import Sampling, SVMHead, Training, workloads
from vision import DATASETS
from vision.episodes import Episodes, Shape
from vision.images import Dataset, cache_root, data_root

Workload = Training | SVMHead | Sampling
PLAIN_TURNS = 2
TABLE_WIDTH = 128
"""Characters that the table needs."""


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
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("runs/speed_vision.json")
    """The record."""


def bench(arguments: list[str]) -> int:
    """metabench bench vision."""
    if arguments and arguments[0] not in ("vision", "-h", "--help"):
        raise RecipeError(f"metabench bench: no suite {arguments[0]!r}; there is: vision")
    command = tyro.cli(
        SpeedCommand, args=arguments[1:] if arguments[:1] == ["vision"] else arguments, prog="metabench bench vision"
    )
    if command.device == "cuda" and not torch.cuda.is_available():
        raise RecipeError("--device cuda: this machine has no usable CUDA GPU; use --device cpu")
    chosen = workloads(episodes_of())
    unknown = set(command.only) - set(chosen)
    if unknown:
        raise RecipeError(f"no workload {sorted(unknown)}; there are: {', '.join(chosen)}")
    chosen = {name: w for name, w in chosen.items() if not command.only or name in command.only}
    workers = Workers(command.threads or torch.get_num_threads(), command.device)
    try:
        record = run(chosen, workers, command.rounds, Console(stderr=True))
    except PeerMissing as error:
        raise RecipeError(str(error)) from error
    command.out.parent.mkdir(parents=True, exist_ok=True)
    write_record(command.out, record)
    console = Console(width=max(Console().width, TABLE_WIDTH))
    console.print(table(record))
    console.print(f"record: {command.out}", markup=False)
    return 0


def episodes_of() -> Dataset:
    """Omniglot where it is at hand, else glyphs: 28×28 pictures, of which episodes are drawn."""
    name = "omniglot" if DATASETS["omniglot"].locate(data_root()) else "glyphs"
    return DATASETS[name].load(data_root(), DATASETS[name].splits[0], cache=cache_root())


def run(chosen: dict[str, Workload], workers: Workers, rounds: int, console: Console) -> dict[str, Any]:
    """The speed record of some workloads."""
    facts = provenance(torch.device(workers.device), workers.threads, "fp32", 1)
    # Before the allocator is changed for the whole process: what learn2learn takes as a user meets it.
    plain = {}
    for name, workload in chosen.items():
        console.print(f"{name}: {workload.peer} alone", markup=False)
        plain[name] = fastest_threads(workload.sides(workers).theirs, workers)
    keep_freed_memory()
    machine = roofline.measure(workers)
    rows = []
    for name, workload in chosen.items():
        console.print(f"{name}: both", markup=False)
        rows.append({"workload": name} | measure(workload, workers, rounds, machine, plain[name]))
    return {
        "schema": SCHEMA,
        "kind": "speed",
        "suite": "vision",
        "rounds": rounds,
        "machine": {
            "gflops": machine.flops / 1e9,
            "matmul_gflops": machine.matmul / 1e9,
            "conv_gflops": machine.conv / 1e9,
        },
        "rows": rows,
        "provenance": facts,
    }


def fastest_threads(call: Callable[[], object], workers: Workers) -> tuple[float, int]:
    """Seconds of one call with its better number of threads, and that number."""
    options = sorted({1, workers.threads}) if workers.device == "cpu" else [workers.threads]
    found = []
    for threads in options:
        torch.set_num_threads(threads)
        found.append((roofline.seconds(call, workers.device, PLAIN_TURNS), threads))
    return min(found)


def measure(
    workload: Workload, workers: Workers, rounds: int, machine: roofline.Machine, plain: tuple[float, int]
) -> dict[str, Any]:
    """One row: the check, both speeds, their ratio, and the roofline of our side."""
    checked = workload.check(workers)
    sides = workload.sides(workers)
    _, threads = fastest_threads(sides.theirs, workers)
    ours, theirs, cpu = alternate(sides.ours, sides.theirs, workers, threads, rounds)
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    row: dict[str, Any] = {
        "checked": checked,
        "tasks": sides.tasks,
        "ours_tasks_per_second": sides.tasks / statistics.median(ours),
        "peer": workload.peer,
        "peer_tasks_per_second": sides.tasks / statistics.median(theirs),
        "peer_threads": threads,
        "peer_alone_tasks_per_second": sides.tasks / plain[0],
        "peer_alone_threads": plain[1],
        "ratio": {"min": ratios[0], "median": statistics.median(ratios), "max": ratios[-1]},
        "cpu_time_ratio": cpu,
        "target": workload.target,
    }
    if sides.counted is not None:
        row |= roof(sides.counted, machine, workers, row["ours_tasks_per_second"])
    if isinstance(workload, Training):
        row |= share_of_sampling(workload, sides.tasks / row["ours_tasks_per_second"])
    return row


def alternate(
    ours: Callable[[], object], theirs: Callable[[], object], workers: Workers, threads: int, rounds: int
) -> tuple[list[float], list[float], float]:
    """Seconds of each turn of ours and of theirs, and the ratio of the processor time that they took."""
    wall: tuple[list[float], list[float]] = ([], [])
    cpu = [0.0, 0.0]
    for turn in range(rounds + 1):
        for side, (call, n) in enumerate(((ours, workers.threads), (theirs, threads))):
            torch.set_num_threads(n)
            start, busy = time.perf_counter(), time.process_time()
            call()
            if workers.device == "cuda":
                torch.cuda.synchronize()
            if turn:  # the first warms up
                wall[side].append(time.perf_counter() - start)
                cpu[side] += time.process_time() - busy
    return *wall, cpu[1] / cpu[0]


def roof(counted: Callable[[], object], machine: roofline.Machine, workers: Workers, speed: float) -> dict[str, Any]:
    """The roofline of one task, and the share of it that we reach."""
    work = roofline.count(counted)
    bandwidth = roofline.bandwidth(workers, work.largest)
    limit = roofline.limit(work, machine, bandwidth)
    return {
        "flops_per_task": work.flops,
        "bytes_per_task": work.product_bytes,
        "bytes_unfused_per_task": work.all_bytes,
        "bandwidth_gb_per_second": bandwidth / 1e9,
        "limit_tasks_per_second": limit,
        "share_of_limit": speed / limit,
    }


def share_of_sampling(workload: Training, step: float) -> dict[str, float]:
    """Time to draw a meta-batch over time of its meta-gradient, where the data is at hand."""
    recipe = workload.recipe()
    source = DATASETS[recipe.dataset]
    if not source.locate(data_root()):
        return {}
    data = source.load(data_root(), recipe.split, cache=cache_root())
    shape = Shape(recipe.train_ways, recipe.train_shots, recipe.train_queries)
    episodes = Episodes(data, "train", shape, rotations="train" in recipe.rotations)
    return {"sampling_share": roofline.seconds(lambda: episodes.draw(range(recipe.meta_batch)), "cpu") / step}


def table(record: dict[str, Any]) -> Table:
    """The record as a table."""
    facts = record["provenance"]
    title = f"{facts['device']}, {facts['threads']} threads, peak {record['machine']['gflops']:.0f} GFLOP/s"
    shown = Table(title=title, title_justify="left")
    for column in (
        "workload",
        "ours/s",
        "peer/s",
        "ratio (min-max)",
        "target",
        "CPU time",
        "GFLOP",
        "MB",
        "limit/s",
        "of limit",
        "sampling",
    ):
        shown.add_column(column, justify="left" if column == "workload" else "right")
    for row in record["rows"]:
        ratio = row["ratio"]
        rest = ["", "", "", ""]
        if "limit_tasks_per_second" in row:
            megabytes = row["bytes_per_task"] / 1e6
            rest = [
                f"{row['flops_per_task'] / 1e9:.2f}",
                f"{megabytes:.0f}",
                f"{row['limit_tasks_per_second']:.1f}",
                f"{row['share_of_limit']:.0%}",
            ]
        share = f"{row['sampling_share']:.1%}" if "sampling_share" in row else ""
        shown.add_row(
            row["workload"],
            f"{row['ours_tasks_per_second']:.1f}",
            f"{row['peer_tasks_per_second']:.1f}",
            f"{ratio['median']:.2f} ({ratio['min']:.2f}-{ratio['max']:.2f})",
            f"{row['target']:g}",
            f"{row['cpu_time_ratio']:.2f}",
            *rest,
            share,
        )
    return shown
