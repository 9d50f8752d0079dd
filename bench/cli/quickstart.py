"""`metabench quickstart`: five learners in both worlds, two tables and a picture, in less than three minutes.

Nothing is downloaded and nothing is published: the schedule is much shorter than what these learners need.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rich.table import Table

from metabench.bench.cli.arguments import QuickstartCommand, parse_quickstart
from metabench.bench.figures.few_shot import quickstart_figure
from metabench.bench.recipes.recipe import FewShotRecipe, Recipe
from metabench.bench.records.metric import METRICS
from metabench.bench.terminal import say, table_console
from metabench.bench.training.options import Options
from metabench.bench.training.run import execute
from metabench.bench.worlds import resolve, world_of
from metabench.bench.worlds.built import TEST_SEED
from metabench.vision import DATASETS
from metabench.vision.data.source import cache_root, data_root
from metabench.vision.episodes import Episodes, Shape

LEARNERS = ("maml", "anil", "meta-sgd", "protonet", "metaoptnet")
BENCHMARKS = ("glyphs-5w1s", "navigation")
ITERATIONS = {"glyphs-5w1s": 160, "navigation": 20}
"""Outer steps of each learner."""

NEXT = {
    "run maml glyphs-5w1s --schedule short": "one of them, longer; --help shows every field",
    "evaluate {folder}/glyphs-5w1s/protonet --ways 20": "the trained ProtoNet on harder episodes",
    "data list": "real data: Omniglot, miniImageNet, Quick, Draw!",
    "run protonet omniglot-5w1s --dry-run": "a paper's recipe, and what it costs here",
    "run maml cheetah-vel --dry-run": "the same for a robot",
}
"""Commands to try next, and what they show."""


def quickstart(arguments: list[str]) -> int:
    """metabench quickstart."""
    command = parse_quickstart(arguments)
    folder = command.out or Path("runs") / "quickstart" / f"seed{command.seed}"
    records = {benchmark: trained(benchmark, folder, command) for benchmark in BENCHMARKS}
    if all(records.values()):
        console = table_console()
        for of_benchmark in records.values():
            console.print(table(of_benchmark))
        say(f"picture: {draw(records, folder / 'quickstart.png')}", console)
        commands = [f"metabench {command.format(folder=folder)}" for command in NEXT]
        width = max(map(len, commands))
        lines = [f"  {command:{width}}  {what}" for command, what in zip(commands, NEXT.values(), strict=True)]
        say("\n".join(["next:", *lines]), console)
    return 0 if all(r["status"] == "complete" for of_benchmark in records.values() for r in of_benchmark) else 1


def trained(benchmark: str, folder: Path, command: QuickstartCommand) -> list[dict[str, Any]]:
    """Train and test every learner; its records, on the first process."""
    runs = (
        execute(recipe_of(name, benchmark), Options(seed=command.seed, out=folder / benchmark / name), command.machine)
        for name in LEARNERS
    )
    return [record for record in runs if record is not None]


def recipe_of(algorithm: str, benchmark: str) -> Recipe:
    """The algorithm's recipe with the quickstart's own schedule, the same test tasks for all."""
    iterations = ITERATIONS[benchmark]
    plain = resolve(algorithm, benchmark)
    schedule: dict[str, Any] = {
        "schedule": "quickstart", "iterations": iterations, "val_every": iterations // 8, "test_steps": 3
    }  # fmt: skip
    schedule |= world_of(plain).quick(plain, iterations)
    return dataclasses.replace(plain, **schedule).check()


def table(records: list[dict[str, Any]]) -> Table:
    """Score of every learner after 0 … K updates, and how long it trained."""
    test, metric = records[0]["test"], METRICS[records[0]["metric"]]
    title = f"{records[0]['benchmark']}: {metric.title}, on {test['tasks']} test tasks (± 95%), after K updates"
    shown = Table(title=title, title_justify="left")
    shown.add_column("learner")
    for k in test["updates"]:
        shown.add_column(f"K = {k}", justify="right", no_wrap=True)
    shown.add_column("trained, s", justify="right")
    for record in records:
        pairs = zip(record["test"]["mean"], record["test"]["ci95"], strict=True)
        cells = [metric.shown(mean, ci95, 1) for mean, ci95 in pairs] or [record["status"]]
        shown.add_row(record["algorithm"], *cells, f"{record['provenance']['train_seconds']:.0f}")
    return shown


def draw(records: dict[str, list[dict[str, Any]]], path: Path) -> Path:
    """The picture of these records, with the first three test episodes that the few-shot ones are about."""
    recipe = recipe_of(LEARNERS[0], BENCHMARKS[0])
    assert isinstance(recipe, FewShotRecipe)  # as BENCHMARKS says
    data = DATASETS[recipe.dataset].load(data_root(), recipe.split, cache=cache_root())
    shape = Shape(recipe.ways, recipe.shots, recipe.queries)
    support, query = Episodes(data, "test", shape, seed=TEST_SEED).draw(range(3))
    few_shot, control = (records[benchmark] for benchmark in BENCHMARKS)
    return quickstart_figure(few_shot, control, support, query, path)
