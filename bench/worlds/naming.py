"""What a recipe is called, and the words of `metabench run` that give it again.

Tables change: a paper is read once more, a short schedule is found too short. So a name stands for a recipe only as
long as both have the same digest, which is the version of a name. A recipe that has outlived its name is called by
what it differs in, as flags: those words run it today and after the next change too.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from metabench.bench.flags import flag_fields, flag_of
from metabench.bench.recipes.recipe import Recipe, RecipeError
from metabench.bench.worlds import resolve, world_of

SCHEDULES = ("paper", "short")
"""The names, the one that is preferred first."""


def schedule_of(recipe: Recipe) -> str:
    """The schedule whose recipe this is today; "custom" where it is none's."""
    for schedule in SCHEDULES:
        if _plain(recipe, schedule).digest() == recipe.digest():
            return schedule
    return "custom"


def labelled(recipe: Recipe) -> Recipe:
    """The recipe as it is filed: its schedule is "custom" where a flag changed anything."""
    plain = resolve(recipe.algorithm, world_of(recipe).reference(recipe), recipe.schedule)
    _keeps_its_name(recipe, plain)
    world_of(recipe).flags(recipe, plain)
    return recipe if plain == recipe else dataclasses.replace(recipe, schedule="custom").check()


def _keeps_its_name(recipe: Recipe, plain: Recipe) -> None:
    """Raise RecipeError where a flag undoes what a variant is named for; rates and penalties are not that."""
    learner, fields = world_of(recipe).variants.get(recipe.algorithm, (recipe.algorithm, {}))
    for name, value in fields.items():
        if not isinstance(value, float) and getattr(recipe, name) != getattr(plain, name):
            raise RecipeError(f"{recipe.name}: {recipe.algorithm} means {name} = {value}; run {learner} for another")


def run_words(recipe: Recipe) -> list[str]:
    """What follows `metabench run`: the names, and the fewest flags that make of a named schedule this recipe.

    Raises:
        RecipeError: where no flags do: a name is not there any more, or what it names is something else now.
    """
    found = [flags for schedule in SCHEDULES if (flags := _flags(recipe, schedule)) is not None]
    if not found:
        raise RecipeError(f"{recipe.name}: no flags of `metabench run` give this recipe any more")
    return [recipe.algorithm, world_of(recipe).reference(recipe), *min(found, key=len)]


def _plain(recipe: Recipe, schedule: str) -> Recipe:
    """What the recipe's names stand for today."""
    return resolve(recipe.algorithm, world_of(recipe).reference(recipe), schedule)


def _flags(recipe: Recipe, schedule: str) -> list[str] | None:
    """The flags that lead from a named schedule to the recipe; None where there is none for a field that differs."""
    plain = _plain(recipe, schedule)
    words, settable = [] if schedule == SCHEDULES[0] else ["--schedule", schedule], flag_fields(type(recipe))
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        if field.name == "schedule" or value == getattr(plain, field.name, None):
            continue
        if type(plain) is not type(recipe) or field.name not in settable:
            return None
        words += flag(field.name, value)
    return words


def flag(name: str, value: Any) -> list[str]:
    """A field as the command line takes it: ["--lr-factors", "5", "0.5"], ["--no-sees-task"]."""
    if value is False:
        return [flag_of(f"no_{name}")]
    return [flag_of(name)] if value is True else [flag_of(name), *_words(value)]


def _words(value: Any) -> list[str]:
    if isinstance(value, (tuple, list)):
        return [word for part in value for word in _words(part)]
    return [str(value)]
