"""The verb `sweep`: many runs as one job that can be stopped and goes on."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import tyro
from rich.console import Console
from rich.progress import track

from metabench.bench.cli.arguments import SweepCommand, parse_sweep
from metabench.bench.cli.run import parse_run
from metabench.bench.distributed import Processes
from metabench.bench.leaderboard.published import PublishedError
from metabench.bench.leaderboard.unsettled import unsettled
from metabench.bench.places import RESULTS
from metabench.bench.recipes.recipe import RecipeError
from metabench.bench.sweep.engine import Local
from metabench.bench.sweep.job import Job, standing
from metabench.bench.sweep.sweep import Run, Stopped, Sweep
from metabench.bench.sweep.table import Lines, LiveTable, summary, table
from metabench.bench.terminal import say, table_console
from metabench.bench.training.checkpoint import locked
from metabench.bench.training.options import Machine, Options
from metabench.bench.training.run import RECORDS, from_weights
from metabench.bench.worlds import resolve, world_of
from metabench.bench.worlds.naming import labelled

USAGE = "metabench sweep paper | FILE | ALGORITHM:BENCHMARK ... [--seeds 0 1 2] [--hours H] [--dry-run] [...]"
PAPER = "paper"


@dataclasses.dataclass(frozen=True)
class Seeds:
    """What a line of a file may hold besides the arguments of `run`."""

    seeds: tuple[int, ...]


def sweep(arguments: list[str]) -> int:
    """metabench sweep; 0 nothing failed, 1 a run failed or diverged, 128 + n stopped by signal n."""
    targets, command, others = parse_sweep(arguments)
    command.check()
    if not targets:
        raise RecipeError(f"sweep needs rows first\n\nusage: {USAGE}")
    jobs: dict[Path, tuple[Job, Machine]] = {}
    for target in targets:
        for job, machine in _jobs(target, tuple(others), command):
            jobs.setdefault(job.folder, (job, machine))
    records = RECORDS if command.publish else None
    runs = [Run(job, standing(job, records)) for job, _ in jobs.values()]
    engine = _engine(command.jobs, [machine for _, machine in jobs.values()])
    if command.dry_run or PAPER in targets:
        _estimate(runs, [machine for _, machine in jobs.values()], engine.threads)
    if PAPER in targets:
        runs.sort(key=lambda run: float("inf") if run.estimate is None else run.estimate)
    console = table_console()
    if command.dry_run:
        console.print(table(runs, summary(runs, engine.at_once)))
        return 0
    with locked(command.out, "sweep folder"):
        return _run(runs, engine, console, records, 3600 * command.hours or float("inf"))


def _run(runs: Sequence[Run], engine: Local, console: Console, records: Path | None, budget: float) -> int:
    view = LiveTable(console, engine.at_once) if console.is_terminal else Lines(console)
    status = 0
    try:
        with view:
            Sweep(runs, engine, view, records=records, seconds=budget).run()
    except Stopped as stopped:
        status = 128 + stopped.number
    console.print(table(runs, summary(runs, engine.at_once)))
    if any(not run.standing.over for run in runs):
        say("the same command goes on where these stand", console)
    return status or int(any(run.standing.word in ("failed", "diverged") for run in runs))


def _jobs(target: str, flags: tuple[str, ...], command: SweepCommand) -> Iterator[tuple[Job, Machine]]:
    """What a word of the command line stands for."""
    if target == PAPER:
        yield from _papers(flags, command)
    elif Path(target).is_file():
        yield from _listed(Path(target), flags, command)
    elif ":" in target:
        algorithm, _, benchmark = target.partition(":")
        yield from _seeded((algorithm, benchmark), flags, command.seeds, command.out)
    else:
        raise RecipeError(f"{target!r} is neither paper nor a file nor a row such as maml:omniglot-5w1s")


def _papers(flags: tuple[str, ...], command: SweepCommand) -> Iterator[tuple[Job, Machine]]:
    """The cells that a published number waits in."""
    try:
        cells = unsettled(RESULTS)
    except PublishedError as error:
        raise RecipeError(str(error)) from error
    for algorithm, benchmark in cells:
        try:
            resolve(algorithm, benchmark)
        except RecipeError as error:
            say(f"passed over {algorithm} {benchmark}: {error}", Console(stderr=True))
            continue
        yield from _seeded((algorithm, benchmark), flags, command.seeds, command.out)


def _listed(path: Path, flags: tuple[str, ...], command: SweepCommand) -> Iterator[tuple[Job, Machine]]:
    """The rows of a file; a line's own flags win over those of the command line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        try:
            words = shlex.split(line, comments=True)
            if not words:
                continue
            if len(words) < 2 or any(word.startswith("-") for word in words[:2]):
                raise RecipeError("expected ALGORITHM BENCHMARK and flags, as `metabench run` takes them")
            seeds, own = tyro.cli(Seeds, args=words[2:], default=Seeds(command.seeds), return_unknown_args=True)
            yield from _seeded((words[0], words[1]), (*flags, *own), seeds.seeds, command.out)
        except SystemExit as error:
            raise RecipeError(f"{path}, line {number}: {line.strip()}: its flags cannot be read") from error
        except ValueError as error:  # RecipeError is one
            raise RecipeError(f"{path}, line {number}: {error}") from error


def _seeded(
    row: tuple[str, str], flags: tuple[str, ...], seeds: Sequence[int], out: Path
) -> Iterator[tuple[Job, Machine]]:
    """A job for each seed of a row, with flags of `metabench run`."""
    command = parse_run(*row, list(flags))
    recipe = labelled(from_weights(command.recipe, command.options.weights))
    for field in ("seed", "out", "publish", "dry_run"):
        if getattr(command.options, field) != getattr(Options(), field):
            flag = "--" + field.replace("_", "-")
            raise RecipeError(f"{recipe.name}: {flag} is for the whole sweep; --seeds names seeds")
    for seed in seeds:
        options = Options(seed=seed)
        options.check()
        yield Job((*row, *flags), recipe, seed, options.folder(recipe, out)), command.machine.settled(recipe)


def _engine(jobs: int, machines: Sequence[Machine]) -> Local:
    """This machine's cores and GPUs, shared by so many jobs at once."""
    cores = len(os.sched_getaffinity(0))
    gpus: list[str] = []
    if any(machine.where() == "cuda" for machine in machines):
        given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        gpus = [name for name in given.split(",") if name] or [str(i) for i in range(torch.cuda.device_count())]
    return Local(jobs or len(gpus) or cores, cores, gpus)


def _estimate(runs: Sequence[Run], machines: Sequence[Machine], threads: int) -> None:
    """Give each run that is not over its estimate; None stays where there can be none."""
    known: dict[object, float | None] = {}
    pairs = [(run, machine) for run, machine in zip(runs, machines, strict=True) if not run.standing.over]
    console = Console(stderr=True)
    for run, machine in track(pairs, "estimating", console=console, transient=True, disable=not console.is_terminal):
        key = (run.job.recipe, machine)
        if key not in known:
            placed = machine if machine.threads else dataclasses.replace(machine, threads=threads)
            try:
                known[key] = world_of(run.job.recipe).seconds(run.job.recipe, placed.place(Processes(placed.where())))
            except RecipeError:
                known[key] = None
        run.estimate = known[key]
