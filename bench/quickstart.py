"""`metabench quickstart`: five learners on the embedded glyphs, a table and a picture, in two minutes.

Nothing is downloaded and nothing is published: the schedule is much shorter than what these learners need.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from bench.built import TEST_SEED
from bench.figures import quickstart_figure
from bench.recipe import FewShotRecipe
from bench.recipes import few_shot
from bench.run import Machine, Options, execute
from vision import DATASETS
from vision.episodes import Episodes, Shape
from vision.images import cache_root, data_root

BENCHMARK = "glyphs-5w1s"
LEARNERS = ("maml", "anil", "meta-sgd", "protonet", "metaoptnet")
ITERATIONS = 240
"""Outer steps of each learner."""

NEXT = {
    "run maml glyphs-5w1s --schedule short": "one of them, longer; --help shows every field",
    "evaluate {folder}/protonet --ways 20": "the trained ProtoNet on harder episodes",
    "data list": "real data: Omniglot, miniImageNet, Quick, Draw!",
    "run protonet omniglot-5w1s --dry-run": "a paper's recipe, and what it costs here",
}
"""Commands to try next, and what they show."""


@dataclass(frozen=True)
class QuickstartCommand:
    """Train five learners on glyphs for a moment each, test them on the same episodes, draw a picture."""

    seed: int = 0
    """Of the initial weights and the training tasks."""
    out: Path | None = None
    """Folder for the runs and the picture; runs/quickstart/seedN if not given."""
    machine: Annotated[Machine, tyro.conf.arg(name="")] = dataclasses.field(default_factory=Machine)


def quickstart(arguments: list[str]) -> int:
    """metabench quickstart."""
    command = tyro.cli(
        QuickstartCommand, args=arguments, prog="metabench quickstart", config=(tyro.conf.OmitArgPrefixes,)
    )
    folder = command.out or Path("runs") / "quickstart" / f"seed{command.seed}"
    records = []
    for name in LEARNERS:
        record = execute(recipe_of(name), Options(seed=command.seed, out=folder / name), command.machine)
        if record is not None:
            records.append(record)
    if records:
        console = Console()
        console.print(table(records))
        console.print(f"picture: {draw(records, folder / 'quickstart.png')}", soft_wrap=True, highlight=False)
        commands = [f"metabench {command.format(folder=folder)}" for command in NEXT]
        width = max(map(len, commands))
        lines = [f"  {command:{width}}  {what}" for command, what in zip(commands, NEXT.values(), strict=True)]
        console.print("\n".join(["next:", *lines]), soft_wrap=True, highlight=False, markup=False)
    return 0 if all(record["status"] == "complete" for record in records) else 1


def recipe_of(algorithm: str) -> FewShotRecipe:
    """The algorithm's recipe on glyphs with the quickstart's own schedule, the same test episodes for all."""
    plain = few_shot(algorithm, BENCHMARK)
    return dataclasses.replace(
        plain,
        schedule="quickstart",
        meta_batch=max(plain.meta_batch, 2),  # ProtoNet's single task would leave a core idle
        iterations=ITERATIONS,
        lr_factors=((ITERATIONS * 3 // 4, 0.3),),
        val_every=ITERATIONS // 8,
        val_tasks=50,
        test_tasks=400,
        test_steps=3,
    ).check()


def table(records: list[dict[str, Any]]) -> Table:
    """Accuracy of every learner after 0 … K updates, and how long it trained."""
    test = records[0]["test"]
    title = f"{BENCHMARK}: accuracy on {test['tasks']} test episodes, % (± 95%), after K updates on one image a class"
    shown = Table(title=title, title_justify="left")
    shown.add_column("learner")
    for k in test["updates"]:
        shown.add_column(f"K = {k}", justify="right", no_wrap=True)
    shown.add_column("trained, s", justify="right")
    for record in records:
        pairs = zip(record["test"]["mean"], record["test"]["ci95"], strict=True)
        cells = [f"{100 * mean:.1f} ± {100 * ci95:.1f}" for mean, ci95 in pairs] or [record["status"]]
        shown.add_row(record["algorithm"], *cells, f"{record['provenance']['train_seconds']:.0f}")
    return shown


def draw(records: list[dict[str, Any]], path: Path) -> Path:
    """The picture of these records, with the first three test episodes that they are about."""
    recipe = recipe_of(records[0]["algorithm"])
    data = DATASETS[recipe.dataset].load(data_root(), recipe.split, cache=cache_root())
    shape = Shape(recipe.ways, recipe.shots, recipe.queries)
    support, query = Episodes(data, "test", shape, seed=TEST_SEED).draw(range(3))
    return quickstart_figure(records, support, query, path)
