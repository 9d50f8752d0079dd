"""Environments of one's own: the same rollouts as the batched simulation's, tasks by seed and index, refusals."""

from __future__ import annotations

import re
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from gymnasium.wrappers import TimeLimit

from metabench.algorithms import MAML, Gaussian, Network
from metabench.algorithms.perceptron import Perceptron
from metabench.algorithms.suite import collect, scores_by_update
from metabench.envs import ENVIRONMENTS, Simulator, gymnasium_id
from metabench.envs.environment import Environment
from metabench.envs.own import TASK, CannotUse, OwnEnvironment, benchmark_name, own
from metabench.envs.suite import Control

NUMBERS = np.arange(3)


class Slide(gymnasium.Env[Any, Any]):
    """A point on a line: +goal · action. Starts anywhere, falls off beyond 3, and says NaN at −3."""

    horizon = 6
    observation_space: gymnasium.Space[Any] = Box(-np.inf, np.inf, (1,))
    action_space: gymnasium.Space[Any] = Box(np.array([0.0], np.float32), np.array([4.0], np.float32))

    def sample_tasks(self, n: int) -> list[Any]:
        return [{"goal": g} for g in self.np_random.uniform(-1, 1, n)]

    def set_task(self, task: Any) -> None:
        self.goal = float(task["goal"])

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.x = float(self.np_random.uniform(-0.5, 0.5))
        return np.array([self.x], np.float32), {}

    def step(self, action: Any) -> Any:
        self.x += self.goal * float(action[0])
        seen = np.nan if self.x < -3 else self.x
        return np.array([seen], np.float32), float(action[0]), self.x > 3, False, {}


def odd(**fields: Any) -> type[Slide]:
    """A slide with something else about it."""
    return type("Odd", (Slide,), fields)


def tasks_of(*goals: float) -> dict[str, Any]:
    tasks = np.empty(len(goals), object)
    for i, goal in enumerate(goals):
        tasks[i] = {"goal": goal}
    return {TASK: tasks}


@pytest.mark.parametrize("name", ["NavigationMaml", "NavigationPearl", "CheetahDir2019"])
def test_rollouts_are_those_of_the_batched_simulation(name: str) -> None:
    """A variant through Gymnasium's vector, step by step what the simulator gives from the same starts."""
    mine = OwnEnvironment(lambda: gymnasium.make(f"metabench/{name}-v0"))
    spec: Any = next(spec for variant, spec in ENVIRONMENTS.items() if gymnasium_id(variant) == f"metabench/{name}-v0")
    assert (mine.horizon, mine.observation_size, mine.action_size) == (
        spec.horizon,
        spec.observation_size,
        spec.action_size,
    )
    tasks = mine.tasks.at([4, 7], 1)
    together = mine.episodes(tasks, 3, 1, 9, [4, 7])
    simulator = Simulator(spec, spec.tasks.join(list(tasks[TASK])), 3, 1)
    first = together.reset()
    simulator.reset(0)
    started = {
        name: values.copy() for name, values in simulator.world.state.items() if name in ("place", "qpos", "qvel")
    }
    for i, environment in enumerate(mine._pool):
        world: Any = environment.unwrapped.simulator.world  # type: ignore[attr-defined]
        for key in started:
            started[key][i // 3, i % 3] = world.state[key][0, 0]
    simulator.world.reset(np.ones((2, 3), bool), started)
    np.testing.assert_array_equal(spec.observe(simulator.world.state), first)
    rng = np.random.default_rng(0)
    for _ in range(min(30, spec.horizon)):
        np.testing.assert_array_equal(together.running, simulator.running)
        actions = rng.uniform(-1.2, 1.2, (2, 3, spec.action_size))
        ours, theirs = together.step(actions), simulator.step(actions)
        np.testing.assert_allclose(ours.observations, theirs.observations, atol=1e-6)
        np.testing.assert_allclose(ours.rewards, theirs.rewards, atol=1e-6)
        assert ours.info == theirs.info
    assert together.diverged.sum() == 0


def test_an_action_covers_the_environments_own_range() -> None:
    episodes = OwnEnvironment(Slide, action_scale=2.0).episodes(tasks_of(1.0), 5, 1, 0, [0])
    episodes.reset()
    step = episodes.step(np.array([-2.0, -1.0, 0.0, 2.0, 9.0])[None, :, None])
    assert step.rewards.tolist() == [[0.0, 1.0, 2.0, 4.0, 4.0]]
    episodes = OwnEnvironment(odd(action_space=Box(-np.inf, np.inf, (1,)))).episodes(tasks_of(0.0), 2, 1, 0, [0])
    episodes.reset()
    assert episodes.step(np.array([[[7.0], [-0.5]]])).rewards.tolist() == [[7.0, -0.5]]
    with pytest.raises(ValueError, match=re.escape("actions have shape (1, 2); (1, 2, 1) is needed")):
        episodes.step(np.zeros((1, 2)))


def test_rollouts_end_by_falling_diverging_or_the_horizon_and_stay_as_they_are() -> None:
    episodes = OwnEnvironment(Slide).episodes(tasks_of(1.0, -1.0, 0.0), 1, 1, 0, [0, 1, 2])
    start = episodes.reset()
    full = np.ones((3, 1, 1))
    first = episodes.step(full)  # by 4: beyond 3, below −3, nowhere
    assert first.terminated.ravel().tolist() == [True, False, False]
    assert first.truncated.ravel().tolist() == [False, True, False]
    assert first.info == {"steps": 3, "terminated": 1, "truncated": 0, "diverged": 1}
    assert first.rewards.ravel().tolist() == [4.0, 0.0, 4.0]
    assert first.observations[1, 0, 0] == start[1, 0, 0], "the last good observation"
    assert episodes.diverged.ravel().tolist() == [0, 1, 0]
    for _ in range(4):
        later = episodes.step(full)
        assert later.rewards.ravel().tolist() == [0.0, 0.0, 4.0]
        np.testing.assert_array_equal(later.observations[:2], first.observations[:2])
    last = episodes.step(full)
    assert (last.truncated.ravel().tolist(), last.info["truncated"]) == ([False, False, True], 1)
    assert not episodes.running.any()


def test_starts_depend_on_the_seed_the_task_and_the_rollout_alone() -> None:
    mine = OwnEnvironment(Slide)
    many = mine.episodes(tasks_of(0.1, 0.2), 3, 1, 5, [8, 9]).reset()
    assert len(np.unique(many)) == 6
    np.testing.assert_array_equal(mine.episodes(tasks_of(0.2), 2, 1, 5, [9]).reset()[0], many[1, :2])
    assert not np.array_equal(mine.episodes(tasks_of(0.2), 2, 1, 6, [9]).reset()[0], many[1, :2])


def test_tasks_depend_on_the_seed_and_their_index() -> None:
    tasks = OwnEnvironment(Slide).tasks
    goals = [t["goal"] for t in tasks.at([0, 1, 5], 3)[TASK]]
    assert len(set(goals)) == 3
    assert [t["goal"] for t in tasks.at([5], 3)[TASK]] == goals[2:]
    assert [t["goal"] for t in tasks.at([5], 4)[TASK]] != goals[2:]
    np.testing.assert_array_equal(tasks.flat(tasks.at([0, 1, 5], 3)), np.array(goals)[:, None])
    assert tasks.text == "sample_tasks of Slide"
    drawn = OwnEnvironment(Slide, sample_task=lambda rng: {"goal": rng.normal(), "lane": np.ones((2, 2))}, name="lanes")
    assert drawn.tasks.flat(drawn.tasks.at([2, 3], 0)).shape == (2, 5)
    assert drawn.tasks.text == "sample_tasks of lanes"


def test_a_function_from_a_task_makes_an_environment_for_each() -> None:
    made: list[Any] = []

    def make(task: Any) -> gymnasium.Env[Any, Any]:
        made.append(task)
        slide = Slide()
        slide.goal = 0.0 if task is None else task["goal"]
        return TimeLimit(slide, 4)

    mine = OwnEnvironment(make)
    assert mine.horizon == 4
    tasks = mine.tasks.at([0, 1], 0)
    episodes = mine.episodes(tasks, 2, 1, 0, [0, 1])
    assert made == [None, *(t for t in tasks[TASK] for _ in range(2))]
    episodes.reset()
    ends = [episodes.step(np.full((2, 2, 1), -1.0)).truncated.all() for _ in range(4)]
    assert ends == [False, False, False, True]


def test_learners_adapt_in_it_and_an_oracle_sees_its_task() -> None:
    spec: Environment = OwnEnvironment(Slide)
    suite = Control(spec, 4, {"train": 0, "val": 1, "test": 2}, sees_task=True)
    assert suite.observation_size == 2
    torch.manual_seed(0)
    learner = MAML(Network(Perceptron(2, (8,)), 1, Gaussian(1)), inner_lr=0.1)
    supports, query = collect(suite, suite.tasks([0, 1], "train"), learner, 1)
    assert supports[0].x.shape == (2, 24, 2)
    goals = [t["goal"] for t in spec.tasks.at([0, 1], 0)[TASK]]
    np.testing.assert_allclose(query.x[:, 0, 1], goals, rtol=1e-6)
    first = scores_by_update(suite, suite.tasks([0, 1], "test"), learner, 2)
    assert first.shape == (2, 3)
    assert torch.equal(first, scores_by_update(suite, suite.tasks([0, 1], "test"), learner, 2))


class Word(Slide):
    def sample_tasks(self, n: int) -> list[Any]:
        return [{"goal": "left"}] * n


class Loose(Slide):
    def sample_tasks(self, n: int) -> list[Any]:
        return [{"goal": g} for g in np.random.default_rng().uniform(-1, 1, n)]


class Fails(Slide):
    def __init__(self) -> None:
        raise OSError("no such model file")


class Untasked(gymnasium.Env[Any, Any]):
    observation_space, action_space = Slide.observation_space, Slide.action_space


class Unsampled(Untasked):
    def set_task(self, task: Any) -> None: ...


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (odd(action_space=Discrete(3)), "Odd takes Discrete(3); a policy here gives a vector"),
        (
            odd(action_space=MultiDiscrete([2, 2])),
            "a policy here gives a vector of real numbers",
        ),
        (odd(action_space=Box(-1, 1, (2, 2))), "a policy here gives a vector of real numbers"),
        (
            odd(observation_space=Dict({"a": Box(-1, 1, (1,))})),
            "a policy here sees a vector of numbers: wrap it in gymnasium.wrappers.FlattenObservation",
        ),
        (odd(observation_space=Box(0, 255, (8, 8, 3))), "wrap it in gymnasium.wrappers.Flatten"),
        (odd(observation_space=Discrete(4)), "wrap it in gymnasium.wrappers.FlattenObservation"),
        (odd(horizon=None), "Odd has no horizon: give it an attribute horizon"),
        (odd(horizon=0), "gymnasium.wrappers.TimeLimit; found 0"),
        (Untasked, "Untasked has no set_task(task), and its tasks cannot vary"),
        (Unsampled, "Unsampled has no sample_tasks(n)"),
        (Fails, "Fails cannot be made: OSError: no such model file"),
        (lambda: 3, "gives int, no gymnasium.Env"),
        (Loose, "Loose: sample_tasks gives another task for the same seed; draw from self.np_random"),
        (Word, "Word: no policy can see the task {'goal': 'left'}, not made of numbers"),
        (odd(sample_tasks=lambda self, n: []), "Odd: sample_tasks(1) gives 0 tasks"),
    ],
)
def test_what_no_policy_can_act_in_is_refused(make: Any, told: str) -> None:
    mine = OwnEnvironment(make)
    with pytest.raises(CannotUse, match=re.escape(told)):
        mine.horizon, mine.tasks.flat(mine.tasks.at([0], 0))


def test_a_reference_may_name_the_environment_or_what_makes_it() -> None:
    slide = own("module:tests.unit.envs.test_own.Slide")
    assert (slide.horizon, slide.dt) == (6, 0.0)
    assert own("module:tests.unit.envs.test_own.Slide") is own("module:tests.unit.envs.test_own.Slide")
    for other in ("module:tests.unit.envs.test_own.NUMBERS", "module:os.abort", "module:pathlib.Path"):
        with pytest.raises(
            CannotUse, match=f"{other} is neither a class of environments nor a function that makes one"
        ):
            own(other)
    names = ["module:a.MyEnv", "module:a.b.reach_far", "module:a:HTTPReach2D", "module:a.Puck"]
    assert [benchmark_name(n) for n in names] == ["my-env", "reach-far", "httpreach2-d", "puck"]
