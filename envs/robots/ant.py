"""Ant that runs at a velocity, forwards or backwards, in a direction, or to a place.

The robot, common to every variant below (ant.xml, 5 simulation steps of 0.01 s a control step, RK4):

    action   control of                                                   unit (at ±1)
    0–7      hip 4, ankle 4, hip 1, ankle 1, hip 2, ankle 2, hip 3, ankle 3   torque ±150 N m

    observation part   length   quantity                                                          unit
    place              2        x and y of the torso                                              m
    joints             27       height; quaternion (w, x, y, z); hip and ankle of legs 1–4;       m, 1, rad
                                velocity of the torso, its rotation, those of the eight joints    m/s, rad/s
    contacts           78       torque and force of contacts on each of 13 bodies about the       N m, N
                                robot's centre of mass, clipped to [−1, 1]
    rotation           9        rotation matrix of the torso, row by row                          1
    torso              3        place of the torso: x, y, z                                       m

Contact forces are those at the end of the step. Gymnasium's are those of the last stage of its last simulation step;
code on mujoco-py ≥ 2.0 sees zeros. The 6 zeros of the world body, which published observations carry, are left out.
Velocities are displacements of the torso over the step, over its 0.05 s. Where a cost divides actions by the actuators'
half-range s, s is 1 for this robot.
"""
# ruff: noqa: D102 - the base class documents what is overridden here

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from envs.robots.locomotion import Locomotion, flat
from envs.spec import State, square_sum
from envs.tasks import Distribution
from envs.variables import Arc, Bools, Disc, Floats, Sign, Uniform

CONTACT_COST = 5e-4
RLLAB = ("joints", "contacts", "rotation", "torso")


@dataclass(frozen=True, kw_only=True)
class Ant(Locomotion):
    """The robot of this module's docstring.

    Reward: progress + bonus − control_cost ‖control‖² − 0.0005 ‖contacts‖².
    Ends: height of the torso outside `height`.
    """

    file: ClassVar[str] = "ant.xml"
    frame_skip: ClassVar[int] = 5
    actuators: ClassVar[int] = 8
    parts: ClassVar[Mapping[str, tuple[int, tuple[str, ...]]]] = {
        "place": (2, ()),
        "joints": (27, ()),
        "contacts": (78, ("cfrc_ext",)),
        "rotation": (9, ()),
        "torso": (3, ()),
    }
    reward_fields: ClassVar[tuple[str, ...]] = ("cfrc_ext",)

    observes: tuple[str, ...] = RLLAB
    control_cost: float = 0.005
    """Weight of ‖control‖²."""
    bonus: float = 0.05
    """Reward of every step that is survived."""
    height: tuple[float, float] | None = (0.2, 1.0)
    """Heights of the torso at which the episode goes on, m; None for all."""

    def part(self, name: str, state: State) -> Floats:
        qpos = state["qpos"]
        if name == "joints":
            return np.concatenate([qpos[..., 2:], state["qvel"]], -1)
        if name == "contacts":
            return np.clip(flat(state["cfrc_ext"][..., 1:, :]), -1, 1)
        if name == "rotation":
            return rotation(qpos[..., 3:7])
        return qpos[..., :2] if name == "place" else qpos[..., :3]

    def position(self, state: State) -> Floats:
        return state["qpos"][..., :2]

    def reward(self, before: Floats, state: State, control: Floats, task: Mapping[str, Floats]) -> Floats:
        place = state["qpos"][..., :2]
        progress = self.progress(place, (place - before) / self.dt, task)
        contacts = square_sum(np.clip(state["cfrc_ext"], -1, 1), 2)
        return progress + self.bonus - self.control_cost * square_sum(control) - CONTACT_COST * contacts

    @abstractmethod
    def progress(self, place: Floats, velocity: Floats, task: Mapping[str, Floats]) -> Floats:
        """The part of the reward that depends on the task, from place (m) and velocity (m/s), each (T, E, 2)."""

    def terminated(self, state: State, task: Mapping[str, Floats]) -> Bools | None:
        if self.height is None:
            return None
        z = state["qpos"][..., 2]
        return np.asarray((z < self.height[0]) | (z > self.height[1]))


def rotation(quaternion: Floats) -> Floats:
    """Rotation matrices (T, E, 9), row by row, of quaternions (T, E, 4) of any length, real part first."""
    unit = quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)
    w, x, y, z = np.moveaxis(unit, -1, 0)
    rows = [
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return np.stack([entry for row in rows for entry in row], -1)


@dataclass(frozen=True, kw_only=True)
class AntVelocity(Ant):
    """Run forwards at a velocity.

    Task: `velocity` in m/s, uniform in [0, 3]. Progress: 1 − |forward velocity − task's|.

    Variants (source; horizon; policy's actions; observation joints, contacts, rotation, torso (117)):

        ant-vel       tristandeleu/pytorch-maml-rl@21d4ba1 AntVel-v2; 100; ±10
        ant-vel-maml  cbfinn/maml_rl@9c8e2eb; 200; ±1. Its crouched start and centre-of-mass velocity are not kept.
    """

    @property
    def tasks(self) -> Distribution:
        return Distribution((Uniform("velocity", 0.0, 3.0),))

    def progress(self, place: Floats, velocity: Floats, task: Mapping[str, Floats]) -> Floats:
        return np.asarray(1.0 - np.abs(velocity[..., 0] - task["velocity"]))


@dataclass(frozen=True, kw_only=True)
class AntForwardBackward(Ant):
    """Run forwards or backwards.

    Task: `direction`, −1 or +1. Progress: direction · forward velocity.

    Variants (source; horizon; policy's actions; observation; control cost, bonus, heights):

        ant-forward-backward        pytorch-maml-rl@21d4ba1 AntDir-v2; 100; ±10; (117); 0.005, 0.05, [0.2, 1]
        ant-forward-backward-maml   cbfinn/maml_rl@9c8e2eb; 200; ±1; (117); the same (see `AntVelocity`)
        ant-forward-backward-promp  jonasrothfuss/ProMP@93ae339 AntRandDirec, learn2learn@db5cee3
                                    AntForwardBackward-v1; 200 (100 in learn2learn); ±10; joints, contacts (105);
                                    0.5, 1, [0, 1]
    """

    @property
    def tasks(self) -> Distribution:
        return Distribution((Sign("direction"),))

    def progress(self, place: Floats, velocity: Floats, task: Mapping[str, Floats]) -> Floats:
        return task["direction"] * velocity[..., 0]


@dataclass(frozen=True, kw_only=True)
class AntDirection(Ant):
    """Run in a direction of the plane.

    Task: `direction`, a unit vector at a uniform angle. Progress: direction · velocity.

    Variants (source; horizon; policy's actions; observation; control cost, bonus, heights):

        ant-dir        ProMP@93ae339 AntRandDirec2D, learn2learn@db5cee3 AntDirection-v1; 200 (100 in learn2learn);
                       ±10; joints, contacts (105); 0.5, 1, [0, 1]
        ant-dir-pearl  katerakelly/oyster@44e20fd ant-dir; 200; ±1; joints (27); 0.5, 1, [0.2, 1]. Two fixed tasks
                       in its released configuration.

    With direction (1, 0) the reward is Gymnasium's Ant-v5, contacts aside (see above).
    """

    @property
    def tasks(self) -> Distribution:
        return Distribution((Arc("direction"),))

    def progress(self, place: Floats, velocity: Floats, task: Mapping[str, Floats]) -> Floats:
        return np.asarray((velocity * task["direction"]).sum(-1))


@dataclass(frozen=True, kw_only=True)
class AntGoal(Ant):
    """Run to a place and stay.

    Task: `goal` in m, uniform over the square ±3 m or, with `disc`, over the disc of radius 3 m.
    Progress: offset − |x − goal x| − |y − goal y|.

    Variants (source; horizon; policy's actions; observation; goals; offset, control cost, bonus, heights):

        ant-goal        cbfinn/maml_rl@9c8e2eb, pytorch-maml-rl@21d4ba1 AntPos-v1; 200 (100 in the latter); ±1; place,
                        joints, contacts, rotation, torso (119); square; 4, 0.005, 0.05, [0.2, 1]
        ant-goal-promp  ProMP@93ae339 AntRandGoal, oyster@44e20fd, varibad@57e1795; 200; ±10 (±1 in the last two);
                        place, joints, contacts (107); disc; 0, 0.1, 0, all
    """

    disc: bool = False
    """Goals over a disc, not a square."""
    offset: float = 4.0
    """Added to the progress, so that to fall is no way out."""

    @property
    def tasks(self) -> Distribution:
        return Distribution((Disc("goal", 3.0) if self.disc else Uniform("goal", -3.0, 3.0, 2),))

    def progress(self, place: Floats, velocity: Floats, task: Mapping[str, Floats]) -> Floats:
        return np.asarray(self.offset - np.abs(place - task["goal"]).sum(-1))
