"""What the control suite asks of an environment: ours are `envs.spec.Spec`s, others `envs.own.OwnEnvironment`s."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from numpy.typing import ArrayLike, NDArray

from metabench.envs.variables import Bools, Floats

Tasks = dict[str, NDArray[Any]]
"""T tasks: a dictionary of arrays, one a variable, each (T, ...)."""


class Step(NamedTuple):
    """What one step of T × E rollouts gave.

    observations: (T, E, O). rewards: (T, E). terminated, truncated: (T, E), true in the step that ended a rollout.
    info: counts of this step: "steps" that were simulated, "terminated", "truncated" by the horizon, "diverged".
    """

    observations: Floats
    rewards: Floats
    terminated: Bools
    truncated: Bools
    info: dict[str, int]


class Episodes(Protocol):
    """T × E rollouts that are stepped together (see `envs.simulator.Simulator`)."""

    shape: tuple[int, int]
    running: Bools
    """Which rollouts have not ended, (T, E)."""
    diverged: NDArray[Any]
    """How often each has diverged, (T, E)."""

    def reset(self) -> Floats:
        """Start all; returns observations (T, E, O)."""
        ...

    def step(self, actions: ArrayLike) -> Step:
        """One step of every rollout that runs, under actions (T, E, A)."""
        ...


class TaskSource(Protocol):
    """A distribution of tasks."""

    @property
    def text(self) -> str:
        """What varies and how, as a protocol states it."""
        ...

    def at(self, indices: Iterable[int], seed: int) -> Tasks:
        """The tasks of a seed with these indices; a task depends on (seed, index) alone."""
        ...

    def flat(self, tasks: Tasks) -> Floats:
        """All numbers of each task side by side, (T, C)."""
        ...


class Environment(Protocol):
    """An environment whose tasks vary."""

    @property
    def horizon(self) -> int:
        """Steps after which an episode is truncated."""
        ...

    @property
    def dt(self) -> float:
        """Seconds of a step; 0 where there is no clock."""
        ...

    @property
    def action_scale(self) -> float:
        """What of a policy's action stands for the full range of an action."""
        ...

    @property
    def observation_size(self) -> int:
        """O, the length of an observation."""
        ...

    @property
    def action_size(self) -> int:
        """A, the length of an action."""
        ...

    @property
    def tasks(self) -> TaskSource:
        """The distribution of tasks."""
        ...

    def episodes(self, tasks: Tasks, rollouts: int, threads: int, seed: int, indices: Sequence[int]) -> Episodes:
        """E rollouts of each task; their starts depend on the seed and the tasks' indices."""
        ...
