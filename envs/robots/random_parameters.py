"""Walker2d and Hopper that run forwards with a body of their own: mass, inertia, friction and damping vary by task.

Each task is compiled to its own model. The multipliers are drawn elementwise: 1.5^U(−3, 3) for `body_mass` (one a
body), `body_inertia` (three a body) and `geom_friction` (three a geom), 1.3^U(−3, 3) for `dof_damping` (one a degree of
freedom). Reward: forward velocity + 1 − 0.001 ‖control‖², the velocity being the displacement over the step of
4 · 0.002 s. Horizon 200. Starts with noise uniform in ±0.005 on every coordinate.

Source: dennisl88/rand_param_envs@4d1529d. Differs from it in that constants which follow from the parameters (inverse
weights at the contacts, subtree masses) are recomputed for every task: there they stay those of the nominal body; and
in the bodies, which are Gymnasium's (MuJoCo 1.31's there). Its frame skip of 5 for the walker is swallowed by the
constructor, so that 4 is what it runs with, and ours. oyster@44e20fd fixes 40 training and 10 test tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import mujoco
import numpy as np

from metabench.envs.robots.locomotion import Locomotion, Noise
from metabench.envs.robots.physics import scaled_models
from metabench.envs.spec import State, square_sum
from metabench.envs.tasks import Distribution
from metabench.envs.variables import Bools, Floats, Multiplier

NOISE = Noise("uniform", 0.005)
FASTEST = 10.0
"""Observed velocities are clipped to ± this, m/s or rad/s."""


@dataclass(frozen=True, kw_only=True)
class RandomParameters(Locomotion):
    """Run forwards with an unfamiliar body; see this module's docstring."""

    sizes: ClassVar[tuple[int, int, int]]
    """Bodies (the world included), geoms, degrees of freedom."""

    horizon: int = 200
    action_scale: float = 10.0
    observes: tuple[str, ...] = ("joints",)
    frame_skip: int = 4
    start_position: Noise = NOISE
    start_velocity: Noise = NOISE

    @property
    def tasks(self) -> Distribution:
        """Tasks of four multipliers: of masses, inertias, frictions and dampings."""
        bodies, geoms, freedoms = self.sizes
        return Distribution(
            (
                Multiplier("body_mass", 1.5, 3.0, (bodies,)),
                Multiplier("body_inertia", 1.5, 3.0, (bodies, 3)),
                Multiplier("geom_friction", 1.5, 3.0, (geoms, 3)),
                Multiplier("dof_damping", 1.3, 3.0, (freedoms,)),
            )
        )

    def models(self, tasks: Mapping[str, Floats]) -> list[mujoco.MjModel]:
        """The robot of every task, its parameters multiplied."""
        return scaled_models(self.model, tasks)

    def part(self, name: str, state: State) -> Floats:
        """Coordinates without x, and velocities clipped to ± `FASTEST`, (T, E, length)."""
        return np.concatenate([state["qpos"][..., 1:], np.clip(state["qvel"], -FASTEST, FASTEST)], -1)

    def position(self, state: State) -> Floats:
        """The torso's x in m, (T, E, 1)."""
        return state["qpos"][..., :1]

    def reward(self, before: Floats, state: State, control: Floats, task: Mapping[str, Floats]) -> Floats:
        """Forward velocity in m/s + 1 − 0.001 ‖control‖², (T, E)."""
        velocity = (state["qpos"][..., 0] - before[..., 0]) / self.dt
        return np.asarray(velocity + 1.0 - 1e-3 * square_sum(control))


@dataclass(frozen=True, kw_only=True)
class WalkerParameters(RandomParameters):
    """Walker2d with a random body (walker2d_v5.xml).

        action   control of                                    unit (at ±1)
        0–5      right thigh, leg, foot; left thigh, leg, foot torque ±100 N m

        observation   quantity                                                    unit
        0 1           height and pitch of the torso                               m, rad
        2–7           angles of the six joints, in the actions' order             rad
        8 9 10        velocity of the torso: forward, upward, pitch, in ±10       m/s, m/s, rad/s
        11–16         velocities of the six joints, in ±10                        rad/s

    Ends: height outside (0.8, 2) m or |pitch| ≥ 1 rad. Otherwise as this module's docstring says; with multipliers of 1
    it is Gymnasium's Walker2d-v5, but that the fall is paid the bonus of 1 too.
    """

    file: ClassVar[str] = "walker2d_v5.xml"
    actuators: ClassVar[int] = 6
    parts: ClassVar[Mapping[str, tuple[int, tuple[str, ...]]]] = {"joints": (17, ())}
    sizes: ClassVar[tuple[int, int, int]] = (8, 8, 9)

    def terminated(self, state: State, task: Mapping[str, Floats]) -> Bools:
        """Whether the torso has left the heights and the pitch of a walk, (T, E)."""
        z, angle = state["qpos"][..., 1], state["qpos"][..., 2]
        return np.asarray(~((z > 0.8) & (z < 2.0) & (np.abs(angle) < 1.0)))


@dataclass(frozen=True, kw_only=True)
class HopperParameters(RandomParameters):
    """Hopper with a random body (hopper.xml).

        action   control of          unit (at ±1)
        0 1 2    thigh, leg, foot    torque ±200 N m

        observation   quantity                                                unit
        0 1           height and pitch of the torso                           m, rad
        2 3 4         angles of the three joints                              rad
        5 6 7         velocity of the torso: forward, upward, pitch, in ±10   m/s, m/s, rad/s
        8 9 10        velocities of the three joints, in ±10                  rad/s

    Ends: height ≤ 0.7 m, |pitch| ≥ 0.2 rad, or another coordinate (but the place) or velocity reaches ±100. Otherwise
    as this module's docstring says; with multipliers of 1 it is Gymnasium's Hopper-v5, but that the fall is paid the
    bonus of 1 too.
    """

    file: ClassVar[str] = "hopper.xml"
    actuators: ClassVar[int] = 3
    parts: ClassVar[Mapping[str, tuple[int, tuple[str, ...]]]] = {"joints": (11, ())}
    sizes: ClassVar[tuple[int, int, int]] = (5, 5, 6)

    def terminated(self, state: State, task: Mapping[str, Floats]) -> Bools:
        """Whether the torso has left the heights and the pitch of a hop, or a number has run away, (T, E)."""
        qpos, qvel = state["qpos"], state["qvel"]
        sane = (np.abs(qpos[..., 2:]) < 100).all(-1) & (np.abs(qvel) < 100).all(-1)
        return np.asarray(~(sane & (qpos[..., 1] > 0.7) & (np.abs(qpos[..., 2]) < 0.2)))
