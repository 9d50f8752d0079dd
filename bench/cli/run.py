"""The verbs `run` and `evaluate`."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from metabench.algorithms.references import is_reference
from metabench.bench import stopping
from metabench.bench.cli.arguments import parse_evaluate
from metabench.bench.cli.run_usage import usage
from metabench.bench.recipes.recipe import Recipe, RecipeError
from metabench.bench.records.metric import METRICS
from metabench.bench.records.rows import summarise
from metabench.bench.records.schema import file_name
from metabench.bench.terminal import say
from metabench.bench.training.options import Machine, Options
from metabench.bench.training.run import RECORDS, execute, from_weights, retest
from metabench.bench.training.trained import trained_in
from metabench.bench.training.trainer import Stopped
from metabench.bench.worlds import resolve
from metabench.bench.worlds.naming import labelled
from metabench.bench.worlds.retest import retested


@dataclasses.dataclass(frozen=True)
class RunCommand:
    """Train, select on validation, test, write a record. A run folder that was interrupted goes on."""

    options: Annotated[Options, tyro.conf.arg(name="")]
    machine: Annotated[Machine, tyro.conf.arg(name="")]
    recipe: Annotated[Recipe, tyro.conf.arg(name="")]


def run(arguments: list[str]) -> int:
    """metabench run ALGORITHM BENCHMARK."""
    algorithm, benchmark, flags = split_names(arguments)
    if not (algorithm and benchmark):
        raise RecipeError(f"run needs an algorithm and a benchmark first\n\n{usage()}")
    command = parse_run(algorithm, benchmark, flags)
    recipe, runs = labelled(from_weights(command.recipe, command.options.weights)), command.options.each()
    if command.options.dry_run:
        from metabench.bench.training.dry_run import describe

        describe(recipe, command.machine, Console())
        if len(runs) > 1:
            say(f"all of this for each of {len(runs)} seeds", Console())
        return 0
    status, records = 0, []
    for options in runs:
        try:
            record = execute(recipe, options, command.machine)
        except KeyboardInterrupt as stop:
            if os.environ.get("RANK", "0") == "0":  # one of several processes says it
                print(f"\n{_standing(stop, options.folder(recipe))}", file=sys.stderr)
            return stopping.status(stop)
        if record is None:
            continue
        report(record, Console())
        filed = [options.folder(recipe) / "record.json", *([RECORDS / file_name(record)] if options.publish else [])]
        say("record: " + ", ".join(map(str, filed)), Console())
        records.append(record)
        status = max(status, int(record["status"] != "complete"))
    if len(records) > 1:
        say(over_seeds(records), Console())
    return status


def over_seeds(records: Sequence[Mapping[str, Any]]) -> str:
    """The score over the seeds of a recipe in one line, with Student's 95 % interval of its mean over seeds."""
    first = records[0]
    complete = [record for record in records if record["status"] == "complete"]
    title = f"{first['algorithm']} {first['benchmark']} ({first['recipe']['schedule']})"
    failed = [str(record["seed"]) for record in records if record["status"] != "complete"]
    lost = f"; seed{'s' * (len(failed) > 1)} {', '.join(failed)} diverged" if failed else ""
    if not complete:
        return f"{title}: no seed of {len(records)} was completed{lost}"
    metric = METRICS[first["metric"]]
    found = summarise(complete, metric.scale)
    interval = f" ± {found.seeds_ci95:.2f} (95 %, Student's t)" if found.seeds_ci95 is not None else ""
    seeds = f"{found.seeds} seed{'s' * (found.seeds > 1)}"
    updates = f"{found.updates} update{'s' * (found.updates != 1)}"
    return f"{title}: {metric.title} {found.mean:.2f}{interval} over {seeds}, after {updates}{lost}"


def split_names(arguments: Sequence[str]) -> tuple[str, str, list[str]]:
    """(algorithm, benchmark, the flags); a name that is missing is empty.

    `--environment module:my_package.MyEnv` stands in place of a benchmark.
    """
    names = [word for word in arguments[:2] if not word.startswith("-")]
    flags = list(arguments[len(names) :])
    own = _value_of("--environment", flags)
    if len(names) == 1 and own:
        at = next(i for i, word in enumerate(flags) if word.startswith("--environment"))
        del flags[at : at + (1 if "=" in flags[at] else 2)]
        if not is_reference(own):
            raise RecipeError(f"--environment is {own}; write module:my_package.MyEnv, or the name as the benchmark")
        names.append(own)
    return (*[*names, "", ""][:2], flags)  # type: ignore[return-value]


def _standing(stop: KeyboardInterrupt, folder: Path) -> str:
    """Where a run stands that a signal ended, and what the same command does."""
    if not isinstance(stop, Stopped):
        if (folder / "checkpoint.pt").exists():
            return "stopped; the same command goes on from the last checkpoint"
        return "stopped before anything was saved; the same command starts the run"
    if stop.iteration == 0:
        return "stopped before the first iteration; the same command starts the run"
    if stop.iteration == stop.iterations:
        return "stopped after the last iteration, which is saved; the same command tests the learner"
    return f"stopped at iteration {stop.iteration} of {stop.iterations}, which is saved; the same command goes on there"


def parse_run(algorithm: str, benchmark: str, flags: list[str]) -> RunCommand:
    """The recipe that the names stand for, with every field open to a flag."""
    recipe = resolve(algorithm, benchmark, _value_of("--schedule", flags) or "paper")
    default = RunCommand(Options(), Machine(), recipe)
    prog = f"metabench run {algorithm} {benchmark}"
    return tyro.cli(RunCommand, args=flags, prog=prog, default=default, config=(tyro.conf.OmitArgPrefixes,))


def _value_of(flag: str, flags: Sequence[str]) -> str | None:
    """What follows a flag, where it is given last: there it counts."""
    value = None
    for i, word in enumerate(flags):
        if word.startswith(flag + "="):
            value = word.split("=", 1)[1]
        elif word == flag and i + 1 < len(flags):
            value = flags[i + 1]
    return value


def report(record: dict[str, Any], console: Console) -> None:
    """The result as a table: the score after each number of updates."""
    title = f"{record['algorithm']} {record['benchmark']} ({record['recipe']['schedule']}) seed {record['seed']}"
    if record["status"] != "complete":
        advice = "the last good checkpoint is kept; try a lower --outer-lr or --inner-lr, with another --out"
        text = f"{title}: {record['status']}; {advice}"
        say(text, console, "red")
        return
    test = record["test"]
    table = Table(title=title, title_justify="left", min_width=len(title))
    table.add_column("updates", justify="right")
    metric = METRICS[record["metric"]]
    table.add_column(f"test {metric.title} (95% of {test['tasks']} tasks)", justify="right")
    for k, mean, ci95 in zip(test["updates"], test["mean"], test["ci95"], strict=True):
        table.add_row(str(k), metric.shown(mean, ci95))
    console.print(table)


def evaluate(arguments: list[str]) -> int:
    """metabench evaluate RUN_FOLDER."""
    command = parse_evaluate(arguments)
    trained = trained_in(command.folder)
    record = retest(trained, retested(trained.recipe, command.change), command.machine, command.publish)
    if record is not None and "trained_on" in record["protocol"]:
        say(f"trained on {record['protocol']['trained_on']}, tested on {record['protocol']['dataset']}")
        if images := record["protocol"].get("images"):
            say(f"its images: {images}")
    if record is not None:
        report(record, Console())
    return 0 if record is None or record["status"] == "complete" else 1
