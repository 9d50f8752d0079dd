"""`metabench run … --dry-run`: the resolved recipe, and what it costs here."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from metabench.bench.distributed import Processes
from metabench.bench.recipes.recipe import Recipe
from metabench.bench.training.options import Machine
from metabench.bench.worlds import world_of


def describe(recipe: Recipe, machine: Machine, console: Console) -> None:
    """Print every field of the recipe with its meaning, and what running it takes on this machine.

    Of several processes, all take part and the first one prints.
    """
    processes = Processes(machine.where())
    try:
        _print(recipe, machine, processes, console if processes.first else Console(quiet=True))
    finally:
        processes.close()


def _print(recipe: Recipe, machine: Machine, processes: Processes, console: Console) -> None:
    fields = Table(title=f"{recipe.name}, recipe {recipe.digest()}", title_justify="left")
    fields.add_column("field", no_wrap=True)
    fields.add_column("value", overflow="fold", max_width=40)
    fields.add_column("meaning")
    for name, meaning in meanings(type(recipe)).items():
        fields.add_row(name, escape(_shown(getattr(recipe, name))), escape(meaning))
    console.print(fields)
    costs = Table(title="cost", title_justify="left", show_header=False)
    costs.add_column(no_wrap=True)
    costs.add_column()
    for row in world_of(recipe).cost(recipe, machine.settled(recipe).place(processes)):
        costs.add_row(*map(escape, row))
    console.print(costs)


def meanings(kind: type) -> dict[str, str]:
    """Field -> the docstring under it, in the order of the fields."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base) and base is not kind:
            found |= _own_meanings(base)
    return found if len(kind.__bases__) > 1 else found | _own_meanings(kind)


def _own_meanings(kind: type) -> dict[str, str]:
    """The same of the fields that the class's own source defines."""
    [body] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            found[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return found


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join("×".join(f"{v:g}" for v in i) if isinstance(i, tuple) else str(i) for i in value) or "none"
    return str(value) if value != "" else '""'
