"""Ant that runs at a velocity, forwards or backwards, in a direction, or to a place.

The robot, common to every variant below (ant.xml, RK4):

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
    com                3        centre of mass of the whole robot: x, y, z                        m

Contact forces are those at the end of the step. Gymnasium's are those of the last stage of its last simulation step;
code on mujoco-py ≥ 2.0 sees zeros. The 6 zeros of the world body, which published observations carry, are left out.
A control step is 5 simulation steps of 0.01 s. Velocities are displacements of the torso over it. Where a cost divides
actions by the actuators' half-range s, what is squared is the control in ±1.

The variants of cbfinn/maml_rl (`rllab`) have its clock and its ant.xml, which differs from Gymnasium's in four things:

    simulation step      0.02 s (0.01 s in Gymnasium's), and one of them a control step: 200 steps last 4 s
    contacts             impedance (solimp) 0.8 at every depth (0.9 to 0.95); friction differs in turning and rolling
                         alone, which contacts of three dimensions do not have
    motors               no gear and controls in ±150 (gear 150, ±1): the same torques, as actions are normalised to ±1
    camera               none

An episode there starts crouched (height 0.55 m, ankles bent by 1 rad), with normal noise of 0.01 on places and 0.1 on
velocities; place and velocity are those of the robot's centre of mass at the end of the step, and `com` is observed,
not `torso`.
"""

from __future__ import annotations

import copy
import functools
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import mujoco
import numpy as np

from metabench.envs.robots.locomotion import Locomotion, flat
from metabench.envs.robots.physics import load_model
from metabench.envs.spec import State, square_sum
from metabench.envs.tasks import Distribution
from metabench.envs.variables import Arc, Bools, Disc, Floats, Sign, Uniform

CONTACT_COST = 5e-4
WHOLE = ("place", "joints", "contacts", "rotation", "torso")
"""The observation of rllab and of code that follows it; its torso repeats the place."""
CROUCHED = "init_qpos"
"""Name under which ant.xml keeps rllab's pose at the start; Gymnasium does not read it."""


@dataclass(frozen=True, kw_only=True)
class Ant(Locomotion):
    """The robot of this module's docstring.

    Reward: progress + bonus − control_cost ‖control‖² − 0.0005 ‖contacts‖².
    Ends: height of the torso outside `height`.
    """

    file: ClassVar[str] = "ant.xml"
    actuators: ClassVar[int] = 8
    parts: ClassVar[Mapping[str, tuple[int, tuple[str, ...]]]] = {
        "place": (2, ()),
        "joints": (27, ()),
        "contacts": (78, ("cfrc_ext",)),
        "rotation": (9, ()),
        "torso": (3, ()),
        "com": (3, ("subtree_com",)),
    }
    reward_fields: ClassVar[tuple[str, ...]] = ("cfrc_ext",)

    observes: tuple[str, ...] = WHOLE
    rllab: bool = False
    """The robot and the start of rllab's ant.xml, not Gymnasium's; see this module's docstring."""
    control_cost: float = 0.005
    """Weight of ‖control‖²."""
    bonus: float = 0.05
    """Reward of every step that is survived."""
    height: tuple[float, float] | None = (0.2, 1.0)
    """Heights of the torso at which the episode goes on, m; None for all."""

    @property
    def model(self) -> mujoco.MjModel:
        """Gymnasium's robot, or rllab's."""
        return rllab_model(self.file, self.fields) if self.rllab else super().model

    @property
    def fields(self) -> tuple[str, ...]:
        """Those of every robot, and where it is rllab's the centre of mass, which its reward reads."""
        return tuple(sorted({*super().fields, "subtree_com"})) if self.rllab else super().fields

    @property
    def pose(self) -> Floats:
        """Standing as Gymnasium's, or crouched as rllab's, (nq,)."""
        return np.asarray(self.model.numeric(CROUCHED).data) if self.rllab else super().pose

    def part(self, name: str, state: State) -> Floats:
        """One part of the observation, (T, E, length), in the units of this module's docstring."""
        qpos = state["qpos"]
        if name == "joints":
            return np.concatenate([qpos[..., 2:], state["qvel"]], -1)
        if name == "contacts":
            return np.clip(flat(state["cfrc_ext"][..., 1:, :]), -1, 1)
        if name == "rotation":
            return rotation(qpos[..., 3:7])
        if name == "com":
            return state["subtree_com"][..., 1, :]
        return qpos[..., :2] if name == "place" else qpos[..., :3]

    def position(self, state: State) -> Floats:
        """The torso's x and y in m, (T, E, 2)."""
        return state["qpos"][..., :2]

    def reward(self, before: Floats, state: State, control: Floats, task: Mapping[str, Floats]) -> Floats:
        """Progress + bonus − cost of control − cost of contacts, (T, E)."""
        place = state["subtree_com"][..., 1, :2] if self.rllab else self.position(state)
        progress = self.progress(place, self.velocity(before, state), task)
        contacts = square_sum(np.clip(state["cfrc_ext"], -1, 1), 2)
        return progress + self.bonus - self.control_cost * square_sum(control) - CONTACT_COST * contacts

    @abstractmethod
    def progress(self, place: Floats, velocity: Floats, task: Mapping[str, Floats]) -> Floats:
        """The part of the reward that depends on the task, from place (m) and velocity (m/s), each (T, E, 2)."""

    def terminated(self, state: State, task: Mapping[str, Floats]) -> Bools | None:
        """Whether the torso has left the heights of `height`, (T, E); None where all are good."""
        if self.height is None:
            return None
        z = state["qpos"][..., 2]
        return np.asarray((z < self.height[0]) | (z > self.height[1]))


@functools.cache
def rllab_model(file: str, fields: tuple[str, ...]) -> mujoco.MjModel:
    """rllab's robot, from Gymnasium's; treat it as read-only."""
    model = copy.copy(load_model(file, fields))
    model.opt.timestep = 0.02
    model.geom_solimp[:, :3] = 0.8, 0.8, 0.01
    return model


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

    Variants (source; horizon; policy's actions; observation):

        ant-vel       tristandeleu/pytorch-maml-rl@21d4ba1 (2020) AntVel-v2; 100; ±10; place, joints, contacts,
                      rotation, torso (119)
        ant-vel-maml  cbfinn/maml_rl@9c8e2eb; 200; ±1; the same with com for torso (119)
    """

    @property
    def tasks(self) -> Distribution:
        """Tasks with one variable, the velocity in m/s."""
        return Distribution((Uniform("velocity", 0.0, 3.0),))

    def progress(self, place: Floats, velocity: Floats, task: Mapping[str, Floats]) -> Floats:
        """1 − |forward velocity − task's|, (T, E)."""
        return np.asarray(1.0 - np.abs(velocity[..., 0] - task["velocity"]))


@dataclass(frozen=True, kw_only=True)
class AntForwardBackward(Ant):
    """Run forwards or backwards.

    Task: `direction`, −1 or +1. Progress: direction · forward velocity.

    Variants (source; horizon; policy's actions; observation; control cost, bonus, heights):

        ant-forward-backward        pytorch-maml-rl@21d4ba1 AntDir-v2; 100; ±10; as ant-vel; 0.005, 0.05, [0.2, 1]
        ant-forward-backward-maml   cbfinn/maml_rl@9c8e2eb; 200; ±1; as ant-vel-maml; the same
        ant-forward-backward-promp  jonasrothfuss/ProMP@93ae339 AntRandDirec, learn2learn@db5cee3
                                    AntForwardBackward-v1; 200 (100 in learn2learn); ±10; joints, contacts (105);
                                    0.5, 1, [0, 1]
    """

    @property
    def tasks(self) -> Distribution:
        """Tasks with one variable, the direction's sign."""
        return Distribution((Sign("direction"),))

    def progress(self, place: Floats, velocity: Floats, task: Mapping[str, Floats]) -> Floats:
        """Forward velocity times the sign, (T, E)."""
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
        """Tasks with one variable, a unit vector."""
        return Distribution((Arc("direction"),))

    def progress(self, place: Floats, velocity: Floats, task: Mapping[str, Floats]) -> Floats:
        """Velocity along the vector in m/s, (T, E)."""
        return np.asarray((velocity * task["direction"]).sum(-1))


@dataclass(frozen=True, kw_only=True)
class AntGoal(Ant):
    """Run to a place and stay.

    Task: `goal` in m, uniform over the square ±3 m or, with `disc`, over the disc of radius 3 m.
    Progress: offset − |x − goal x| − |y − goal y|.

    Variants (source; horizon; policy's actions; observation; goals; offset, control cost, bonus, heights):

        ant-goal        pytorch-maml-rl@21d4ba1 AntPos-v1; 100; ±10; as ant-vel; square; 4, 0.005, 0.05, [0.2, 1]
        ant-goal-maml   cbfinn/maml_rl@9c8e2eb; 200; ±1; as ant-vel-maml; the same
        ant-goal-promp  ProMP@93ae339 AntRandGoal, oyster@44e20fd, varibad@57e1795; 200; ±10 (±1 in the last two);
                        place, joints, contacts (107); disc; 0, 0.1, 0, all
    """

    disc: bool = False
    """Goals over a disc, not a square."""
    offset: float = 4.0
    """Added to the progress, so that to fall is no way out."""

    @property
    def tasks(self) -> Distribution:
        """Tasks with one variable, the goal in m."""
        return Distribution((Disc("goal", 3.0) if self.disc else Uniform("goal", -3.0, 3.0, 2),))

    def progress(self, place: Floats, velocity: Floats, task: Mapping[str, Floats]) -> Floats:
        """`offset` less the distance to the goal along both axes, (T, E)."""
        return np.asarray(self.offset - np.abs(place - task["goal"]).sum(-1))
