"""`metabench run … --dry-run`: the resolved recipe, and what it costs here."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
import textwrap
import time
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from algorithms import Diverged
from bench.recipes.recipe import ControlRecipe, FewShotRecipe, Recipe, RecipeError
from bench.training.cost import blocks_of, cost, speed, tasks_at_once
from bench.training.distributed import Processes
from bench.training.run import Machine
from envs import ENVIRONMENTS
from vision import DATASETS
from vision.data.archive import readable
from vision.data.source import DataError, data_root

MIB = 2**20


def describe(recipe: Recipe, machine: Machine, console: Console) -> None:
    """Print every field of the recipe with its meaning, and what running it takes on this machine.

    Of several processes, all take part and the first one prints.
    """
    processes = Processes(machine.where())
    try:
        _print(recipe, machine, console if processes.first else Console(quiet=True))
    finally:
        processes.close()


def _print(recipe: Recipe, machine: Machine, console: Console) -> None:
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
    for row in rows_of(recipe, machine):
        costs.add_row(*map(escape, row))
    console.print(costs)


def rows_of(recipe: Recipe, machine: Machine) -> list[tuple[str, str]]:
    """The cost of a recipe of either world: (what, how much)."""
    if isinstance(recipe, ControlRecipe):
        return control_rows(recipe, machine)
    assert isinstance(recipe, FewShotRecipe)
    return cost_rows(recipe, machine)


def control_rows(recipe: ControlRecipe, machine: Machine) -> list[tuple[str, str]]:
    """What `describe` says of the cost of control: simulation steps, and the time of one iteration measured here."""
    from algorithms.suite import collect
    from bench.training.build_control import build_control

    workers = machine.workers()
    built = build_control(recipe, 0, Processes(machine.where()), workers, machine.chunk, False)
    horizon = ENVIRONMENTS[recipe.environment].horizon
    steps = recipe.meta_batch * (recipe.inner_steps + 1) * recipe.rollouts * horizon
    validations = math.ceil(recipe.iterations / recipe.val_every)
    checked = validations * recipe.val_tasks * (recipe.judged + 1) + recipe.tests * (recipe.test_steps + 1)
    checked *= recipe.tested_rollouts * horizon
    started = time.monotonic()
    try:
        collected = collect(
            built.suite, built.suite.tasks(range(recipe.meta_batch), "train"), built.learner, recipe.inner_steps
        )
        simulated = time.monotonic()
        built.outer.step(built.learner, *collected)
    except Diverged as error:
        raise RecipeError(
            f"{recipe.name}: the policy diverges at these settings: {error}; try a lower --inner-lr"
        ) from error
    learned = time.monotonic()
    each, learning = simulated - started, learned - simulated
    whole = recipe.iterations * (each + learning) + checked * each / steps
    return [
        ("learned parameters", f"{sum(p.numel() for p in built.learner.parameters()):,}"),
        ("training iteration", f"{steps:,} simulation steps, at most: {each:.1f} s, and {learning:.1f} s to learn"),
        ("whole schedule", f"{recipe.iterations * steps + checked:,} simulation steps, at most"),
        ("time here", f"about {duration(whole)} on {workers.threads} core(s)"),
    ]


def cost_rows(recipe: FewShotRecipe, machine: Machine) -> list[tuple[str, str]]:
    """What `describe` says of the cost: (what, how much)."""
    one, workers = cost(recipe), machine.workers()
    first = cost(dataclasses.replace(recipe, first_order=True)).task_bytes
    validations = math.ceil(recipe.iterations / recipe.val_every)
    parts = {
        "training": recipe.iterations * recipe.meta_batch * one.task_flops,
        "validation": validations * recipe.val_tasks * one.episode_flops,
        "test": recipe.tests * one.episode_flops,
    }
    total = sum(parts.values())
    rate, peak = speed(recipe, workers, machine.chunk)
    blocks = blocks_of(recipe, workers)
    iteration = recipe.meta_batch * one.task_flops
    shares = ", ".join(f"{name} {100 * part / max(total, 1):.0f}%" for name, part in parts.items())
    memory = f"{bytes_text(one.task_bytes)} a task"
    if one.task_bytes > first:
        memory += f" (first order would keep {bytes_text(first)})"
    rows = [
        ("learned parameters", f"{one.parameters:,}"),
        (
            "training iteration",
            f"{tasks_text(recipe.meta_batch)} × {flops_text(one.task_flops)} = {flops_text(iteration)}",
        ),
        ("whole schedule", f"{flops_text(total)}: {shares}"),
        ("memory of second order" if one.task_bytes > first else "memory of the backward pass", memory),
    ]
    for chunk in dict.fromkeys((machine.chunk, 0, 1)):
        n = tasks_at_once(recipe, workers, chunk)
        rows.append((f"  with --chunk {chunk}", f"{bytes_text(n * one.task_bytes)}, {tasks_text(n)} at once"))
    share = f"{blocks} × {workers.threads // blocks} core(s)" if workers.device == "cpu" else "the GPU"
    rows += [
        ("speed here", f"{rate / 1e9:.1f} GFLOP/s, {peak / 1e9:.1f} in matrix products; on {share}"),
        ("time here", f"about {duration(total / rate / blocks)}"),
        ("data", _data(recipe.dataset)),
    ]
    return rows


def _data(name: str) -> str:
    try:
        with readable():
            return "present" if DATASETS[name].locate(data_root()) else "absent: see `metabench data list`"
    except DataError as error:
        return f"damaged: {error}"


def meanings(kind: type) -> dict[str, str]:
    """Field -> the docstring under it, those of the base class first."""
    [body] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    found = meanings(kind.__base__) if dataclasses.is_dataclass(kind.__base__) else {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            found[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return found


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join("×".join(f"{v:g}" for v in i) if isinstance(i, tuple) else str(i) for i in value) or "none"
    return str(value) if value != "" else '""'


def flops_text(flops: float) -> str:
    """1234567890 -> "1.23 GFLOP"."""
    for unit, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9)):
        if flops >= size:
            return f"{flops / size:.3g} {unit}FLOP"
    return f"{flops / 1e6:.3g} MFLOP"


def bytes_text(n: float) -> str:
    """3145728 -> "3.0 MiB"."""
    return f"{n / MIB:.1f} MiB" if n < 1024 * MIB else f"{n / (1024 * MIB):.1f} GiB"


def tasks_text(n: int) -> str:
    """2 -> "2 tasks"."""
    return f"{n} task{'s' * (n != 1)}"


def duration(seconds: float) -> str:
    """95 -> "1.6 minutes"."""
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
