"""The command that makes a record again, with the recipe that it was made with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from metabench.bench.recipes.recipe import Recipe, RecipeError, from_fields
from metabench.bench.worlds.naming import run_words, schedule_of
from metabench.bench.worlds.retest import retest_words

FOLDER = "RUN"
"""Stands for the run folder that `metabench evaluate` tests."""


def recipes(record: Mapping[str, Any]) -> tuple[Recipe, Recipe | None]:
    """What a record was tested under, and what its learner was trained under where that is something else.

    Raises:
        RecipeError: where this version cannot have such a recipe.
    """
    trained = record.get("trained_recipe")
    try:
        return from_fields(record["recipe"]), None if trained is None else from_fields(trained)
    except (TypeError, LookupError, ArithmeticError, ValueError) as error:
        raise RecipeError(str(error)) from error


def command(record: Mapping[str, Any]) -> str:
    """The command line, or two where one trains and one tests; what was typed, where no flags give the recipe any more.

    What it says besides the recipe is the seed and how the machine was used.
    """
    facts = record["provenance"]
    try:
        tested, trained = recipes(record)
        words = [*run_words(trained or tested), "--seed", str(record["seed"])]
        retest = [] if trained is None else retest_words(trained, tested)
    except RecipeError:
        return str(facts["command"])
    world = round(facts["processes"])
    start = ["metabench"] if world == 1 else ["torchrun", f"--nproc-per-node={world}", "-m", "metabench"]
    machine = ["--threads", str(round(facts["threads"]))]
    machine += ["--precision", facts["precision"]] if facts["precision"] != "fp32" else []
    compiled = ["--compile"] if facts.get("compile") else []
    if trained is None:
        return shlex.join([*start, "run", *words, *machine, *compiled])
    runs = shlex.join([*start, "run", *words, *machine, *compiled, "--out", FOLDER])
    return f"{runs} && {shlex.join([*start, 'evaluate', FOLDER, *retest, *machine])}"


def schedule(record: Mapping[str, Any]) -> str:
    """ "paper" or "short" where that is the recipe's name today, else "custom".

    It is the name of what the learner was trained under, unless the test changed what a schedule decides.
    """
    try:
        tested, trained = recipes(record)
        if trained is not None and (tested.test_tasks, tested.test_steps) != (trained.test_tasks, trained.test_steps):
            return "custom"
        return schedule_of(trained or tested)
    except RecipeError:
        return str(record["recipe"]["schedule"])


def called(record: Mapping[str, Any]) -> str:
    """The schedule; where that is "custom", the flags that make the recipe, which nobody else's are."""
    name = schedule(record)
    try:
        tested, trained = recipes(record)
        _, benchmark, *flags = run_words(trained or tested)
        trained_as = schedule_of(trained or tested)
    except RecipeError:
        return name
    words = trained_as if trained_as != "custom" else shlex.join(flags)
    return words if trained is None else f"trained as {benchmark} {words}".rstrip()
