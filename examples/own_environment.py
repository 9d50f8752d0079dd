"""An environment of one's own as a benchmark: any `gymnasium.Env` with `sample_tasks` and `set_task`.

    python examples/own_environment.py --iterations 40            trains MAML in it, tests, writes a record

is what, in this folder, the command line does without this file's last lines:

    metabench run maml --environment module:own_environment.Puck --iterations 40
"""

from __future__ import annotations

import sys
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from metabench.bench.cli.main import main


class Puck(gymnasium.Env[np.ndarray, np.ndarray]):
    """A puck on a table, to be pushed to a place that it is not told; it falls off the edge, 2 m from the middle."""

    horizon = 40
    observation_space = Box(-np.inf, np.inf, (4,))  # its place in m and its velocity in m/s
    action_space = Box(-1.0, 1.0, (2,))  # all of the push to either side

    def sample_tasks(self, n: int) -> list[dict[str, np.ndarray]]:
        """N tasks, drawn from `self.np_random`."""
        return [{"goal": goal} for goal in self.np_random.uniform(-1, 1, (n, 2))]

    def set_task(self, task: dict[str, np.ndarray]) -> None:
        """What the next episodes ask for."""
        self.goal = task["goal"]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """At rest, about the middle."""
        super().reset(seed=seed)
        self.state = np.concatenate([self.np_random.uniform(-0.1, 0.1, 2), np.zeros(2)])
        return self.state.astype(np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """A twentieth of a second."""
        place, velocity = self.state[:2], self.state[2:]
        velocity = 0.8 * velocity + 0.8 * action
        self.state = np.concatenate([place + 0.05 * velocity, velocity])
        distance = float(np.linalg.norm(self.state[:2] - self.goal))
        return self.state.astype(np.float32), -distance, bool(np.abs(self.state[:2]).max() > 2), False, {}


if __name__ == "__main__":
    sys.exit(main(["run", "maml", "--environment", "module:own_environment.Puck", *sys.argv[1:]]))
