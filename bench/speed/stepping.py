"""What `metabench bench envs` times: HalfCheetah in closed loop, beside the limit of physics and beside Gymnasium.

Ours is what a run does: MAML's policy (100 × 100 ReLU) steps 20 tasks × 20 rollouts together and records all it sees.
The limit is `mujoco.rollout` in open loop on as many threads: the same starts under the same controls, which end in the
same observations bit for bit. What is missing to it is everything that is not physics: the policy, observations,
rewards, records, and that a closed loop waits for its slowest thread once a step. Gymnasium's vectors take as many
steps of the same robot with a policy of the same size.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium
import mujoco
import numpy as np
import torch
from mujoco import rollout

from metabench.algorithms import Workers
from metabench.bench.recipes.control import control
from metabench.bench.speed.turns import alternate, ratio
from metabench.bench.speed.workloads import Unequal
from metabench.bench.worlds.control_build import make_policy, make_suite
from metabench.envs import ENVIRONMENTS, Simulator, Spec
from metabench.envs.robots.physics import load_model
from metabench.envs.rollouts import Rollouts, act
from metabench.envs.variables import Floats

TASKS, STEPS = 20, 100
ENVIRONMENT = "cheetah-dir-promp"
"""Observes what Gymnasium's HalfCheetah does."""
TOLERANCE = 1e-9
"""Largest difference of an observation from Gymnasium's after `COMPARED` steps from one start."""
COMPARED = 10


class ClosedLoop:
    """Ours: 400 environments under a policy, and the physics of it alone.

    Args:
        steps: of every environment; at most its horizon of 100.
        tasks: environments are 20 times as many.
    """

    def __init__(self, workers: Workers, steps: int = STEPS, tasks: int = TASKS) -> None:
        recipe = dataclasses.replace(control("maml", "cheetah-dir"), benchmark=ENVIRONMENT, environment=ENVIRONMENT)
        self.threads = workers.threads
        self.suite = make_suite(recipe, 0, workers, torch.device(workers.device))
        spec = ENVIRONMENTS[ENVIRONMENT]
        assert isinstance(spec, Spec)
        self.suite.spec = dataclasses.replace(spec, horizon=steps)
        self.learner = make_policy(recipe, 0, self.suite).to(workers.device)
        self.tasks = self.suite.tasks(range(tasks), "train")
        self.fast = self.learner.begin()
        self.count, self.steps = tasks * recipe.rollouts, steps

    def run(self) -> Rollouts:
        """Every environment from its start to the end; the same each time."""
        return self.suite.roll(self.tasks, self.learner, self.fast, 0)

    def started(self) -> Simulator:
        """The simulation at the start."""
        simulator = self.suite.episodes(self.tasks, 0)
        assert isinstance(simulator, Simulator)
        simulator.reset()
        return simulator

    def controls(self, played: Rollouts) -> Floats:
        """What the policy's actions drove the motors with, (environments, steps, A)."""
        scaled = played.actions / self.suite.spec.action_scale
        return np.asarray(np.clip(scaled, -1, 1).reshape(self.count, self.steps, -1))

    def open_loop(self) -> Callable[[], Floats]:
        """The same physics, every control known in advance; returns all states, (environments, simulation steps, S).

        Raises:
            Unequal: its last observations are not those of the closed loop.
        """
        spec: Any = self.suite.spec
        model, skip, full = load_model(spec.file), spec.frame_skip, mujoco.mjtState.mjSTATE_FULLPHYSICS
        starts = np.zeros((self.count, mujoco.mj_stateSize(model, full)))
        state = self.started().world.state
        starts[:, 1:] = np.concatenate([state[name].reshape(self.count, -1) for name in ("qpos", "qvel")], 1)
        played = self.run()
        control = np.repeat(self.controls(played), skip, axis=1)
        out = np.empty((self.count, self.steps * skip, starts.shape[1]))
        pool, data = rollout.Rollout(nthread=self.threads), [mujoco.MjData(model) for _ in range(self.threads)]

        def run() -> Floats:
            pool.rollout(model, data, starts, control, state=out)
            return out

        # The last observation is of the state before the last step.
        qpos, qvel = np.split(run()[:, -skip - 1, 1:], [model.nq], axis=1)
        if not np.array_equal(spec.observe({"qpos": qpos, "qvel": qvel}), self._last(played)):
            raise Unequal("open and closed loop end in different states")
        return run

    def _last(self, played: Rollouts) -> Floats:
        return played.observations[:, :, -1].reshape(self.count, -1)


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """In a folder of its own and with nothing printed: MuJoCo warns of Gymnasium's own robot, once a simulation."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), open(os.devnull, "w") as null:
        kept = [(fd, os.dup(fd)) for fd in (1, 2)]
        try:
            for fd, _ in kept:
                os.dup2(null.fileno(), fd)
            yield
        finally:
            for fd, copy in kept:
                os.dup2(copy, fd)
                os.close(copy)


@contextlib.contextmanager
def gymnasium_loop(loop: ClosedLoop, mode: str, size: int) -> Iterator[Callable[[int], None]]:
    """A function that takes some steps of Gymnasium's HalfCheetah under the closed loop's policy.

    Args:
        mode: "sync", or "async" with a process an environment.
        size: environments.
    """
    options = {"context": "spawn"} if mode == "async" else {}
    scale, rng = loop.suite.spec.action_scale, np.random.default_rng(0)
    with silenced():
        envs = gymnasium.make_vec("HalfCheetah-v5", num_envs=size, vectorization_mode=mode, vector_kwargs=options)

    def run(steps: int) -> None:
        seen, _ = envs.reset(seed=0)
        for _ in range(max(1, steps // size)):
            mean, log_std = act(loop.learner, loop.fast, seen[None])
            actions = mean[0] + np.exp(log_std[0]) * rng.standard_normal(mean[0].shape)
            seen, *_ = envs.step(np.clip(actions / scale, -1, 1).astype(np.float32))

    try:
        yield run
    finally:
        envs.close()


def same_robot(loop: ClosedLoop) -> float:
    """How far our first environment and Gymnasium's come apart from one start under the same controls.

    Raises:
        Unequal: too far to be the same robot.
    """
    state, played = loop.started().world.state, loop.run()
    with silenced():
        env: Any = gymnasium.make("HalfCheetah-v5", disable_env_checker=True)
    env.reset(seed=0)
    env.unwrapped.set_state(state["qpos"][0, 0], state["qvel"][0, 0])
    apart = 0.0
    for driven, seen in zip(loop.controls(played)[0, :COMPARED], played.observations[0, 0, 1:], strict=False):
        apart = max(apart, float(np.abs(env.step(driven)[0] - seen).max()))
    env.close()
    if not apart <= TOLERANCE:
        raise Unequal(f"our HalfCheetah and Gymnasium's come apart by {apart:.1e} in {COMPARED} steps")
    return apart


@dataclass(frozen=True)
class BesidePhysics:
    """The closed loop beside its physics alone."""

    target: float = 0.75
    peer = "mujoco.rollout, open loop"

    def row(self, workers: Workers, rounds: int, steps: int = STEPS) -> dict[str, Any]:
        """What a record says of it."""
        loop = ClosedLoop(workers, steps)
        limit = loop.open_loop()
        return {"checked": "last observations are equal bit for bit"} | _compared(self, loop, limit, workers, rounds)


@dataclass(frozen=True)
class BesideGymnasium:
    """The closed loop beside Gymnasium's vector of the best size.

    Args:
        mode: of `gymnasium.make_vec`.
        sizes: numbers of environments to try; for "async", of each thread.
    """

    mode: str
    sizes: tuple[int, ...]
    target: float = 2.0

    @property
    def peer(self) -> str:
        """The name of what it stands beside, in a table."""
        return f"gymnasium.make_vec, {self.mode}"

    def row(self, workers: Workers, rounds: int, steps: int = STEPS) -> dict[str, Any]:
        """What a record says of it."""
        loop = ClosedLoop(workers, steps)
        apart, total = same_robot(loop), loop.count * loop.steps
        speeds = {}
        for size in [n * workers.threads for n in self.sizes] if self.mode == "async" else self.sizes:
            with gymnasium_loop(loop, self.mode, size) as run:
                run(size)
                start = time.perf_counter()
                run(total // 10)
                speeds[size] = total // 10 / (time.perf_counter() - start)
        best = max(speeds, key=speeds.__getitem__)
        with gymnasium_loop(loop, self.mode, best) as run:
            found = _compared(self, loop, lambda: run(total), workers, rounds)
        if self.mode == "async":
            del found["cpu_time_ratio"]  # the clock of this process does not see what the others do
        checked = f"observations of {COMPARED} steps differ by {apart:.1e}"
        return {"checked": checked, "peer_size": best, "peer_sizes": {str(n): v for n, v in speeds.items()}} | found


def _compared(
    work: BesidePhysics | BesideGymnasium, loop: ClosedLoop, theirs: Callable[[], object], workers: Workers, rounds: int
) -> dict[str, Any]:
    ours, peers, cpu = alternate(loop.run, theirs, workers, workers.threads, rounds)
    total = loop.count * loop.steps
    return {
        "steps": total,
        "ours_steps_per_second": total / statistics.median(ours),
        "peer": work.peer,
        "peer_steps_per_second": total / statistics.median(peers),
        "ratio": ratio(ours, peers),
        "cpu_time_ratio": cpu,
        "target": work.target,
    }
