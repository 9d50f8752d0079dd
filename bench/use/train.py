"""`metabench run` from Python."""

from __future__ import annotations

import dataclasses
import shlex
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from metabench.bench.flags import flag_fields
from metabench.bench.recipes.recipe import RecipeError
from metabench.bench.text import unknown
from metabench.bench.training.options import Machine, Options
from metabench.bench.training.run import execute, from_weights
from metabench.bench.worlds import resolve
from metabench.bench.worlds.naming import flag, labelled


def run(algorithm: str, benchmark: str, schedule: str = "paper", **fields: Any) -> dict[str, Any] | None:
    """Train a recipe, or go on where its run folder stands, and test it: what `metabench run` does.

    Args:
        algorithm, benchmark, schedule: as there.
        fields: the flags there, with underscores: of the recipe (iterations, ways …), of `Options` (seed, out,
            weights …) and of `Machine` (device, threads …).

    Returns:
        The record; None on all processes but the first.

    Raises:
        RecipeError: a name that does not exist, or a value that cannot be.
    """
    plain = resolve(algorithm, benchmark, schedule)
    parts: tuple[Any, ...] = (plain, Options(), Machine())
    kinds = [_fields(part) for part in parts]
    if strange := sorted(fields.keys() - {name for known in kinds for name in known}):
        raise RecipeError(unknown("field", strange[0], [name for known in kinds for name in known]))
    recipe, options, machine = (
        dataclasses.replace(part, **{name: _as(known[name], name, fields[name]) for name in fields if name in known})
        for part, known in zip(parts, kinds, strict=True)
    )
    recipe = labelled(from_weights(recipe.check(), options.weights))
    given = {"schedule": schedule} | fields if schedule != "paper" else fields
    words = [word for name, value in given.items() for word in flag(name, value)]
    return execute(recipe, options, machine, shlex.join(["metabench", "run", algorithm, benchmark, *words]))


def _fields(part: Any) -> Mapping[str, Any]:
    """The fields that `run` takes, with their types."""
    shut = ("schedule", "seeds", "dry_run")
    return {name: hint for name, (hint, _) in flag_fields(type(part)).items() if name not in shut}


def _as(kind: Any, name: str, value: Any) -> Any:
    """The value as a field of this type; RecipeError where it is none."""
    options = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        if value in options:
            return value
        raise RecipeError(f"{name} is {value!r}; choose one of {', '.join(map(str, options))}")
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return value if value is None else _as(options[0], name, value)
    if typing.get_origin(kind) is tuple and isinstance(value, list | tuple):
        kinds = [options[0]] * len(value) if ... in options else list(options)
        if len(kinds) != len(value):
            raise RecipeError(f"{name} is {value!r}; give {len(kinds)} values each")
        return tuple(_as(of, name, part) for of, part in zip(kinds, value, strict=True))
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise RecipeError(f"{name} is {value!r}; give {getattr(kind, '__name__', kind)}")
    return value
