"""What `list`, `sweep`, `evaluate`, `render` and `quickstart` take, without torch: their help is there at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from metabench.bench.recipes.change import Retest
from metabench.bench.training.options import Machine


@dataclass(frozen=True)
class ListCommand:
    """The names that `metabench run` knows: algorithms, benchmarks, data sets."""

    json: bool = False
    """Print it as JSON, with the settings of every algorithm, the protocol of every benchmark and the state of data."""


@dataclass(frozen=True)
class SweepCommand:
    """Train many rows, several at once; what was stopped or killed goes on with the same command.

    The rows come first: "paper" for every published number that no record reproduces, cheapest first;
    ALGORITHM:BENCHMARK; or a FILE with the arguments of one `metabench run` a line, and perhaps --seeds. Flags that
    are not listed here are those of `metabench run` and count for all rows.
    """

    seeds: tuple[int, ...] = (0,)
    """Seeds of each row."""
    jobs: int = 0
    """Runs at once, which share the cores; 0 for one a core, or one a GPU where there is any."""
    hours: float = 0.0
    """Time to spend, after which all runs checkpoint and stop; 0 for as long as it takes."""
    out: Path = Path("runs")
    """Folder of the run folders, which are all that a sweep knows of itself."""
    publish: bool = True
    """File records under results/records/ as runs end; what has its record there is not run again."""
    dry_run: bool = False
    """Show the runs, where they stand and about what they take, and stop."""

    def check(self) -> None:
        """Raise RecipeError for what no sweep can be told."""
        from metabench.bench.recipes.recipe import RecipeError

        if self.jobs < 0 or not self.hours >= 0:
            raise RecipeError(f"--jobs is {self.jobs} and --hours {self.hours:g}; both must be at least 0")
        if not self.seeds:
            raise RecipeError("--seeds names none; give --seeds 0, for example")


@dataclass(frozen=True)
class EvaluateCommand:
    """Test a trained run's best learner again, under its own or another protocol."""

    folder: tyro.conf.Positional[Path]
    """Run folder, or what `metabench export` made of one."""
    change: Annotated[Retest, tyro.conf.arg(name="")] = field(default_factory=Retest)
    publish: bool = False
    """File the record under results/records/."""
    machine: Annotated[Machine, tyro.conf.arg(name="")] = field(default_factory=Machine)


@dataclass(frozen=True)
class RenderCommand:
    """Draw a control run's best policy before and after its updates: a film of a robot, or paths over the plane."""

    folder: tyro.conf.Positional[Path]
    """Run folder."""
    updates: tuple[int, ...] = (0, 1)
    """Show the policy after so many updates."""
    task: tuple[int, ...] = (0,)
    """Which test tasks, a row of films each; on the plane, which shows several, the first one."""
    tasks: int = 6
    """How many tasks to show on the plane."""
    every: int = 2
    """Steps of the robot between two pictures of the film."""
    curve: bool = False
    """Draw the learning curve instead."""
    out: Path | None = None
    """The picture: a .gif of a robot, a .png of paths or of a curve; in the run folder if not given."""
    threads: int = 1
    """CPU cores to use; 0 for all of them."""


@dataclass(frozen=True)
class QuickstartCommand:
    """Train five learners on glyphs and on 2-D navigation for a moment each, test them on the same tasks, draw."""

    seed: int = 0
    """Seed of the initial weights and of the training tasks."""
    out: Path | None = None
    """Folder for the runs and the picture; runs/quickstart/seedN if not given."""
    machine: Annotated[Machine, tyro.conf.arg(name="")] = field(default_factory=Machine)


def parse_list(arguments: Sequence[str]) -> ListCommand:
    """The command that the words after `list` say; SystemExit after --help or for what cannot be read."""
    return tyro.cli(ListCommand, args=arguments, prog="metabench list")


def parse_sweep(arguments: Sequence[str]) -> tuple[list[str], SweepCommand, list[str]]:
    """(rows, the command, the flags of `run`) that the words after `sweep` say; SystemExit after --help."""
    count = next((i for i, word in enumerate(arguments) if word.startswith("-")), len(arguments))
    flags = arguments[count:]
    command, others = tyro.cli(SweepCommand, args=flags, prog="metabench sweep", return_unknown_args=True)
    return list(arguments[:count]), command, others


def parse_evaluate(arguments: Sequence[str]) -> EvaluateCommand:
    """The command that the words after `evaluate` say; SystemExit after --help or for what cannot be read."""
    prefixless = (tyro.conf.OmitArgPrefixes,)
    return tyro.cli(EvaluateCommand, args=arguments, prog="metabench evaluate", config=prefixless)


def parse_render(arguments: Sequence[str]) -> RenderCommand:
    """The command that the words after `render` say; SystemExit after --help or for what cannot be read."""
    return tyro.cli(RenderCommand, args=arguments, prog="metabench render")


def parse_quickstart(arguments: Sequence[str]) -> QuickstartCommand:
    """The command that the words after `quickstart` say; SystemExit after --help or for what cannot be read."""
    prefixless = (tyro.conf.OmitArgPrefixes,)
    return tyro.cli(QuickstartCommand, args=arguments, prog="metabench quickstart", config=prefixless)
