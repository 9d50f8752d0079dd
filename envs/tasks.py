"""What varies between tasks: distributions that are sampled in batches, checked, and kept as JSON.

Tasks are a dictionary of arrays, one a variable, each (T, *shape): ``{"velocity": (T,)}``. A distribution is a tuple of
variables. Task i of a seed depends on (seed, i) alone, so any process can draw it without the ones before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metabench.envs.variables import Bools, Floats, Variable

Tasks = dict[str, Floats]


class TaskError(ValueError):
    """A task that its environment does not understand."""


@dataclass(frozen=True)
class Distribution:
    """The tasks of an environment: one or more independent variables."""

    variables: tuple[Variable, ...]

    @property
    def text(self) -> str:
        """What varies and how, as a protocol states it: U[0,2], or name: U[0,2]; … for several variables."""
        if len(self.variables) == 1:
            return self.variables[0].text
        return "; ".join(f"{v.name}: {v.text}" for v in self.variables)

    def sample(self, n: int, seed: int) -> Tasks:
        """Tasks 0..n−1 of a seed: a dictionary of arrays (n, *shape)."""
        return self.at(range(n), seed)

    def at(self, indices: Iterable[int], seed: int) -> Tasks:
        """The tasks of a seed with these indices."""
        drawn: list[list[Floats]] = []
        for i in indices:
            rng = np.random.default_rng((seed, i))
            drawn.append([v.draw(rng) for v in self.variables])
        if not drawn:
            raise TaskError("at least one task is needed")
        columns = zip(*drawn, strict=True)
        return {v.name: np.stack(column) for v, column in zip(self.variables, columns, strict=True)}

    def flat(self, tasks: Mapping[str, Floats]) -> Floats:
        """All variables of each task side by side, (T, C)."""
        return np.concatenate([tasks[v.name].reshape(len(tasks[v.name]), -1) for v in self.variables], 1)

    def check(self, tasks: Mapping[str, object]) -> Tasks:
        """The tasks as float64 arrays, each (T, *shape).

        Raises:
            TaskError: a variable is unknown, missing, not numeric, of the wrong shape, not finite or not allowed, or
                the variables disagree about T.
        """
        known = {v.name: v for v in self.variables}
        if unknown := [name for name in tasks if name not in known]:
            raise TaskError(f"unknown task variable {unknown[0]!r}; this environment's are {', '.join(known)}")
        if missing := [name for name in known if name not in tasks]:
            raise TaskError(f"the task variable {missing[0]!r} is missing")
        checked = {name: _checked(v, tasks[name]) for name, v in known.items()}
        if len({len(values) for values in checked.values()}) != 1:
            counts = ", ".join(f"{len(values)} of {name}" for name, values in checked.items())
            raise TaskError(f"the number of tasks differs: {counts}")
        return checked

    def to_json(self, tasks: Mapping[str, object]) -> str:
        """The tasks as a JSON list of objects, one a task; exact to the last bit."""
        return json.dumps([{name: v.tolist() for name, v in task.items()} for task in split(self.check(tasks))])

    def from_json(self, text: str) -> Tasks:
        """The tasks that `to_json` wrote.

        Raises:
            TaskError: the text is no JSON list of objects, or a task is not one of this environment's.
        """
        try:
            rows = json.loads(text)
        except json.JSONDecodeError as error:
            raise TaskError(f"the tasks are not JSON: {error}") from None
        if not isinstance(rows, list):
            raise TaskError(f"tasks are a JSON list of objects, one a task, not {text[:20]!r}")
        return self.join(rows)

    def join(self, rows: Sequence[Mapping[str, object]]) -> Tasks:
        """Single tasks, each a dictionary of values, as arrays (T, *shape)."""
        parts = []
        for i, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise TaskError(f"task {i} is not a set of variables but {row!r}")
            try:
                parts.append(self.check({name: [value] for name, value in row.items()}))
            except TaskError as error:
                raise TaskError(f"task {i}: {error}") from None
        if not parts:
            raise TaskError("at least one task is needed")
        return {v.name: np.concatenate([part[v.name] for part in parts]) for v in self.variables}


def split(tasks: Mapping[str, Floats]) -> list[dict[str, Floats]]:
    """Arrays (T, *shape) as T single tasks; `Distribution.join` is its inverse."""
    return [{name: values[i] for name, values in tasks.items()} for i in range(len(next(iter(tasks.values()))))]


def _checked(variable: Variable, given: object) -> Floats:
    name, shape = variable.name, variable.shape
    try:
        values = np.array(given)
    except ValueError:
        raise TaskError(f"{name} must be numbers of shape {shape} a task") from None
    if values.dtype.kind not in "iuf":
        raise TaskError(f"{name} must be numbers, not {given!r}")
    if values.ndim == 0 or values.shape[1:] != shape or len(values) == 0:
        raise TaskError(f"{name} has shape {values.shape}; T tasks need {('T', *shape)}".replace("'", ""))
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise TaskError(f"{name} is not finite in task {int(np.flatnonzero(~_finite_rows(values))[0])}")
    for i, value in enumerate(values):
        if problem := variable.problem(value):
            raise TaskError(f"{name} {problem} (task {i})")
    return values


def _finite_rows(values: Floats) -> Bools:
    return np.asarray(np.isfinite(values).reshape(len(values), -1).all(1))
