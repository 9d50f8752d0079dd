"""The verbs `run` and `evaluate`."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from algorithms import LEARNERS
from bench.cli.terminal import say
from bench.recipes import control as recipes_control
from bench.recipes.few_shot import VARIANTS, benchmark_names, learner_of, resolve
from bench.recipes.recipe import ControlRecipe, FewShotRecipe, Recipe, RecipeError, from_fields, unknown
from bench.records.schema import file_name
from bench.training import checkpoint
from bench.training.run import RESULTS, Machine, Options, again, execute
from envs import ENVIRONMENTS, family
from vision import DATASETS


@dataclasses.dataclass(frozen=True)
class RunCommand:
    """Train, select on validation, test, write a record. A run folder that was interrupted goes on."""

    options: Annotated[Options, tyro.conf.arg(name="")]
    machine: Annotated[Machine, tyro.conf.arg(name="")]
    recipe: Annotated[FewShotRecipe, tyro.conf.arg(name="")]


@dataclasses.dataclass(frozen=True)
class ControlCommand:
    """Train, select on validation, test, write a record. A run folder that was interrupted goes on."""

    options: Annotated[Options, tyro.conf.arg(name="")]
    machine: Annotated[Machine, tyro.conf.arg(name="")]
    recipe: Annotated[ControlRecipe, tyro.conf.arg(name="")]


def run(arguments: list[str]) -> int:
    """metabench run ALGORITHM BENCHMARK."""
    names = [word for word in arguments[:2] if not word.startswith("-")]
    if len(names) < 2:
        if "-h" in arguments or "--help" in arguments:
            print(usage())
            return 0
        raise RecipeError(f"run needs an algorithm and a benchmark first\n\n{usage()}")
    command = parse_run(names[0], names[1], arguments[2:])
    recipe = labelled(command.recipe)
    if command.options.dry_run:
        from bench.training.dry_run import describe

        describe(recipe, command.machine, Console())
        return 0
    publishes = command.options.publish
    record = execute(recipe, command.options, command.machine)
    if record is not None:
        report(record, Console())
        filed = [command.options.folder(recipe) / "record.json", *([RESULTS / file_name(record)] if publishes else [])]
        say("record: " + ", ".join(map(str, filed)), Console())
    return 0 if record is None or record["status"] == "complete" else 1


def usage() -> str:
    """What `run` takes, with the names there are."""
    return (
        "usage: metabench run ALGORITHM BENCHMARK [--schedule short] [--seed N] [--dry-run] [...]\n\n"
        f"{_wrapped('  algorithms: ', [*LEARNERS, *VARIANTS])}\n{_wrapped('  benchmarks: ', benchmark_names())}\n"
        f"{_wrapped('  in control: ', [*LEARNERS, *recipes_control.VARIANTS])}\n"
        f"{_wrapped('  benchmarks: ', ENVIRONMENTS)}\n\n"
        "`metabench run maml omniglot-5w1s --help` shows every flag of that recipe."
    )


def _wrapped(title: str, names: Iterable[str]) -> str:
    """Names separated by commas, in lines of 100 characters under their title."""
    text = ", ".join(names)
    indent = " " * len(title)
    return textwrap.fill(text, 100, initial_indent=title, subsequent_indent=indent, break_on_hyphens=False)


def parse_run(algorithm: str, benchmark: str, flags: list[str]) -> RunCommand | ControlCommand:
    """The recipe that the names stand for, with every field open to a flag."""
    recipe = resolve(algorithm, benchmark, _value_of("--schedule", flags) or "paper")
    default: RunCommand | ControlCommand
    if isinstance(recipe, ControlRecipe):
        default = ControlCommand(Options(), Machine(), recipe)
    else:
        assert isinstance(recipe, FewShotRecipe)
        default = RunCommand(Options(), Machine(), recipe)
    prog = f"metabench run {algorithm} {benchmark}"
    return tyro.cli(type(default), args=flags, prog=prog, default=default, config=(tyro.conf.OmitArgPrefixes,))


def _value_of(flag: str, flags: Sequence[str]) -> str | None:
    for i, word in enumerate(flags):
        if word.startswith(flag + "="):
            return word.split("=", 1)[1]
        if word == flag and i + 1 < len(flags):
            return flags[i + 1]
    return None


def labelled(recipe: Recipe) -> Recipe:
    """The recipe as it is filed: its schedule is "custom" where a flag changed anything."""
    plain = resolve(recipe.algorithm, recipe.benchmark, recipe.schedule)
    _keeps_its_name(recipe, plain)
    if recipe.head != plain.head and isinstance(recipe, ControlRecipe):
        raise RecipeError(f"{recipe.name}: --head {recipe.head} is of few-shot images; in control it is always ridge")
    if recipe.head != plain.head and recipe.penalty == plain.penalty:
        raise RecipeError(
            f"{recipe.name}: --head {recipe.head} needs a --penalty of its own: C of svm or λ of ridge, 0.1 and 50 "
            "in the paper"
        )
    return recipe if plain == recipe else dataclasses.replace(recipe, schedule="custom").check()


def _keeps_its_name(recipe: Recipe, plain: Recipe) -> None:
    """Raise RecipeError where a flag undoes what a variant is named for; rates and penalties are not that."""
    variants = recipes_control.VARIANTS if isinstance(recipe, ControlRecipe) else VARIANTS
    learner, fields = variants.get(recipe.algorithm, (recipe.algorithm, {}))
    for name, value in fields.items():
        if not isinstance(value, float) and getattr(recipe, name) != getattr(plain, name):
            raise RecipeError(f"{recipe.name}: {recipe.algorithm} means {name} = {value}; run {learner} for another")


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
    scale, unit = (100, ", %") if record["metric"] == "accuracy" else (1, "")
    table.add_column(f"test {record['metric']}{unit} (95% of {test['tasks']} tasks)", justify="right")
    for k, mean, ci95 in zip(test["updates"], test["mean"], test["ci95"], strict=True):
        table.add_row(str(k), f"{scale * mean:.2f} ± {scale * ci95:.2f}")
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
    environment: str = ""
    """Control: test in this variant, whose policy sees and does the same; the recipe's if not given."""
    tasks: int = 0
    """Test episodes; 0 for the recipe's."""
    steps: int = -1
    """Updates on a support; -1 for the recipe's."""
    publish: bool = False
    """File the record under results/records/."""
    machine: Annotated[Machine, tyro.conf.arg(name="")] = dataclasses.field(default_factory=Machine)


def evaluate(arguments: list[str]) -> int:
    """metabench evaluate RUN_FOLDER."""
    command = tyro.cli(EvaluateCommand, args=arguments, prog="metabench evaluate", config=(tyro.conf.OmitArgPrefixes,))
    path = command.folder / "checkpoint.pt"
    if not command.folder.exists():
        raise checkpoint.RunFolderError(
            f"{command.folder} does not exist; give the --out of a finished `metabench run`"
        )
    if not path.is_file():
        raise checkpoint.RunFolderError(
            f"{command.folder} holds no checkpoint.pt; give the --out of a finished `metabench run`"
        )
    saved = checkpoint.load_run(path)
    recipe = from_fields(saved["fields"])
    _exists(recipe)
    record = again(recipe, saved["seed"], command.folder, retested(recipe, command), command.machine, command.publish)
    if record is not None:
        report(record, Console())
    return 0 if record is None or record["status"] == "complete" else 1


def _exists(recipe: Recipe) -> None:
    """Raise RecipeError where what a checkpoint names is no longer registered."""
    if learner_of(recipe.algorithm) not in LEARNERS:
        raise RecipeError(unknown("algorithm", recipe.algorithm, LEARNERS))
    if isinstance(recipe, FewShotRecipe) and recipe.dataset not in DATASETS:
        raise RecipeError(unknown("data set", recipe.dataset, DATASETS))
    if isinstance(recipe, ControlRecipe) and not {recipe.environment, recipe.benchmark} <= ENVIRONMENTS.keys():
        raise RecipeError(unknown("environment", recipe.environment, ENVIRONMENTS))


def retested(recipe: Recipe, command: EvaluateCommand) -> Recipe:
    """The recipe with the test fields that the command changes, and the benchmark that this is.

    Another number of tasks or updates than the schedule's makes it "custom".
    """
    changed = {"ways": command.ways, "shots": command.shots, "test_tasks": command.tasks}
    for name, value in changed.items():
        if value < 0:
            raise RecipeError(f"--{name.removeprefix('test_')} is {value}; it must be positive, or 0 for the recipe's")
    fields: dict[str, Any] = {name: value for name, value in changed.items() if value > 0}
    if command.steps < -1:
        raise RecipeError(f"--steps is {command.steps}; it must be at least 0, or -1 for the recipe's")
    if command.steps >= 0:
        fields["test_steps"] = command.steps
    if any(fields.get(name, getattr(recipe, name)) != getattr(recipe, name) for name in ("test_tasks", "test_steps")):
        fields["schedule"] = "custom"
    if not isinstance(recipe, FewShotRecipe):
        if command.ways or command.shots:
            raise RecipeError(
                f"{recipe.name}: --ways and --shots are of few-shot images; control takes --tasks, --steps"
            )
        assert isinstance(recipe, ControlRecipe)
        return dataclasses.replace(recipe, benchmark=_variant(recipe, command.environment), **fields).check()
    if command.environment:
        raise RecipeError(f"{recipe.name}: --environment is of control; few-shot images take --ways and --shots")
    shape = f"{command.ways or recipe.ways}w{command.shots or recipe.shots}s"
    benchmark = f"{recipe.benchmark.rpartition('-')[0]}-{shape}"
    return dataclasses.replace(recipe, benchmark=benchmark, **fields).check()


def _variant(recipe: ControlRecipe, name: str) -> str:
    """The variant to test in; raises RecipeError unless it is of the same benchmark and fits the policy."""
    if not name:
        return recipe.benchmark
    if name not in ENVIRONMENTS:
        raise RecipeError(unknown("environment", name, ENVIRONMENTS))
    trained, tested = ENVIRONMENTS[recipe.environment], ENVIRONMENTS[name]
    sees, does = ((s.observation_size, s.action_size, s.action_scale) for s in (trained, tested))
    if family(name) != family(recipe.environment) or sees != does:
        raise RecipeError(
            f"{recipe.name}: a policy trained in {recipe.environment} cannot be tested in {name}; "
            "its tasks, observations and actions must be the same"
        )
    return name
