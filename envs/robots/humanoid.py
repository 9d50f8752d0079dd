"""Humanoid that walks in a direction of the plane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from metabench.envs.robots.locomotion import Locomotion, Noise, flat
from metabench.envs.spec import State, square_sum
from metabench.envs.tasks import Distribution
from metabench.envs.variables import Arc, Bools, Floats

BODIES = slice(1, None)
DERIVED = {"cinert": BODIES, "cvel": BODIES, "qfrc_actuator": slice(6, None), "cfrc_ext": BODIES}
"""Field -> what is not always zero of it: neither the world's row nor the root's motors."""
NOISE = Noise("uniform", 0.01)
MOTOR = 0.4
"""Control of a motor at full action."""


@dataclass(frozen=True, kw_only=True)
class HumanoidDirection(Locomotion):
    """Walk in a direction without falling.

    Task: `direction`, a unit vector at a uniform angle.
    Body: humanoid.xml, 5 simulation steps of 0.003 s a control step, RK4.

        action   control of                                              unit
        0–16     abdomen y z x; right hip x z y, knee; left hip, knee;   ±1 is control ±0.4, times the motor's gear
                 right shoulder 1 2, elbow; left shoulder, elbow         of 25 to 300: torque in N m

        observation   quantity                                                                   unit
        0–21          height, quaternion (w, x, y, z) and 17 joint angles                        m, 1, rad
        22–44         velocity of the torso, its rotation, the joints                            m/s, rad/s
        45–174        inertia of each of 13 bodies about the robot's centre of mass (10 each)    kg m², kg m, kg
        175–252       rotation and velocity of each body (6 each)                                rad/s, m/s
        253–269       torque of the 17 motors                                                    N m
        270–347       torque and force of contacts on each body (6 each)                         N m, N

    Reward: 1.25 · direction · velocity of the centre of mass − 0.1 ‖0.4 control‖² − min(5e-7 ‖contacts‖², 10) + 5, the
    velocity being the displacement over the step over its 0.015 s (published code writes 0.25 over 0.003 s).
    Ends: height of the torso outside [1, 2] m. Horizon 200.
    Source: jonasrothfuss/ProMP@93ae339 HumanoidRandDirec2D, the same in learn2learn@db5cee3 HumanoidDirection-v1,
    katerakelly/oyster@44e20fd (130 fixed tasks) and lmzintgraf/varibad@57e1795.
    Differs from them in the observation, which leaves out 28 entries that are always zero (as Gymnasium's Humanoid-v5
    does), and in contact forces, which are those at the end of the step (mujoco-py ≥ 2.0 gives zeros).
    With direction (1, 0) the reward is Humanoid-v5's, contacts aside.
    """

    file: ClassVar[str] = "humanoid.xml"
    actuators: ClassVar[int] = 17
    parts: ClassVar[Mapping[str, tuple[int, tuple[str, ...]]]] = {
        "joints": (45, ()),
        "cinert": (130, ("cinert",)),
        "cvel": (78, ("cvel",)),
        "qfrc_actuator": (17, ("qfrc_actuator",)),
        "cfrc_ext": (78, ("cfrc_ext",)),
    }
    reward_fields: ClassVar[tuple[str, ...]] = ("cfrc_ext", "subtree_com")

    horizon: int = 200
    action_scale: float = 10.0
    observes: tuple[str, ...] = ("joints", *DERIVED)
    start_position: Noise = NOISE
    start_velocity: Noise = NOISE

    @property
    def tasks(self) -> Distribution:
        """Tasks with one variable, a unit vector."""
        return Distribution((Arc("direction"),))

    def part(self, name: str, state: State) -> Floats:
        """One part of the observation, (T, E, length), without the entries that are always zero."""
        if name == "joints":
            return np.concatenate([state["qpos"][..., 2:], state["qvel"]], -1)
        return flat(state[name][:, :, DERIVED[name]])

    def position(self, state: State) -> Floats:
        """The centre of mass's x and y in m, (T, E, 2)."""
        return state["subtree_com"][..., 0, :2]

    def reward(self, before: Floats, state: State, control: Floats, task: Mapping[str, Floats]) -> Floats:
        """The sum that the class names, (T, E)."""
        velocity = (self.position(state) - before) / self.dt
        contacts = np.minimum(5e-7 * square_sum(state["cfrc_ext"], 2), 10.0)
        ahead = (velocity * task["direction"]).sum(-1)
        return np.asarray(1.25 * ahead - 0.1 * square_sum(MOTOR * control) - contacts + 5.0)

    def terminated(self, state: State, task: Mapping[str, Floats]) -> Bools:
        """Whether the torso is outside [1, 2] m, (T, E)."""
        z = state["qpos"][..., 2]
        return np.asarray((z < 1.0) | (z > 2.0))
