"""What an environment variant is: pure batched functions of a simulated state, and a few numbers.

States are dictionaries of arrays that all start with the axes (T, E): T tasks × E rollouts (episodes) of each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from metabench.envs.simulator import Simulator
from metabench.envs.tasks import Distribution, Tasks
from metabench.envs.variables import Bools, Floats

State = Mapping[str, Floats]


class World(Protocol):
    """T × E simulations that step together."""

    state: State
    """Live arrays (T, E, ...): the next call changes them in place."""

    def reset(self, mask: Bools, start: State) -> None:
        """Put the rollouts of mask (T, E) into the start states, arrays (T, E, ...)."""

    def advance(self, control: Floats, running: Bools) -> Bools:
        """One step of the rollouts in running (T, E) under control (T, E, A) in [−1, 1].

        Returns:
            Which of them diverged, (T, E). Their state is not meaningful; the others' is untouched by them.
        """


@dataclass(frozen=True, kw_only=True)
class Spec(ABC):
    """One environment variant."""

    horizon: int
    """Steps after which an episode is truncated."""
    action_scale: float = 1.0
    """Policy actions are divided by this and clipped to [−1, 1], the full range of the actuators."""

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise ValueError(f"the horizon is {self.horizon}; an episode has at least one step")
        if not self.action_scale > 0:
            raise ValueError(f"action_scale is {self.action_scale}; it must be positive")

    @property
    @abstractmethod
    def observation_size(self) -> int:
        """O, the length of an observation."""

    @property
    @abstractmethod
    def action_size(self) -> int:
        """A, the length of an action."""

    @property
    def dt(self) -> float:
        """Seconds of a control step; 0 where there is no clock."""
        return 0.0

    @property
    @abstractmethod
    def tasks(self) -> Distribution:
        """The distribution of tasks."""

    @abstractmethod
    def world(self, tasks: Mapping[str, Floats], rollouts: int, threads: int) -> World:
        """The simulation of these tasks, `rollouts` of each."""

    @abstractmethod
    def start(self, generators: Sequence[tuple[np.random.Generator, np.random.Generator]], rollouts: int) -> State:
        """Start states (T, E, ...) from two generators a task, of positions and of velocities.

        Row e of what a generator gives must not depend on how many rows are asked for.
        """

    @abstractmethod
    def observe(self, state: State) -> Floats:
        """Observations (T, E, O), as a new array."""

    @abstractmethod
    def position(self, state: State) -> Floats:
        """What `reward` measures movement by, (T, E, P)."""

    @abstractmethod
    def reward(self, before: Floats, state: State, control: Floats, task: Mapping[str, Floats]) -> Floats:
        """Rewards (T, E) of one step.

        Args:
            before: `position` before the step.
            state: after the step.
            control: (T, E, A) in [−1, 1].
            task: arrays (T, 1, ...).
        """

    def episodes(self, tasks: Tasks, rollouts: int, threads: int, seed: int, indices: Sequence[int]) -> Simulator:
        """E rollouts of each task, simulated together (see `envs.environment.Environment`)."""
        return Simulator(self, tasks, rollouts, threads, seed, indices)

    def terminated(self, state: State, task: Mapping[str, Floats]) -> Bools | None:
        """Which rollouts have ended by falling or arriving, (T, E); None where none ever does."""
        return None


def square_sum(x: Floats, axes: int = 1) -> Floats:
    """Sum of squares over the last axes."""
    flat = x.reshape(*x.shape[: x.ndim - axes], -1)
    return np.asarray(np.einsum("...i,...i->...", flat, flat))
