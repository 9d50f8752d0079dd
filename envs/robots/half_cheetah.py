"""HalfCheetah that runs in a direction, or at a velocity.

The robot, common to every variant below (half_cheetah.xml; rllab's differs from Gymnasium's by a camera alone):

    action     control of                     unit (at ±1)
    0 1 2      hind thigh, shin, foot         torque ±120, ±90, ±60 N m
    3 4 5      fore thigh, shin, foot         torque ±120, ±60, ±30 N m

    observation part   index    quantity                                              unit
    joints             0        height of the torso above its pose in the model       m
                       1        pitch of the torso                                    rad
                       2–7      angles of the six joints, in the actions' order       rad
                       8 9 10   velocity of the torso: forward, upward, pitch         m/s, m/s, rad/s
                       11–16    velocities of the six joints                          rad/s
    torso              +3       place of the torso: x, y = 0, z                       m
    com                +3       centre of mass of the whole robot: x, y, z            m

A control step is 5 simulation steps of 0.01 s, or one in the variants of maml_rl: rllab takes the number from the
XML, where there is none (rllab/envs/mujoco/mujoco_env.py), so that its 200 steps last 2 s.

An episode never ends before its horizon. It starts at rest with noise on every coordinate.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import mujoco
import numpy as np

from metabench.envs.robots.locomotion import Locomotion
from metabench.envs.robots.physics import damped_model
from metabench.envs.spec import State, square_sum
from metabench.envs.tasks import Distribution
from metabench.envs.variables import Floats, Sign, Uniform

CONTROL_COST = 0.05
TORSO_HEIGHT = 0.7
"""Height of the torso in the model's pose, m."""


@dataclass(frozen=True, kw_only=True)
class HalfCheetah(Locomotion):
    """The robot of this module's docstring. Reward: progress − 0.05 ‖control‖²."""

    file: ClassVar[str] = "half_cheetah.xml"
    actuators: ClassVar[int] = 6
    parts: ClassVar[Mapping[str, tuple[int, tuple[str, ...]]]] = {
        "joints": (17, ()),
        "torso": (3, ()),
        "com": (3, ("subtree_com",)),
    }

    observes: tuple[str, ...] = ("joints", "torso")

    joint_damping: float = 1.0
    """Factor of the damping of the six joints."""

    @property
    def model(self) -> mujoco.MjModel:
        """The nominal robot, its joints damped."""
        return damped_model(self.file, self.fields, self.joint_damping) if self.joint_damping != 1 else super().model

    def part(self, name: str, state: State) -> Floats:
        """One part of the observation, (T, E, length), in the units of this module's docstring."""
        qpos = state["qpos"]
        if name == "joints":
            return np.concatenate([qpos[..., 1:], state["qvel"]], -1)
        if name == "torso":
            x = qpos[..., 0]
            return np.stack([x, np.zeros_like(x), TORSO_HEIGHT + qpos[..., 1]], -1)
        return state["subtree_com"][..., 1, :]

    def position(self, state: State) -> Floats:
        """The torso's x in m, (T, E, 1)."""
        return state["qpos"][..., :1]

    def reward(self, before: Floats, state: State, control: Floats, task: Mapping[str, Floats]) -> Floats:
        """Progress − 0.05 ‖control‖², (T, E)."""
        return self.progress(self.velocity(before, state)[..., 0], task) - CONTROL_COST * square_sum(control)

    @abstractmethod
    def progress(self, velocity: Floats, task: Mapping[str, Floats]) -> Floats:
        """The part of the reward that depends on the task, from the forward velocity (T, E) in m/s."""


@dataclass(frozen=True, kw_only=True)
class CheetahDirection(HalfCheetah):
    """Run forwards or backwards.

    Task: `direction`, −1 or +1 with equal chance. Reward: direction · velocity − 0.05 ‖control‖².

    Variants (source; horizon; control step; observation; policy's actions):

        cheetah-dir        tristandeleu/pytorch-maml-rl@21d4ba1 (2020) HalfCheetahDir-v2; 100; 0.05 s; joints, torso
                           (20); ±10
        cheetah-dir-2019   pytorch-maml-rl@493e677 (August 2019) HalfCheetahDir-v1; 200; 0.05 s; joints, torso (20); ±1
        cheetah-dir-maml   cbfinn/maml_rl@9c8e2eb; 200; 0.01 s; joints, com (20), velocity of the centre of mass; ±1
        cheetah-dir-maml-damped  the same with 1.5 times the damping of the joints, with which untrained policies have
                           the published return before any update; metabench's own, to tell what the simulator does
        cheetah-dir-promp  jonasrothfuss/ProMP@93ae339; 100; 0.05 s; joints (17); ±10
        cheetah-dir-pearl  katerakelly/oyster@44e20fd; 200; 0.05 s; joints, torso (20); ±1. There the two tasks are
                           fixed.

    Differs from maml_rl in the simulator alone (MuJoCo 1.31 there).
    Differs from Gymnasium's HalfCheetah-v5 in the cost of control (0.1 there) alone, for joints and direction 1.
    """

    @property
    def tasks(self) -> Distribution:
        """Tasks with one variable, the direction's sign."""
        return Distribution((Sign("direction"),))

    def progress(self, velocity: Floats, task: Mapping[str, Floats]) -> Floats:
        """Forward velocity times the sign, (T, E)."""
        return task["direction"] * velocity


@dataclass(frozen=True, kw_only=True)
class CheetahVelocity(HalfCheetah):
    """Run at a velocity.

    Task: `velocity` in m/s, uniform in [0, fastest]. Reward: −|velocity − task's| − 0.05 ‖control‖².

    Variants (source; fastest; horizon; control step; observation; policy's actions):

        cheetah-vel        tristandeleu/pytorch-maml-rl@21d4ba1 (2020) HalfCheetahVel-v2; 2; 100; 0.05 s; joints, torso
                           (20); ±10
        cheetah-vel-2019   pytorch-maml-rl@493e677 (August 2019) HalfCheetahVel-v1; 2; 200; 0.05 s; joints, torso (20);
                           ±1
        cheetah-vel-maml   cbfinn/maml_rl@9c8e2eb; 2; 200; 0.01 s; joints, com (20), velocity of the centre of mass; ±1
        cheetah-vel-promp  jonasrothfuss/ProMP@93ae339; 3; 200; 0.05 s; joints (17); ±10
        cheetah-vel-pearl  katerakelly/oyster@44e20fd; 3; 200; 0.05 s; joints, torso (20); ±1. 130 fixed tasks there.

    Returns of variants that differ in `fastest` or horizon cannot be compared: to stand still gives about
    −horizon · fastest / 2.
    """

    fastest: float = 2.0
    """Fastest velocity asked for, m/s."""

    @property
    def tasks(self) -> Distribution:
        """Tasks with one variable, the velocity in m/s."""
        return Distribution((Uniform("velocity", 0.0, self.fastest),))

    def progress(self, velocity: Floats, task: Mapping[str, Floats]) -> Floats:
        """−|velocity − task's|, (T, E)."""
        return np.asarray(-np.abs(velocity - task["velocity"]))
