"""The command line: `metabench run | evaluate | list | data | quickstart`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from bench import checkpoint
from bench.recipe import Recipe, RecipeError
from bench.recipes import VARIANTS, benchmark_names, resolve
from bench.run import Machine, Options, again, execute
from vision.images import DataError

USAGE = """metabench: meta-learners on few-shot images and on locomotion, beside the published numbers

  metabench quickstart                      five learners on embedded data, two minutes
  metabench list                            algorithms, benchmarks, data sets
  metabench run ALGORITHM BENCHMARK [...]   train, select on validation, test, write a record
  metabench evaluate RUN_FOLDER [...]       test a trained run again, or under another protocol
  metabench data list|download|import|verify|preview
  metabench bench vision                    speed beside learn2learn

Every verb takes --help; `metabench run maml omniglot-5w1s --help` shows that recipe's fields."""


@dataclasses.dataclass(frozen=True)
class RunCommand:
    """Train, select on validation, test, write a record. A run folder that was interrupted goes on."""

    options: Annotated[Options, tyro.conf.arg(name="")]
    machine: Annotated[Machine, tyro.conf.arg(name="")]
    recipe: Annotated[Recipe, tyro.conf.arg(name="")]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0 done, 1 a run diverged, 2 wrong input, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    console = Console(stderr=True)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    verb, *rest = arguments
    try:
        if verb not in VERBS:
            raise RecipeError(f"no verb {verb!r}\n\n{USAGE}")
        return VERBS[verb](rest)
    except (RecipeError, DataError, checkpoint.RunFolderError) as error:
        console.print(f"metabench: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        console.print("\nstopped; the same command goes on from the last checkpoint", markup=False)
        return 130


def run(arguments: list[str]) -> int:
    """metabench run ALGORITHM BENCHMARK."""
    command = parse_run(arguments)
    recipe = _labelled(command.recipe)
    if command.options.dry_run:
        from bench.cost import describe

        describe(recipe, command.machine, Console())
        return 0
    record = execute(recipe, command.options, command.machine)
    if record is not None:
        report(record, Console())
    return 0 if record is None or record["status"] == "complete" else 1


def parse_run(arguments: list[str]) -> RunCommand:
    """The recipe that the names stand for, with every field open to a flag."""
    if len(arguments) < 2 or arguments[0].startswith("-") or arguments[1].startswith("-"):
        raise RecipeError("usage: metabench run ALGORITHM BENCHMARK [--seed N] [...]; see `metabench list`")
    algorithm, benchmark, *flags = arguments
    recipe = resolve(algorithm, benchmark, _value_of("--schedule", flags) or "paper")
    return tyro.cli(
        RunCommand,
        args=flags,
        prog=f"metabench run {algorithm} {benchmark}",
        default=RunCommand(Options(), Machine(), recipe),
        config=(tyro.conf.OmitArgPrefixes,),
    )


def _value_of(flag: str, flags: Sequence[str]) -> str | None:
    for i, word in enumerate(flags):
        if word.startswith(flag + "="):
            return word.split("=", 1)[1]
        if word == flag and i + 1 < len(flags):
            return flags[i + 1]
    return None


def _labelled(recipe: Recipe) -> Recipe:
    """The recipe as it is filed: its schedule is "custom" where a flag changed anything."""
    plain = resolve(recipe.algorithm, recipe.benchmark, recipe.schedule)
    return recipe if plain == recipe else dataclasses.replace(recipe, schedule="custom").check()


def report(record: dict[str, object], console: Console) -> None:
    """The result as a table: the score after each number of updates."""
    if record["status"] != "complete":
        console.print(f"[red]{record['status']}[/red]")
        return
    test: dict[str, list[float]] = record["test"]  # type: ignore[assignment]
    table = Table(title=f"{record['algorithm']} {record['benchmark']} seed {record['seed']}: {record['metric']}, %")
    table.add_column("updates", justify="right")
    table.add_column("test", justify="right")
    for k, mean, ci95 in zip(test["updates"], test["mean"], test["ci95"], strict=True):
        table.add_row(str(k), f"{100 * mean:.2f} ± {100 * ci95:.2f}")
    console.print(table)


@dataclasses.dataclass(frozen=True)
class EvaluateCommand:
    """Test a trained run's best learner again, under its own or another protocol."""

    folder: tyro.conf.Positional[Path]
    """Run folder."""
    ways: int = 0
    """Classes of a test episode; 0 for the recipe's."""
    shots: int = 0
    """Support images a class; 0 for the recipe's."""
    tasks: int = 0
    """Test episodes; 0 for the recipe's."""
    steps: int = -1
    """Updates on a support; -1 for the recipe's."""
    publish: bool = False
    """File the record under results/records/."""
    machine: Annotated[Machine, tyro.conf.arg(name="")] = Machine()


def evaluate(arguments: list[str]) -> int:
    """metabench evaluate RUN_FOLDER."""
    command = tyro.cli(EvaluateCommand, args=arguments, prog="metabench evaluate", config=(tyro.conf.OmitArgPrefixes,))
    path = command.folder / "checkpoint.pt"
    if not path.is_file():
        raise checkpoint.RunFolderError(f"{command.folder} holds no checkpoint.pt; give the --out of a finished `metabench run`")
    saved = checkpoint.load(path)
    recipe = Recipe(**saved["fields"]).check()
    changed = {"ways": command.ways, "shots": command.shots, "test_tasks": command.tasks}
    fields: dict[str, Any] = {name: value for name, value in changed.items() if value > 0}
    if command.steps >= 0:
        fields["test_steps"] = command.steps
    shape = f"{command.ways or recipe.ways}w{command.shots or recipe.shots}s"
    benchmark = f"{recipe.benchmark.rpartition('-')[0]}-{shape}"
    tested = dataclasses.replace(recipe, benchmark=benchmark, **fields).check()
    record = again(recipe, saved["seed"], command.folder, tested, command.machine, command.publish)
    if record is not None:
        report(record, Console())
    return 0


def list_all(arguments: list[str]) -> int:
    """metabench list."""
    from algorithms import LEARNERS
    from vision import DATASETS

    console = Console()
    console.print("algorithms:", ", ".join(LEARNERS), "  variants:", ", ".join(VARIANTS))
    console.print("benchmarks:", ", ".join(benchmark_names()), "(any NwMs works)")
    console.print("data sets: ", ", ".join(f"{name} ({', '.join(s.splits)})" for name, s in DATASETS.items()))
    return 0


VERBS: dict[str, Callable[[list[str]], int]] = {"run": run, "evaluate": evaluate, "list": list_all}
