"""What the robots share: a body of Gymnasium's, noise around a pose at the start, observations made of named parts.

Sources are cited as owner/repo@commit. Formulas were taken from the code of those commits, not from the papers, where
the two differ.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import mujoco
import numpy as np

from metabench.envs.robots.physics import Physics, load_model
from metabench.envs.spec import Spec, State, World
from metabench.envs.variables import Floats


@dataclass(frozen=True)
class Noise:
    """Added to every coordinate of the pose at the start: uniform in ±scale, or normal with that deviation."""

    kind: str
    scale: float

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        """Independent values."""
        return np.asarray(
            rng.uniform(-self.scale, self.scale, shape)
            if self.kind == "uniform"
            else self.scale * rng.standard_normal(shape)
        )


@dataclass(frozen=True, kw_only=True)
class Locomotion(Spec):
    """A robot and its reward. A subclass names the robot and gives the reward."""

    file: ClassVar[str]
    """MJCF file in Gymnasium's assets."""
    parts: ClassVar[Mapping[str, tuple[int, tuple[str, ...]]]]
    """Part of an observation -> (its length, the derived fields it reads)."""
    reward_fields: ClassVar[tuple[str, ...]] = ()
    """Derived fields that the reward reads."""
    actuators: ClassVar[int]
    """Motors of the robot."""

    observes: tuple[str, ...]
    """Parts of the observation, in this order."""
    frame_skip: int = 5
    """Simulation steps a control step."""
    com_velocity: bool = False
    """Measure the centre of mass's velocity at the end of the step, not the torso's mean velocity over it."""
    start_position: Noise = Noise("uniform", 0.1)
    """Noise of joint positions at the start, rad or m."""
    start_velocity: Noise = Noise("normal", 0.1)
    """Noise of joint velocities at the start, rad/s or m/s."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if unknown := [part for part in self.observes if part not in self.parts]:
            raise ValueError(f"unknown part of an observation {unknown[0]!r}; choose from {', '.join(self.parts)}")

    @property
    def observation_size(self) -> int:
        """The lengths of the parts that are observed, added."""
        return sum(self.parts[part][0] for part in self.observes)

    @property
    def action_size(self) -> int:
        """As many as there are motors."""
        return self.actuators

    @property
    def fields(self) -> tuple[str, ...]:
        """Derived quantities that the simulation keeps current."""
        read = {f for part in self.observes for f in self.parts[part][1]} | set(self.reward_fields)
        return tuple(sorted(read | ({"subtree_linvel"} if self.com_velocity else set())))

    @property
    def model(self) -> mujoco.MjModel:
        """The nominal robot."""
        return load_model(self.file, self.fields)

    @property
    def pose(self) -> Floats:
        """Where episodes start, before noise: coordinates (nq,)."""
        return np.asarray(self.model.qpos0)

    @property
    def dt(self) -> float:
        """Seconds of a control step."""
        return float(self.model.opt.timestep) * self.frame_skip

    def world(self, tasks: Mapping[str, Floats], rollouts: int, threads: int) -> World:
        """A simulation by MuJoCo on that many threads; with a model for each task where tasks change the robot."""
        count = len(next(iter(tasks.values())))
        return Physics(self.models(tasks), (count, rollouts), self.frame_skip, self.fields, threads)

    def velocity(self, before: Floats, state: State) -> Floats:
        """Velocity (T, E, P) in m/s over a step from `before`, along the coordinates that `position` gives."""
        if self.com_velocity:
            return state["subtree_linvel"][..., 1, : before.shape[-1]]
        return np.asarray((self.position(state) - before) / self.dt)

    def models(self, tasks: Mapping[str, Floats]) -> mujoco.MjModel | list[mujoco.MjModel]:
        """The robot of every task, or one model a task where tasks change it."""
        return self.model

    def start(self, generators: Sequence[tuple[np.random.Generator, np.random.Generator]], rollouts: int) -> State:
        """{"qpos": (T, E, nq), "qvel": (T, E, nv)}: the pose at rest, with noise on both."""
        nq, nv = self.model.nq, self.model.nv
        return {
            "qpos": self.pose + np.stack([self.start_position.draw(g, (rollouts, nq)) for g, _ in generators]),
            "qvel": np.stack([self.start_velocity.draw(g, (rollouts, nv)) for _, g in generators]),
        }

    def observe(self, state: State) -> Floats:
        """The parts named in `observes` side by side, (T, E, O)."""
        return np.concatenate([self.part(name, state) for name in self.observes], axis=-1)

    @abstractmethod
    def part(self, name: str, state: State) -> Floats:
        """One part of the observation, (T, E, length)."""


def flat(x: Floats) -> Floats:
    """(T, E, a, b) -> (T, E, a·b)."""
    return x.reshape(*x.shape[:2], -1)
