"""The simulator: seeds, ends, divergence, and errors that name the rollout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metabench.envs import ENVIRONMENTS, Simulator, TaskError
from metabench.envs.spec import Spec
from metabench.envs.variables import Floats


def simulator(name: str, tasks: int = 2, rollouts: int = 3, threads: int = 1, **changes: Any) -> Simulator:
    spec: Spec = replace(ENVIRONMENTS[name], **changes)  # type: ignore[type-var]
    return Simulator(spec, spec.tasks.sample(tasks, seed=0), rollouts, threads, seed=5)


def actions(sim: Simulator, steps: int, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    return sim.spec.action_scale * rng.uniform(-1, 1, (steps, *sim.shape, sim.spec.action_size))


def play(sim: Simulator, steps: int) -> tuple[Floats, Floats]:
    observations, rewards = [sim.reset(7)], []
    for a in actions(sim, steps):
        step = sim.step(a)
        observations.append(step.observations)
        rewards.append(step.rewards)
    return np.stack(observations), np.stack(rewards)


@pytest.mark.parametrize("name", ["cheetah-vel-maml", "ant-dir", "walker-params", "navigation-pearl"])
def test_results_do_not_depend_on_the_number_of_threads(name: str) -> None:
    one, three = play(simulator(name), 4), play(simulator(name, threads=3), 4)
    for a, b in zip(one, three, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_start_depends_on_seed_task_rollout_and_episode_alone() -> None:
    small, large = simulator("cheetah-vel", 2, 2), simulator("cheetah-vel", 3, 4)
    first, second = small.reset(), small.reset()
    np.testing.assert_array_equal(large.reset()[:2, :2], first)
    np.testing.assert_array_equal(large.reset()[:2, :2], second)
    assert len(np.unique(np.stack([first, second])[..., 2])) == 8, "every start is another"
    np.testing.assert_array_equal(small.reset(5), first)
    assert not np.isin(small.reset(6)[..., 2], first[..., 2]).any()


def test_a_shard_simulates_what_the_whole_does() -> None:
    spec = ENVIRONMENTS["cheetah-vel"]
    tasks = spec.tasks.sample(3, 0)
    whole = Simulator(spec, tasks, 2, 1)
    shard = Simulator(spec, {"velocity": tasks["velocity"][1:]}, 2, 1, indices=[1, 2])
    np.testing.assert_array_equal(whole.reset(3)[1:], shard.reset(3))
    given = actions(whole, 1)[0]
    np.testing.assert_array_equal(whole.step(given).rewards[1:], shard.step(given[1:]).rewards)
    with pytest.raises(ValueError, match="1 indices for 3 tasks"):
        Simulator(spec, tasks, 2, indices=[0])


def test_a_rollout_is_the_same_alone_and_in_company() -> None:
    company, alone = simulator("ant-dir", 2, 3), simulator("ant-dir", 1, 1)
    together, apart = company.reset(1), alone.reset(1)
    for a in actions(company, 5):
        together, apart = company.step(a).observations, alone.step(a[:1, :1]).observations
    np.testing.assert_array_equal(together[:1, :1], apart)


def test_the_horizon_truncates() -> None:
    sim = simulator("cheetah-vel", horizon=3)
    sim.reset()
    steps = [sim.step(a) for a in actions(sim, 3)]
    assert [s.truncated.all() for s in steps] == [False, False, True]
    assert not any(s.terminated.any() for s in steps)
    assert steps[-1].info == {"steps": 6, "terminated": 0, "truncated": 6, "diverged": 0}
    assert (steps[-1].rewards != 0).all()
    with pytest.raises(RuntimeError, match=r"every rollout has ended: call reset\(\) before step\(\)"):
        sim.step(actions(sim, 1)[0])
    sim.reset()
    assert [sim.step(a).info["truncated"] for a in actions(sim, 3)] == [0, 0, 6], "a new episode counts from 0"


def test_what_has_ended_stays_and_earns_nothing() -> None:
    sim = simulator("navigation", 1, 2)
    sim.reset()
    goal = sim.tasks["goal"][0]
    ended = 0
    while sim.running[0, 0]:
        # Rollout 0 walks to the goal, rollout 1 away from it.
        here = sim.world.state["place"][0, 0]
        last = sim.step([[goal - here, -np.sign(goal)]])
        ended += 1
    assert last.terminated.tolist() == [[True, False]]
    assert last.rewards[0, 0] == pytest.approx(0, abs=1e-9)
    after = sim.step([[np.ones(2), -np.sign(goal)]])
    assert after.rewards[0, 0] == 0
    assert after.rewards[0, 1] < -0.5
    np.testing.assert_array_equal(after.observations[0, 0], last.observations[0, 0])
    assert not after.terminated.any()
    assert after.info["steps"] == 1
    sim.reset(mask=np.array([[True, False]]))
    assert sim.running.all()
    assert sim.world.state["place"][0].tolist()[0] == [0, 0]
    assert np.abs(sim.world.state["place"][0, 1]).sum() > 0.1 * ended


def test_falling_terminates() -> None:
    sim = simulator("hopper-params", 1, 4)
    sim.reset()
    falls = np.zeros(sim.shape, int)
    while sim.running.any():
        step = sim.step(np.full((1, 4, 3), 10.0))
        assert not step.truncated.any()
        falls += step.terminated
    assert falls.tolist() == [[1, 1, 1, 1]]


def test_a_diverged_rollout_ends_and_poisons_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo notes the divergence in a file of the working directory
    healthy, sick = simulator("cheetah-vel"), simulator("cheetah-vel")
    healthy.reset(), sick.reset()
    given = actions(healthy, 3)
    expected, before = healthy.step(given[0]), sick.step(given[0])
    sick.world.state["qvel"][1, 2, 0] = np.nan  # type: ignore[index]
    sick.world.state["qvel"][0, 1, 3] = 1e30  # type: ignore[index]
    for k in (1, 2):
        expected, got = healthy.step(given[k]), sick.step(given[k])
        others = np.ones(sick.shape, bool)
        others[1, 2] = others[0, 1] = False
        np.testing.assert_array_equal(got.observations[others], expected.observations[others])
        np.testing.assert_array_equal(got.rewards[others], expected.rewards[others])
        np.testing.assert_array_equal(got.observations[~others], before.observations[~others])
        assert (got.rewards[~others] == 0).all()
        assert not got.terminated.any()
        np.testing.assert_array_equal(got.truncated, ~others if k == 1 else np.zeros(sick.shape, bool))
        assert got.info["diverged"] == (2 if k == 1 else 0)
    assert sick.diverged.tolist() == [[0, 1, 0], [0, 0, 1]]
    assert np.isfinite(sick.reset()).all()
    assert sick.step(given[0]).info["steps"] == 6


def test_actions_are_scaled_then_clipped() -> None:
    # ±10 and beyond are full torque, for a policy of action scale 10; ±1 is for one of action scale 1.
    ten, one = simulator("cheetah-dir-promp"), simulator("cheetah-dir-promp", action_scale=1)
    ten.reset(), one.reset()
    full = np.ones((*ten.shape, 6))
    np.testing.assert_array_equal(ten.step(25 * full).observations, one.step(full).observations)
    np.testing.assert_array_equal(ten.step(5 * full).rewards, one.step(0.5 * full).rewards)


def test_bad_actions_are_named() -> None:
    sim = simulator("cheetah-vel", horizon=2)
    with pytest.raises(RuntimeError, match="call reset"):
        sim.step(np.zeros((2, 3, 6)))
    sim.reset()
    with pytest.raises(ValueError, match=r"actions have shape \(2, 6\); \(2, 3, 6\) is needed"):
        sim.step(np.zeros((2, 6)))
    bad = np.zeros((2, 3, 6))
    bad[1, 2, 0] = np.nan
    with pytest.raises(ValueError, match="the action of task 1, rollout 2 is not finite"):
        sim.step(bad)
    sim.running[1, 2] = False
    assert np.isfinite(sim.step(bad).observations).all(), "an action of an ended rollout is ignored"


def test_nothing_to_simulate_is_refused() -> None:
    spec = ENVIRONMENTS["navigation"]
    with pytest.raises(ValueError, match="rollouts is 0; each task needs at least one"):
        Simulator(spec, spec.tasks.sample(1, 0), 0)
    with pytest.raises(TaskError, match="unknown task variable 'velocity'; this environment's are goal"):
        Simulator(spec, {"velocity": [1.0]}, 1)


def test_observations_are_the_callers_to_keep() -> None:
    sim = simulator("navigation")
    first = sim.reset()
    first += 5
    step = sim.step(np.zeros((2, 3, 2)))
    assert np.abs(step.observations).max() == 0
