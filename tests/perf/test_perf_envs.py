"""HalfCheetah in closed loop, a policy included: against the limit that physics sets, and against Gymnasium's vectors.

The limit is `mujoco.rollout` in open loop on as many threads: the same starts under the same controls, which end in the
same states bit for bit. What is below it is everything that is not physics: the policy, observations, rewards, ends.
All is measured in turns in one process, and the best round of each is taken, since a busy machine only adds time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from mujoco import rollout

from envs import ENVIRONMENTS, Simulator
from envs.physics import cores, load_model
from envs.variables import Floats

TASKS, ROLLOUTS, STEPS, ROUNDS = 20, 20, 20, 5
COUNT = TASKS * ROLLOUTS
THREADS = cores()


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)  # Gymnasium's own HalfCheetah writes MUJOCO_LOG.TXT
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Policy:
    """100 × 100 ReLU and Gaussian noise in float32, as a learner's would be."""

    def __init__(self, observation: int, action: int) -> None:
        torch.manual_seed(0)
        sizes = (observation, 100, 100, action)
        layers = [torch.nn.Linear(a, b) for a, b in pairwise(sizes)]
        self.net = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])

    @torch.inference_mode()
    def __call__(self, observations: Floats) -> Floats:
        mean = self.net(torch.as_tensor(observations, dtype=torch.float32))
        actions: Floats = torch.normal(mean, 1.0).double().numpy()
        return actions


def best_seconds(contenders: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """The quickest of some rounds of each, the contenders taking turns."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        run()
    for _ in range(rounds):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - start)
    return {name: min(seconds) for name, seconds in taken.items()}


class ClosedLoop:
    """Ours: STEPS steps of 400 environments, and the open loop that replays them."""

    def __init__(self) -> None:
        self.spec: Any = ENVIRONMENTS["cheetah-dir-promp"]
        self.sim = Simulator(self.spec, self.spec.tasks.sample(TASKS, 0), ROLLOUTS, THREADS)
        self.policy = Policy(self.spec.observation_size, self.spec.action_size)
        self.controls = np.zeros((COUNT, STEPS, self.spec.action_size))

    def run(self) -> None:
        torch.manual_seed(1)
        observations = self.sim.reset(0)
        for k in range(STEPS):
            actions = self.policy(observations)
            self.controls[:, k] = actions.reshape(COUNT, -1)
            observations = self.sim.step(actions).observations

    def advance(self) -> None:
        """The physics of the last run, step by step."""
        self.sim.reset(0)
        running = np.ones(self.sim.shape, bool)
        for control in np.clip(self.controls / self.spec.action_scale, -1, 1).swapaxes(0, 1):
            self.sim.world.advance(control.reshape(*self.sim.shape, -1), running)

    def replay(self) -> Callable[[], Floats]:
        """The same physics, every control known in advance."""
        model, skip = load_model(self.spec.file), self.spec.frame_skip
        full = mujoco.mjtState.mjSTATE_FULLPHYSICS
        starts = np.zeros((COUNT, mujoco.mj_stateSize(model, full)))
        self.sim.reset(0)
        state = {name: values.reshape(COUNT, -1) for name, values in self.sim.world.state.items()}
        starts[:, 1:] = np.concatenate([state["qpos"], state["qvel"]], 1)
        self.run()
        control = np.repeat(np.clip(self.controls / self.spec.action_scale, -1, 1), skip, axis=1)
        out = np.empty((COUNT, STEPS * skip, starts.shape[1]))
        pool, data = rollout.Rollout(nthread=THREADS), [mujoco.MjData(model) for _ in range(THREADS)]

        def run() -> Floats:
            pool.rollout(model, data, starts, control, state=out)
            return out[:, -1, 1:]

        np.testing.assert_array_equal(run()[:, : model.nq], state["qpos"])
        return run


def test_closed_loop_against_the_limit_of_physics() -> None:
    loop = ClosedLoop()
    limit = loop.replay()
    observations = loop.sim.reset(0)
    parts = best_seconds(
        {
            "closed": loop.run,
            "limit": limit,
            "policy": lambda: [loop.policy(observations) for _ in range(STEPS)],
            "reset": lambda: loop.sim.reset(0),
            "advance": loop.advance,
            "observe": lambda: [loop.spec.observe(loop.sim.world.state) for _ in range(STEPS)],
        }
    )
    ratio = parts["limit"] / parts["closed"]
    # To wait for the slowest thread once a step, not once a trajectory, is the price of a closed loop.
    parts["waiting"] = parts.pop("advance") - parts["reset"] - parts["limit"]
    rest = 2 * parts["closed"] - sum(parts.values())
    shares = {name: f"{100 * seconds / parts['closed']:.1f} %" for name, seconds in (parts | {"rest": rest}).items()}
    print(f"\n{COUNT * STEPS / parts['closed']:.0f} steps/s on {THREADS} threads, {ratio:.3f} of the limit; {shares}")
    assert ratio >= 0.6  # 0.75 is the aim; the bound leaves room for a busy machine


def gymnasium_loop(mode: str, size: int, steps: int) -> tuple[Callable[[], None], Any]:
    options = {"context": "spawn"} if mode == "async" else {}
    envs = gymnasium.make_vec("HalfCheetah-v5", num_envs=size, vectorization_mode=mode, vector_kwargs=options)
    policy = Policy(17, 6)

    def run() -> None:
        observations, _ = envs.reset(seed=0)
        for _ in range(steps):
            observations, *_ = envs.step(np.clip(policy(observations) / 10, -1, 1).astype(np.float32))

    return run, envs


@pytest.mark.parametrize(("mode", "sizes"), [("sync", (4, 32)), ("async", (4, 16))])
def test_closed_loop_against_gymnasium(mode: str, sizes: tuple[int, ...]) -> None:
    loops = {size: gymnasium_loop(mode, size, max(1, 640 // size)) for size in sizes}
    ours = ClosedLoop()
    try:
        seconds = best_seconds({"ours": ours.run} | {str(size): run for size, (run, _) in loops.items()}, 3)
    finally:
        for _, envs in loops.values():
            envs.close()
    rates = {size: size * max(1, 640 // size) / seconds[str(size)] for size in sizes}
    mine = COUNT * STEPS / seconds["ours"]
    print(f"\nours {mine:.0f} steps/s; {mode} { {size: round(rate) for size, rate in rates.items()} }")
    assert mine >= 1.4 * max(rates.values())  # 2 is the aim; 1.94 was measured on a busy machine
