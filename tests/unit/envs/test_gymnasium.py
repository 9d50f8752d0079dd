"""The environments as Gymnasium's checker and its vector interface see them."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from metabench.envs import ENVIRONMENTS, MetaEnv, MetaVectorEnv, Simulator, gymnasium_id
from metabench.envs.opengl import CannotDraw, context_kind

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


COPIES: dict[str, Callable[[Any], Any]] = {"deepcopy": copy.deepcopy, "pickle": lambda x: pickle.loads(pickle.dumps(x))}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", ["AntVelMaml", "WalkerParams", "HumanoidDir", "NavigationPearl"])
def test_a_copy_goes_on_as_the_original_does(name: str, how: str) -> None:
    env = gymnasium.make(f"metabench/{name}-v0")
    env.reset(seed=3)
    env.action_space.seed(0)
    for _ in range(6):
        env.step(env.action_space.sample())
    twin = COPIES[how](env)
    assert twin.unwrapped.task.keys() == env.unwrapped.task.keys()  # type: ignore[attr-defined]
    for _ in range(6):
        action = env.action_space.sample()
        ours, theirs = env.step(action), twin.step(action)
        np.testing.assert_array_equal(ours[0], theirs[0])
        assert ours[1:] == theirs[1:]
    np.testing.assert_array_equal(env.reset()[0], twin.reset()[0])


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_of_many_goes_on_with_its_own_ends(how: str) -> None:
    envs: Any = gymnasium.make_vec("metabench/HopperParams-v0", num_envs=3, threads=1)
    envs.reset(seed=1)
    envs.action_space.seed(0)
    for _ in range(15):
        envs.step(envs.action_space.sample())
    twin = COPIES[how](envs)
    ended = np.zeros(3, bool)
    for _ in range(25):
        action = envs.action_space.sample()
        ours, theirs = envs.step(action), twin.step(action)
        for a, b in zip(ours[:4], theirs[:4], strict=True):
            np.testing.assert_array_equal(a, b)
        ended |= ours[2]
        if ended.all():
            break
    assert ended.any()


def test_the_horizon_is_gymnasiums_and_can_be_another() -> None:
    name = "metabench/NavigationPearl-v0"
    spec = gymnasium.make(name).spec
    assert spec is not None and spec.max_episode_steps == 20
    assert {s: gymnasium.spec(gymnasium_id(s)).max_episode_steps for s in ENVIRONMENTS} == {
        s: spec.horizon for s, spec in ENVIRONMENTS.items()
    }
    for steps, first in ((3, 3), (25, 25), (-1, None)):
        env = gymnasium.make(name, max_episode_steps=steps)
        env.reset(seed=0)
        ends = [k for k in range(1, 31) if env.step(np.zeros(2))[3]]
        assert ends[:1] == ([first] if first else [])
        envs = gymnasium.make_vec(name, num_envs=2, max_episode_steps=steps)
        envs.reset(seed=0)
        ends = [k for k in range(1, (first or 30) + 1) if envs.step(np.zeros((2, 2)))[3].all()]
        assert ends == ([first] if first else [])
    made = gymnasium.make_vec(name, num_envs=2).spec
    assert made is not None and made.max_episode_steps == 20
    with pytest.raises(ValueError, match="the horizon is 0; an episode has at least one step"):
        gymnasium.make_vec(name, num_envs=2, max_episode_steps=0)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_gymnasiums_own_vectors_hold_them(mode: str) -> None:
    envs = gymnasium.make_vec("metabench/CheetahVel-v0", num_envs=2, vectorization_mode=mode, max_episode_steps=4)
    one = gymnasium.make("metabench/CheetahVel-v0", max_episode_steps=4)
    observations, _ = envs.reset(seed=[5, 6])
    np.testing.assert_array_equal(observations[1], one.reset(seed=6)[0])
    steps = [envs.step(np.zeros((2, 6)))[3].tolist() for _ in range(4)]
    assert steps == [[False, False]] * 3 + [[True, True]]
    envs.close()


def test_pictures_of_points_show_the_place_and_the_goal() -> None:
    env = gymnasium.make("metabench/NavigationPearl-v0", render_mode="rgb_array")
    env.reset(seed=0, options={"task": {"goal": [0.5, 0.5]}})
    before: Any = env.render()
    env.step(np.full(2, 1.0))
    after: Any = env.render()
    assert (before.shape, before.dtype) == ((480, 480, 3), np.uint8)

    def centre(picture: Any, colour: tuple[int, int, int]) -> Any:
        return np.argwhere((picture == colour).all(-1)).mean(0)

    reach = 0.8
    goal = [239.5 * (1 - 0.5 / reach), 239.5 * (1 + 0.5 / reach)]
    np.testing.assert_allclose(centre(after, (0, 158, 115)), goal, atol=2)
    moved = centre(after, (0, 0, 0)) - centre(before, (0, 0, 0))
    np.testing.assert_allclose(moved, [-0.1 * 239.5 / reach, 0.1 * 239.5 / reach], atol=2)
    assert MetaEnv("navigation").render() is None
    twin = copy.deepcopy(env)
    np.testing.assert_array_equal(twin.render(), after)


def test_other_render_modes_are_refused() -> None:
    told = "render_mode is 'ansi'; give 'rgb_array' or None"
    with pytest.raises(ValueError, match=told):
        MetaEnv("navigation", render_mode="ansi")
    with pytest.raises(ValueError, match=told):
        MetaVectorEnv(2, "navigation", render_mode="ansi")


def test_pictures_of_robots() -> None:
    try:
        context_kind()
    except CannotDraw as error:
        pytest.skip(str(error))
    env = gymnasium.make("metabench/CheetahDir-v0", render_mode="rgb_array")
    assert env.metadata["render_fps"] == 20
    env.reset(seed=0)
    first: Any = env.render()
    envs = gymnasium.make_vec("metabench/AntVel-v0", num_envs=2, render_mode="rgb_array", threads=1)
    envs.reset(seed=0)
    both: Any = envs.render()
    assert [p.shape for p in both] == [(480, 480, 3)] * 2 and not np.array_equal(*both)
    for _ in range(5):
        env.step(np.ones(6) * 10)
    later: Any = env.render()
    assert first.shape == (480, 480, 3) and first.std() > 10
    assert 0.001 < (first != later).any(-1).mean() < 1
    env.close()
    envs.close()
