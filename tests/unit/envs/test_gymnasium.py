"""The environments as Gymnasium's checker and its vector interface see them."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from envs import ENVIRONMENTS, MetaVectorEnv, Simulator, gymnasium_id

EXPECTED = (
    "minimum value is -infinity",
    "maximum value is infinity",
    "using a symmetric and normalized space",
)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_gymnasiums_checker_passes(name: str) -> None:
    env = gymnasium.make(gymnasium_id(name))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env.unwrapped, skip_render_check=True)
    unexpected = [str(w.message) for w in caught if not any(e in str(w.message) for e in EXPECTED)]
    assert unexpected == []


def test_names() -> None:
    assert gymnasium_id("cheetah-vel") == "metabench/CheetahVel-v0"
    assert len({gymnasium_id(name) for name in ENVIRONMENTS}) == len(ENVIRONMENTS)


def test_one_environment_is_one_rollout_of_the_simulator() -> None:
    env: Any = gymnasium.make("metabench/CheetahVel-v0").unwrapped
    task = env.sample_tasks(3, seed=1)[2]
    env.set_task(task)
    assert env.task == task
    observation, _ = env.reset(seed=4)
    spec = ENVIRONMENTS["cheetah-vel"]
    sim = Simulator(spec, spec.tasks.join([task]), 1, 1)
    start = int(np.random.default_rng(np.random.SeedSequence(4)).integers(2**31))
    np.testing.assert_array_equal(sim.reset(start)[0, 0], observation)
    action = np.full(6, 3.0)
    got, expected = env.step(action), sim.step(action[None, None])
    np.testing.assert_array_equal(got[0], expected.observations[0, 0])
    assert got[1:] == (expected.rewards[0, 0], False, False, {"diverged": False})


def test_the_horizon_truncates_and_seeds_repeat() -> None:
    env = gymnasium.make("metabench/NavigationPearl-v0")
    first = env.reset(seed=1)[0]
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(20)]
    assert ends == [(False, False)] * 19 + [(False, True)]
    assert not np.array_equal(env.reset()[0], first)
    np.testing.assert_array_equal(env.reset(seed=1)[0], first)
    task = {"goal": [0.25, 0.5]}
    env.reset(seed=1, options={"task": task})
    unwrapped: Any = env.unwrapped
    assert unwrapped.task["goal"].tolist() == [0.25, 0.5]


def test_make_vec_is_the_batched_simulation() -> None:
    envs: Any = gymnasium.make_vec("metabench/AntDir-v0", num_envs=6)
    assert isinstance(envs.unwrapped, MetaVectorEnv)
    assert envs.metadata["autoreset_mode"] == AutoresetMode.DISABLED
    observations, _ = envs.reset(seed=0)
    assert observations.shape == (6, 105)
    assert envs.observation_space.contains(observations)
    step = envs.step(envs.action_space.sample())
    assert [np.shape(x) for x in step[:4]] == [(6, 105), (6,), (6,), (6,)]
    assert step[4] == {"steps": 6, "terminated": 0, "truncated": 0, "diverged": 0}


def test_sub_environments_share_tasks_and_reset_by_mask() -> None:
    tasks = [{"goal": [0.5, 0.5]}, {"goal": [-0.5, 0.5]}]
    envs: Any = gymnasium.make_vec("metabench/NavigationPearl-v0", num_envs=4, tasks=tasks)
    observations, _ = envs.reset(seed=2)
    _, rewards, *_ = envs.step(np.zeros((4, 2)))
    goals = np.repeat([[0.5, 0.5], [-0.5, 0.5]], 2, axis=0)
    np.testing.assert_allclose(rewards, -np.linalg.norm(observations - goals, axis=1))
    for _ in range(19):
        *_, truncated, info = envs.step(np.zeros((4, 2)))
    assert truncated.tolist() == [True] * 4
    assert info["truncated"] == 4
    again, _ = envs.reset(options={"reset_mask": np.array([True, False, False, True])})
    assert (again == observations).all(1).tolist() == [False, True, True, False]
    assert envs.step(np.zeros((4, 2)))[1].nonzero()[0].tolist() == [0, 3]


def test_bad_requests_are_named() -> None:
    with pytest.raises(ValueError, match="4 environments cannot be shared evenly among 3 tasks"):
        MetaVectorEnv(4, "navigation", tasks=[{"goal": [0, 0]}] * 3)
    with pytest.raises(ValueError, match="give one seed"):
        MetaVectorEnv(2, "navigation").reset(seed=[1, 2])
    env: Any = gymnasium.make("metabench/CheetahDir-v0").unwrapped
    with pytest.raises(ValueError, match="task 0: unknown task variable 'velocity'"):
        env.set_task({"velocity": 1.0})
