"""A point that moves over the plane towards a goal it is not told: arrays, no simulator.

    action        quantity                                    unit
    0 1           displacement of this step, x and y          scaled: the policy's ±action_scale is ±`speed`

    observation   quantity           unit
    0 1           place: x and y     length

Variants (source; goals; start; speed; policy's actions; reward; ends; horizon). d is the distance to the goal.

    navigation             tristandeleu/pytorch-maml-rl@21d4ba1 2DNavigation-v0, learnables/learn2learn@db5cee3
                           Particles2D-v1; square ±0.5; origin; 0.1; ±0.1; −d; within 0.01 of the goal in x and in y;
                           100. A policy's deviation of 1 at the start saturates it ten times over.
    navigation-maml        cbfinn/maml_rl@9c8e2eb point_env_randgoal.py; the same, but ±1: rllab's `normalize` makes a
                           step of 0.1 the policy's unit. The MAML paper says −d².
    navigation-promp       jonasrothfuss/ProMP@93ae339 point_env_2d_v2.py; square ±2; origin; 0.1; ±0.1; −d; within 0.01
                           of the *origin* (its code tests the place, not the distance); 100
    navigation-corner      ProMP@93ae339 point_env_2d_corner.py; (±2, ±2); square ±0.2; 0.2; ±0.2; the decrease of d
                           where |x| + |y| ≥ 0.5 and no other corner is nearer, else 0; never; 100
    navigation-pearl       katerakelly/oyster@44e20fd point-robot; square ±1; square ±1; 0.1; ±1; −d; never; 20. There
                           100 tasks are fixed.
    navigation-half-circle oyster@44e20fd sparse-point-robot; half of the unit circle; origin; 0.1; ±1; 1 − d within 0.2
                           of the goal, else 0; never; 20. PEARL meta-trains on −d; this is what it is tested with.
    navigation-varibad     lmzintgraf/varibad@57e1795; the same with horizon 100
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metabench.envs.spec import Spec, State
from metabench.envs.tasks import Distribution
from metabench.envs.variables import Bools, Floats, Uniform, Variable

SQUARE = Uniform("goal", -0.5, 0.5, 2)
NEAR = 0.01
CORNERS = ((-2.0, -2.0), (2.0, -2.0), (-2.0, 2.0), (2.0, 2.0))
REWARDS = ("distance", "corner", "sparse")


class Plane:
    """T × E points (see `envs.spec.World`)."""

    def __init__(self, shape: tuple[int, int], speed: float) -> None:
        self.speed = speed
        self._place: Floats = np.zeros((*shape, 2))
        self.state: State = {"place": self._place}

    def reset(self, mask: Bools, start: State) -> None:
        """Put the points in mask (T, E) at the start places."""
        self._place[mask] = start["place"][mask]

    def advance(self, control: Floats, running: Bools) -> Bools:
        """Move the running points by control (T, E, 2) in [−1, 1] times the speed; none diverges."""
        self._place += np.where(running[..., None], self.speed * control, 0.0)
        return np.zeros_like(running)


@dataclass(frozen=True, kw_only=True)
class Navigation(Spec):
    """A point on the plane; see this module's docstring. Task: `goal`, its place."""

    horizon: int = 100
    action_scale: float = 0.1
    speed: float = 0.1
    """Longest displacement of a step along each axis."""
    goals: Variable = SQUARE
    """Where goals lie: points of the plane called "goal"."""
    spread: float = 0.0
    """Half the side of the square in which a point starts."""
    reward_kind: str = "distance"
    """One of distance, corner, sparse."""
    ends_at: str | None = "goal"
    """The episode ends near the "goal", near the "origin", or never (None)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reward_kind not in REWARDS:
            raise ValueError(f"reward_kind is {self.reward_kind!r}; choose one of {', '.join(REWARDS)}")

    @property
    def observation_size(self) -> int:
        """2: the place."""
        return 2

    @property
    def action_size(self) -> int:
        """2: the displacement along x and y."""
        return 2

    @property
    def tasks(self) -> Distribution:
        """Tasks with one variable, the goal."""
        return Distribution((self.goals,))

    def world(self, tasks: Mapping[str, Floats], rollouts: int, threads: int) -> Plane:
        """Points of a plane, which need neither MuJoCo nor threads."""
        return Plane((len(tasks["goal"]), rollouts), self.speed)

    def start(self, generators: Sequence[tuple[np.random.Generator, np.random.Generator]], rollouts: int) -> State:
        """{"place": (T, E, 2)}, uniform over the square of ± `spread` around the origin."""
        return {"place": np.stack([g.uniform(-self.spread, self.spread, (rollouts, 2)) for g, _ in generators])}

    def observe(self, state: State) -> Floats:
        """The place, (T, E, 2); the goal is not seen."""
        return state["place"].copy()

    def position(self, state: State) -> Floats:
        """The place, (T, E, 2)."""
        return state["place"]

    def reward(self, before: Floats, state: State, control: Floats, task: Mapping[str, Floats]) -> Floats:
        """Rewards (T, E) as `reward_kind` says; see the class."""
        place, goal = state["place"], task["goal"]
        distance = np.linalg.norm(place - goal, axis=-1)
        if self.reward_kind == "distance":
            return np.asarray(-distance)
        if self.reward_kind == "sparse":
            return np.where(distance <= 0.2, 1 - distance, 0.0)
        nearest = np.min([np.linalg.norm(place - corner, axis=-1) for corner in CORNERS], axis=0)
        counts = (np.abs(place).sum(-1) >= 0.5) & (distance <= nearest)
        return np.where(counts, np.linalg.norm(before - goal, axis=-1) - distance, 0.0)

    def terminated(self, state: State, task: Mapping[str, Floats]) -> Bools | None:
        """Whether the point is within `NEAR` of what it ends at, along both axes; None where it ends at nothing."""
        if self.ends_at is None:
            return None
        target = task["goal"] if self.ends_at == "goal" else 0.0
        return np.asarray((np.abs(state["place"] - target) < NEAR).all(-1))
