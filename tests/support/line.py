"""A new environment on one page: the shortest example of what `envs` asks of one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from metabench.envs.spec import Spec, State
from metabench.envs.tasks import Distribution
from metabench.envs.variables import Bools, Floats, Uniform


class Points:
    """T × E points on a line. Those named in `fails`, {(step, task, rollout)}, diverge."""

    fails: ClassVar[set[tuple[int, int, int]]] = set()

    def __init__(self, shape: tuple[int, int]) -> None:
        self.state: dict[str, Floats] = {"x": np.zeros((*shape, 1))}
        self.step = 0

    def reset(self, mask: Bools, start: State) -> None:
        self.state["x"][mask], self.step = start["x"][mask], 0

    def advance(self, control: Floats, running: Bools) -> Bools:
        self.state["x"] += control * running[..., None]
        failed = np.zeros_like(running)
        for step, task, rollout in self.fails:
            failed[task, rollout] = step == self.step
        self.state["x"][failed & running] = np.nan
        self.step += 1
        return failed


@dataclass(frozen=True, kw_only=True)
class Line(Spec):
    """Push a point along a line to `place`. Reward: −distance. It falls off the line 3 away from 0."""

    horizon: int = 6
    observation_size: ClassVar[int] = 1  # type: ignore[misc]
    action_size: ClassVar[int] = 1  # type: ignore[misc]
    tasks: ClassVar[Distribution] = Distribution((Uniform("place", -1.0, 1.0),))  # type: ignore[misc]

    def world(self, tasks: Mapping[str, Floats], rollouts: int, threads: int) -> Points:
        return Points((len(tasks["place"]), rollouts))

    def start(self, generators: Any, rollouts: int) -> State:
        return {"x": np.zeros((len(generators), rollouts, 1))}

    def observe(self, state: State) -> Floats:
        return state["x"].copy()

    def position(self, state: State) -> Floats:
        return state["x"]

    def reward(self, before: Floats, state: State, control: Floats, task: Mapping[str, Floats]) -> Floats:
        return -np.abs(state["x"][..., 0] - task["place"])

    def terminated(self, state: State, task: Mapping[str, Floats]) -> Bools:
        return np.abs(state["x"][..., 0]) >= 3
