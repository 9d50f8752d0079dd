"""`metabench bench vision|envs` and `metabench peers`: our speed beside others', in one process on identical work.

Each workload is first checked to be the same on both sides. Then the two take turns, A B A B …, so that whatever else
the machine does meets both; the ratio is that of neighbouring turns. learn2learn gets its better number of threads.
`bench vision` adds the roofline (`bench.speed.roofline`): how fast the machine could be. `bench envs` is control's
(`bench.speed.envs`). The record has kind "speed".
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.console import Console

from metabench.algorithms import Workers
from metabench.bench.recipes.recipe import RecipeError
from metabench.bench.records.check import check_speed
from metabench.bench.records.schema import SCHEMA
from metabench.bench.speed import roofline
from metabench.bench.speed.arguments import SpeedCommand, parse_bench, parse_peers
from metabench.bench.speed.envs import ENVS_WORKLOADS, run_envs
from metabench.bench.speed.peers import PeerMissing
from metabench.bench.speed.table import WIDTH, profiles, table
from metabench.bench.speed.turns import alternate, ratio
from metabench.bench.speed.workloads import Sampling, SVMHead, Training, Unequal, workloads
from metabench.bench.terminal import complain, say
from metabench.bench.text import unknown
from metabench.bench.training.allocator import keep_freed_memory, share_one_heap
from metabench.bench.training.record import provenance, write_record
from metabench.bench.training.run import RECORDS
from metabench.vision import DATASETS
from metabench.vision.data.source import Dataset, cache_root, data_root
from metabench.vision.episodes import Episodes, Shape

Workload = Training | SVMHead | Sampling
Named = TypeVar("Named")
PLAIN_TURNS = 2


def bench(arguments: list[str]) -> int:
    """metabench bench vision|envs."""
    suite, command = parse_bench(arguments)
    return _timed(command, suite)


def peers(arguments: list[str]) -> int:
    """metabench peers."""
    return _timed(parse_peers(arguments), "peers")


def _timed(command: SpeedCommand, suite: str) -> int:
    """Time what the command asks for, write the record, print it; 1 where the two sides do not do the same."""
    if command.device == "cuda" and not torch.cuda.is_available():
        raise RecipeError("--device cuda: this machine has no usable CUDA GPU; use --device cpu")
    for flag, value, least in (("rounds", command.rounds, 1), ("threads", command.threads, 0)):
        if value < least:
            raise RecipeError(f"--{flag} is {value}; it must be at least {least}")
    try:
        record = _measured(command, suite, Console(stderr=True))
    except PeerMissing as error:
        raise RecipeError(str(error)) from error
    except Unequal as error:
        complain(f"{error}; nothing is timed until both sides do the same work")
        return 1
    check_speed(record)
    path = command.out or Path(f"runs/speed_{suite}.json")
    for target in [path, *([RECORDS / file_name(record)] if command.publish else [])]:
        write_record(target, record)
    console = Console()
    Console(width=max(console.width, WIDTH) if suite == "vision" else None).print(table(record))
    if shares := profiles(record):
        console.print(shares)
    say(f"record: {path}", console)
    return 0


def _measured(command: SpeedCommand, suite: str, console: Console) -> dict[str, Any]:
    workers = Workers(command.threads or torch.get_num_threads(), command.device)
    if suite == "envs":
        return run_envs(_chosen(ENVS_WORKLOADS, command.only), workers, command.rounds, console)
    return run(_chosen(workloads(episodes_of()), command.only), workers, command.rounds, suite, console)


def _chosen(known: Mapping[str, Named], only: Sequence[str]) -> dict[str, Named]:
    """The workloads of these names; all where none is named."""
    for name in only:
        if name not in known:
            raise RecipeError(unknown("workload", name, known))
    return {name: workload for name, workload in known.items() if not only or name in only}


def file_name(record: Mapping[str, Any]) -> str:
    """Where a record of speed is filed: one a suite and machine, the newest."""
    facts = record["provenance"]
    return re.sub(r"[^\w+-]+", "-", f"speed_{record['suite']}_{facts['device']}_{facts['threads']}-threads") + ".json"


def episodes_of() -> Dataset:
    """Omniglot where it is at hand, else glyphs: 28×28 pictures, of which episodes are drawn."""
    name = "omniglot" if DATASETS["omniglot"].locate(data_root()) else "glyphs"
    return DATASETS[name].load(data_root(), DATASETS[name].splits[0], cache=cache_root())


def run(chosen: Mapping[str, Workload], workers: Workers, rounds: int, suite: str, console: Console) -> dict[str, Any]:
    """The speed record of some workloads.

    Raises:
        Unequal: the two sides of one do not do the same.
    """
    facts = provenance(torch.device(workers.device), workers.threads, "fp32", 1)
    # Before a peer's threads make heaps that ours would meet; its own tensors are the main thread's, in the main heap.
    share_one_heap()
    # Before freed memory is kept for the whole process: what learn2learn takes as a user meets it.
    plain = {}
    for name, workload in chosen.items():
        say(f"{name}: {workload.peer} alone", console)
        plain[name] = fastest_threads(workload.sides(workers).theirs, workers)
    keep_freed_memory()
    machine = roofline.measure(workers) if suite == "vision" else None
    rows = []
    for name, workload in chosen.items():
        say(f"{name}: both", console)
        row = {"workload": name, **measure(workload, workers, rounds, plain[name])}
        rows.append(row if machine is None else row | beside_the_limit(workload, workers, machine, row))
    record = {"schema": SCHEMA, "kind": "speed", "suite": suite, "rounds": rounds, "rows": rows, "provenance": facts}
    if machine is not None:
        rates = zip(("gflops", "matmul_gflops", "conv_gflops"), machine, strict=True)
        record["machine"] = {name: rate / 1e9 for name, rate in rates}
    return record


def fastest_threads(call: Callable[[], object], workers: Workers) -> tuple[float, int]:
    """Seconds of one call with its better number of threads, and that number."""
    options = sorted({1, workers.threads}) if workers.device == "cpu" else [workers.threads]
    found = []
    for threads in options:
        torch.set_num_threads(threads)
        found.append((roofline.seconds(call, workers.device, PLAIN_TURNS), threads))
    return min(found)


def measure(workload: Workload, workers: Workers, rounds: int, plain: tuple[float, int]) -> dict[str, Any]:
    """One row: the check, both speeds, and their ratio."""
    checked = workload.check(workers)
    sides = workload.sides(workers)
    _, threads = fastest_threads(sides.theirs, workers)
    ours, theirs, cpu = alternate(sides.ours, sides.theirs, workers, threads, rounds)
    return {
        "checked": checked,
        "tasks": sides.tasks,
        "ours_tasks_per_second": sides.tasks / statistics.median(ours),
        "peer": workload.peer,
        "peer_tasks_per_second": sides.tasks / statistics.median(theirs),
        "peer_threads": threads,
        "peer_alone_tasks_per_second": sides.tasks / plain[0],
        "peer_alone_threads": plain[1],
        "ratio": ratio(ours, theirs),
        "cpu_time_ratio": cpu,
        "target": workload.target,
    }


def beside_the_limit(
    workload: Workload, workers: Workers, machine: roofline.Machine, row: Mapping[str, Any]
) -> dict[str, Any]:
    """What the machine could do of our side of a measured row, and the share that drawing the tasks takes."""
    counted, speed = workload.sides(workers).counted, row["ours_tasks_per_second"]
    found = roof(counted, machine, workers, speed) if counted is not None else {}
    return found | share_of_sampling(workload, row["tasks"] / speed) if isinstance(workload, Training) else found


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
