"""The verb `list`: what there is to run, and the data that is there."""

from __future__ import annotations

import json

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from metabench.algorithms import LEARNERS
from metabench.bench.cli.arguments import parse_list
from metabench.bench.cli.describing import paper_of, rule_of
from metabench.bench.cli.listing_json import as_json
from metabench.bench.data_sets import verbs as actions
from metabench.bench.recipes.few_shot import BENCHMARKS, benchmark_names
from metabench.bench.terminal import say, table_console
from metabench.bench.worlds import WORLDS
from metabench.envs import ENVIRONMENTS
from metabench.vision import DATASETS
from metabench.vision.data.source import data_root


def list_all(arguments: list[str]) -> int:
    """metabench list."""
    if parse_list(arguments).json:
        print(json.dumps(as_json(), indent=1, ensure_ascii=False))
        return 0
    console = table_console()
    algorithms = _table("algorithms", "name", "rule", "paper")
    for name, kind in LEARNERS.items():
        algorithms.add_row(name, escape(rule_of(kind)), escape(paper_of(kind)))
    for name, (base, fields) in {name: of for world in WORLDS for name, of in world.variants.items()}.items():
        algorithms.add_row(name, f"{base} with " + ", ".join(f"{k} = {v}" for k, v in fields.items()), "")
    console.print(algorithms)
    benchmarks = _table("benchmarks (any number of ways and shots works)", "data set", "names")
    for source in DATASETS:
        bases = {source} | {base for base, (data_set, _) in BENCHMARKS.items() if data_set == source}
        names = [name for name in benchmark_names() if name.rpartition("-")[0] in bases]
        benchmarks.add_row(source, ", ".join(names))
    console.print(benchmarks)
    show_environments(console)
    show_data(console)
    say("metabench run ALGORITHM BENCHMARK --dry-run shows a recipe and its cost.", console)
    return 0


def show_environments(console: Console) -> None:
    """Print every environment variant: what varies between its tasks, and its size."""
    table = _table("control benchmarks", "name", "tasks", "horizon", "observation", "action", "action scale")
    for name, spec in ENVIRONMENTS.items():
        sizes = (spec.horizon, spec.observation_size, spec.action_size)
        table.add_row(name, escape(spec.tasks.text), *map(str, sizes), f"{spec.action_scale:g}")
    console.print(table)


def show_data(console: Console) -> None:
    """Print every data set, whether it is there, and how to get what is not."""
    table = _table(
        escape(f"data sets (in {data_root()})"), "name", "present", "classes", "images", "split schemes", "licence"
    )
    rows = actions.list_data(data_root())
    for row in rows:
        unknown = "?" if row.present else ""
        counts = [unknown if n is None else f"{n:,}" for n in (row.classes, row.images)]
        schemes = "\n".join(row.schemes)
        present = "damaged" if row.damaged else "yes" if row.present else "no"
        table.add_row(row.name, present, *counts, schemes, escape(row.licence))
    console.print(table)
    for row in rows:
        if row.damaged:
            say(f"{row.name} is damaged: {row.damaged}", console)
        if row.obtain:
            say(f"{row.name} is not there; get it with: {row.obtain}", console)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        right = column in ("classes", "images")
        table.add_column(column, no_wrap=i == 0 or column == "split schemes", justify="right" if right else "left")
    return table
