"""What varies between tasks: distributions that are sampled in batches, checked, and kept as JSON.

Tasks are a dictionary of arrays, one a variable, each (T, *shape): ``{"velocity": (T,)}``. A distribution is a tuple of
variables. Task i of a seed depends on (seed, i) alone, so any process can draw it without the ones before it.
"""
# ruff: noqa: D102 - the base class documents what is overridden here

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Tasks = dict[str, Floats]


class TaskError(ValueError):
    """A task that its environment does not understand."""


@dataclass(frozen=True)
class Variable(ABC):
    """One variable of a task. `shape` is that of its value for one task; () is a number."""

    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the value for one task."""
        return ()

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Floats:
        """The value for one task, of `shape`."""

    def problem(self, value: Floats) -> str | None:
        """What is wrong with a finite value of the right shape, or None."""
        return None


@dataclass(frozen=True)
class Uniform(Variable):
    """Uniform in [low, high]. Values outside are accepted: a policy may be tried beyond its training tasks."""

    low: float
    high: float
    size: int = 0
    """Entries of a vector of independent values; 0 for a number."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.size,) if self.size else ()

    def draw(self, rng: np.random.Generator) -> Floats:
        return np.asarray(rng.uniform(self.low, self.high, self.shape))


@dataclass(frozen=True)
class Sign(Variable):
    """−1 or +1 with equal chance."""

    def draw(self, rng: np.random.Generator) -> Floats:
        return np.asarray(2.0 * rng.integers(2) - 1)

    def problem(self, value: Floats) -> str | None:
        return None if abs(float(value)) == 1 else f"must be -1 or 1, not {float(value):g}"


@dataclass(frozen=True)
class Arc(Variable):
    """A point of the plane at `radius` from the origin, its angle uniform in [low, high] radians."""

    radius: float = 1.0
    low: float = 0.0
    high: float = 2 * np.pi

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    def draw(self, rng: np.random.Generator) -> Floats:
        angle = rng.uniform(self.low, self.high)
        return self.radius * np.array([np.cos(angle), np.sin(angle)])

    def problem(self, value: Floats) -> str | None:
        length = float(np.hypot(*value))
        return None if abs(length - self.radius) < 1e-6 else f"must have length {self.radius:g}, not {length:g}"


@dataclass(frozen=True)
class Disc(Variable):
    """A point uniform over the disc of `radius` around the origin. Points outside are accepted."""

    radius: float

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    def draw(self, rng: np.random.Generator) -> Floats:
        angle, area = rng.uniform(0, 2 * np.pi), rng.uniform()
        return np.asarray(self.radius * np.sqrt(area) * np.array([np.cos(angle), np.sin(angle)]))


@dataclass(frozen=True)
class Choice(Variable):
    """One of some points of the plane with equal chance."""

    options: tuple[tuple[float, float], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    def draw(self, rng: np.random.Generator) -> Floats:
        return np.array(self.options[rng.integers(len(self.options))])

    def problem(self, value: Floats) -> str | None:
        return None if tuple(value) in self.options else f"must be one of {self.options}"


@dataclass(frozen=True)
class Multiplier(Variable):
    """``base ** u`` elementwise, u uniform in [−exponent, exponent]: what a physical parameter is multiplied with."""

    base: float
    exponent: float
    entries: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.entries

    def draw(self, rng: np.random.Generator) -> Floats:
        return np.asarray(self.base ** rng.uniform(-self.exponent, self.exponent, self.shape))

    def problem(self, value: Floats) -> str | None:
        return None if (value > 0).all() else "must be positive everywhere"


@dataclass(frozen=True)
class Distribution:
    """The tasks of an environment: one or more independent variables."""

    variables: tuple[Variable, ...]

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
