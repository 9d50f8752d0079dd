"""What one variable of a task may be: how it is drawn, and which values it takes.

A value is drawn for one task at a time; `envs.tasks` puts tasks together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Variable(ABC):
    """One variable of a task. `shape` is that of its value for one task; () is a number."""

    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value for one task."""
        return ()

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Floats:
        """The value for one task, of `shape`."""

    @property
    @abstractmethod
    def text(self) -> str:
        """The distribution in a few characters, as a protocol states it."""

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
        """(size,), or () for a number."""
        return (self.size,) if self.size else ()

    @property
    def text(self) -> str:
        """E.g. "U[-0.5,0.5]^2"."""
        return f"U[{self.low:g},{self.high:g}]" + (f"^{self.size}" if self.size else "")

    def draw(self, rng: np.random.Generator) -> Floats:
        """Independent uniform entries, of `shape`."""
        return np.asarray(rng.uniform(self.low, self.high, self.shape))


@dataclass(frozen=True)
class Sign(Variable):
    """−1 or +1 with equal chance."""

    @property
    def text(self) -> str:
        """ "{-1,+1}"."""
        return "{-1,+1}"

    def draw(self, rng: np.random.Generator) -> Floats:
        """−1 or +1, a number."""
        return np.asarray(2.0 * rng.integers(2) - 1)

    def problem(self, value: Floats) -> str | None:
        """What is wrong with a value that is neither −1 nor 1, or None."""
        return None if abs(float(value)) == 1 else f"must be -1 or 1, not {float(value):g}"


@dataclass(frozen=True)
class Arc(Variable):
    """A point of the plane at `radius` from the origin, its angle uniform in [low, high] radians."""

    radius: float = 1.0
    low: float = 0.0
    high: float = 2 * np.pi

    @property
    def shape(self) -> tuple[int, ...]:
        """(2,): x and y."""
        return (2,)

    @property
    def text(self) -> str:
        """E.g. "arc of radius 1, 0.00 to 3.14 rad"."""
        return f"arc of radius {self.radius:g}, {self.low:.2f} to {self.high:.2f} rad"

    def draw(self, rng: np.random.Generator) -> Floats:
        """A point (2,) at a uniform angle."""
        angle = rng.uniform(self.low, self.high)
        return self.radius * np.array([np.cos(angle), np.sin(angle)])

    def problem(self, value: Floats) -> str | None:
        """What is wrong with a point whose length is not `radius` to 1e-6, or None; any angle is accepted."""
        length = float(np.hypot(*value))
        return None if abs(length - self.radius) < 1e-6 else f"must have length {self.radius:g}, not {length:g}"


@dataclass(frozen=True)
class Disc(Variable):
    """A point uniform over the disc of `radius` around the origin. Points outside are accepted."""

    radius: float

    @property
    def shape(self) -> tuple[int, ...]:
        """(2,): x and y."""
        return (2,)

    @property
    def text(self) -> str:
        """E.g. "disc of radius 3"."""
        return f"disc of radius {self.radius:g}"

    def draw(self, rng: np.random.Generator) -> Floats:
        """A point (2,), uniform by area."""
        angle, area = rng.uniform(0, 2 * np.pi), rng.uniform()
        return np.asarray(self.radius * np.sqrt(area) * np.array([np.cos(angle), np.sin(angle)]))


@dataclass(frozen=True)
class Choice(Variable):
    """One of some points of the plane with equal chance."""

    options: tuple[tuple[float, float], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """(2,): x and y."""
        return (2,)

    @property
    def text(self) -> str:
        """The points in braces, e.g. "{(2,2),(-2,2)}"."""
        return "{" + ",".join(f"({x:g},{y:g})" for x, y in self.options) + "}"

    def draw(self, rng: np.random.Generator) -> Floats:
        """One of the points, (2,)."""
        return np.array(self.options[rng.integers(len(self.options))])

    def problem(self, value: Floats) -> str | None:
        """What is wrong with a point that is not among `options`, or None."""
        return None if tuple(value) in self.options else f"must be one of {self.options}"


@dataclass(frozen=True)
class Multiplier(Variable):
    """``base ** u`` elementwise, u uniform in [−exponent, exponent]: what a physical parameter is multiplied with."""

    base: float
    exponent: float
    entries: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the physical parameter: `entries`."""
        return self.entries

    @property
    def text(self) -> str:
        """E.g. "1.5^U[-3,3]"."""
        return f"{self.base:g}^U[-{self.exponent:g},{self.exponent:g}]"

    def draw(self, rng: np.random.Generator) -> Floats:
        """Positive factors, one for each entry."""
        return np.asarray(self.base ** rng.uniform(-self.exponent, self.exponent, self.shape))

    def problem(self, value: Floats) -> str | None:
        """What is wrong with factors of which one is not positive, or None."""
        return None if (value > 0).all() else "must be positive everywhere"
