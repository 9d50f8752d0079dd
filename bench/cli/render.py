"""The verb `render`: a trained policy before and after each update, and the run's learning curve."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from metabench.algorithms import Diverged, Learner, Workers
from metabench.bench.cli.arguments import parse_render
from metabench.bench.distributed import Processes
from metabench.bench.figures.control import curve_figure, trajectories_figure
from metabench.bench.figures.film import filmstrip
from metabench.bench.recipes.recipe import ControlRecipe, RecipeError, from_fields
from metabench.bench.terminal import say
from metabench.bench.training import checkpoint
from metabench.bench.worlds import Place
from metabench.bench.worlds.control_build import build
from metabench.envs.navigation import Navigation
from metabench.envs.opengl import CannotDraw
from metabench.envs.render import films
from metabench.envs.suite import Control
from metabench.vision.data.source import cache_root, data_root

SIZE = (240, 180)
"""Pixels of a picture in a film."""


def render(arguments: list[str]) -> int:
    """metabench render RUN_FOLDER."""
    command = parse_render(arguments)
    if not command.task or min(command.task) < 0:
        raise RecipeError(f"--task is {command.task}; give one or more numbers from 0 on")
    for field, least in (("tasks", 1), ("every", 1), ("threads", 0)):
        if getattr(command, field) < least:
            raise RecipeError(f"--{field} is {getattr(command, field)}; it must be at least {least}")
    updates = sorted(set(command.updates))
    if not updates or updates[0] < 0:
        raise RecipeError(f"--updates is {command.updates}; give one or more numbers from 0 on")
    recipe, learner, suite = load(command.folder, command.threads)
    on_plane = isinstance(suite.spec, Navigation)
    name, ending = ("curve", ".png") if command.curve else ("trajectories", ".png") if on_plane else ("updates", ".gif")
    out = command.out or command.folder / f"{name}{ending}"
    if out.suffix != ending:
        raise RecipeError(f"--out is {out}; what is drawn of {recipe.benchmark} here is a {ending}")
    try:  # before the drawing, which may take minutes
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecipeError(f"--out is {out}; {out.parent} cannot be made a folder: {error.strerror}") from error
    title = f"{recipe.algorithm} {recipe.benchmark}"
    try:
        with torch.no_grad():
            if command.curve:
                picture = curve_figure(title, command.folder / "log.jsonl")
            elif on_plane:
                chosen = suite.tasks(range(command.task[0], command.task[0] + command.tasks), "test")
                picture = trajectories_figure(title, suite, chosen, learner, updates)
            else:
                rows = []
                for task in command.task:
                    one = suite.tasks([task], "test")
                    shown = list(films(suite, one, learner, updates, command.every, SIZE))
                    rows.append((f"{title}, {describe_task(one.variables)}", shown))
                picture = filmstrip(rows, suite.spec, command.every)
    except (CannotDraw, Diverged) as error:
        raise RecipeError(f"{title}: {error}") from error
    checkpoint.write_atomic(out, picture)
    say(f"{out}: {len(picture) / 1e6:.2f} MB")
    return 0


def describe_task(task: Mapping[str, object]) -> str:
    """A task in a few words: its variables where they are short."""
    words = []
    for name, value in task.items():
        numbers = torch.as_tensor(value).flatten().tolist()
        if len(numbers) <= 3:
            words.append(f"{name} " + ", ".join(f"{n:.2f}" for n in numbers))
    return "; ".join(words) or "one task"


def load(folder: Path, threads: int) -> tuple[ControlRecipe, Learner, Control]:
    """A run's recipe, the learner that validated best so far, and its tasks.

    Raises:
        RunFolderError: there is no checkpoint. RecipeError: it is not of control.
    """
    path = folder / "checkpoint.pt"
    if not path.is_file():
        raise checkpoint.RunFolderError(f"{folder} holds no checkpoint.pt; give the --out of a `metabench run`")
    saved = checkpoint.load_run(path)
    recipe = from_fields(saved["fields"])
    if not isinstance(recipe, ControlRecipe):
        raise RecipeError(f"{recipe.name}: render is for control; `metabench data preview` draws few-shot images")
    workers = Workers(threads or torch.get_num_threads())
    built = build(recipe, saved["seed"], Place(data_root(), cache_root(), Processes("cpu"), workers))
    built.learner.load_state_dict(saved["state"]["best_learner"] or saved["learner"])
    built.learner.eval()
    assert isinstance(built.suite, Control)
    return recipe, built.learner, built.suite
