"""Observations, rewards and ends of every environment against values worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from metabench.envs import ENVIRONMENTS
from metabench.envs.robots.ant import rotation
from metabench.envs.spec import Spec


def reward(spec: Spec, before: Any, control: Any, task: dict[str, Any], **state: Any) -> float:
    """The reward of one simulation."""
    arrays = {name: np.asarray(value, float)[None, None] for name, value in state.items()}
    tasks = {name: np.asarray(value, float)[None, None] for name, value in task.items()}
    given = spec.reward(np.asarray(before, float)[None, None], arrays, np.asarray(control, float)[None, None], tasks)
    assert given.shape == (1, 1)
    return float(given[0, 0])


def ends(spec: Spec, task: dict[str, Any], **state: Any) -> bool:
    arrays = {name: np.asarray(value, float)[None, None] for name, value in state.items()}
    tasks = {name: np.asarray(value, float)[None, None] for name, value in task.items()}
    ended = spec.terminated(arrays, tasks)
    return ended is not None and bool(ended[0, 0])


CHEETAH_Q = [0.3, 0.1, *[0.0] * 7]


def test_cheetah_direction() -> None:
    # velocity (0.3 − 0.2) / 0.05 = 2 m/s; cost 0.05 · (1 + 0.25) = 0.0625
    control = [1, -0.5, 0, 0, 0, 0]
    for sign in (-1, 1):
        got = reward(ENVIRONMENTS["cheetah-dir"], [0.2], control, {"direction": sign}, qpos=CHEETAH_Q)
        assert got == pytest.approx(2 * sign - 0.0625, abs=1e-12)


def test_cheetah_velocity() -> None:
    got = reward(ENVIRONMENTS["cheetah-vel"], [0.2], [1] * 6, {"velocity": 0.5}, qpos=CHEETAH_Q)
    assert got == pytest.approx(-1.5 - 0.3, abs=1e-12)
    got = reward(ENVIRONMENTS["cheetah-vel-promp"], [0.2], [0] * 6, {"velocity": 2.5}, qpos=CHEETAH_Q)
    assert got == pytest.approx(-0.5, abs=1e-12)


def test_cheetah_velocity_of_maml_is_that_of_the_centre_of_mass() -> None:
    momentum = np.zeros((8, 3))
    momentum[1, 0] = 1.25
    spec: Any = ENVIRONMENTS["cheetah-vel-maml"]
    assert spec.dt == 0.01
    got = reward(spec, [0.2], [0] * 6, {"velocity": 1.0}, qpos=CHEETAH_Q, subtree_linvel=momentum)
    assert got == pytest.approx(-0.25, abs=1e-12)


def test_cheetah_observations() -> None:
    qpos, qvel, com = np.arange(9.0), np.arange(10.0, 19.0), np.arange(24.0).reshape(8, 3)
    state = {"qpos": qpos[None, None], "qvel": qvel[None, None], "subtree_com": com[None, None]}
    joints = [*qpos[1:], *qvel]
    assert ENVIRONMENTS["cheetah-vel-promp"].observe(state)[0, 0].tolist() == joints
    assert ENVIRONMENTS["cheetah-vel"].observe(state)[0, 0].tolist() == [*joints, 0.0, 0.0, 1.7]
    assert ENVIRONMENTS["cheetah-vel-maml"].observe(state)[0, 0].tolist() == [*joints, 3.0, 4.0, 5.0]


ANT_Q = [1.0, 2.0, 0.5, 1, 0, 0, 0, *[0.0] * 8]
CONTACTS = np.zeros((14, 6))
CONTACTS[3, 2], CONTACTS[5, 0] = 0.5, -7.0  # clipped: 0.25 + 1 = 1.25 squared


@pytest.mark.parametrize(
    ("name", "task", "expected"),
    [
        # velocity (1 − 0.9, 2 − 2.1) / 0.05 = (2, −2); ‖control‖² = 2; contacts 0.0005 · 1.25 = 0.000625
        ("ant-vel", {"velocity": 2.5}, 1 - 0.5 + 0.05 - 0.005 * 2 - 0.000625),
        ("ant-forward-backward", {"direction": -1}, -2 + 0.05 - 0.01 - 0.000625),
        ("ant-forward-backward-promp", {"direction": 1}, 2 + 1 - 1 - 0.000625),
        ("ant-dir", {"direction": [0.6, 0.8]}, 1.2 - 1.6 + 1 - 1 - 0.000625),
        ("ant-goal", {"goal": [0.0, 3.0]}, 4 - 1 - 1 + 0.05 - 0.01 - 0.000625),
        ("ant-goal-promp", {"goal": [0.0, 3.0]}, -1 - 1 - 0.2 - 0.000625),
    ],
)
def test_ant(name: str, task: dict[str, Any], expected: float) -> None:
    control = [1, -1, *[0] * 6]
    got = reward(ENVIRONMENTS[name], [0.9, 2.1], control, task, qpos=ANT_Q, cfrc_ext=CONTACTS)
    assert got == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "task", "expected"),
    [
        # velocity and place of the centre of mass, whatever the torso's: (1.5, 0) and (0.25, 3)
        ("ant-vel-maml", {"velocity": 1.0}, 1 - 0.5 + 0.05 - 0.01 - 0.000625),
        ("ant-forward-backward-maml", {"direction": -1}, -1.5 + 0.05 - 0.01 - 0.000625),
        ("ant-goal-maml", {"goal": [0.0, 3.0]}, 4 - 0.25 + 0.05 - 0.01 - 0.000625),
    ],
)
def test_ant_of_maml(name: str, task: dict[str, Any], expected: float) -> None:
    momentum, com = np.zeros((14, 3)), np.zeros((14, 3))
    momentum[1, 0], com[1] = 1.5, (0.25, 3.0, 0.5)
    state = {"qpos": ANT_Q, "cfrc_ext": CONTACTS, "subtree_linvel": momentum, "subtree_com": com}
    got = reward(ENVIRONMENTS[name], [0.9, 2.1], [1, -1, *[0] * 6], task, **state)
    assert got == pytest.approx(expected, abs=1e-12)
    arrays = {name: np.asarray(value, float)[None, None] for name, value in state.items()}
    observed = ENVIRONMENTS[name].observe(arrays | {"qvel": np.zeros((1, 1, 14))})[0, 0]
    assert observed[[0, 1, 2, 116, 117, 118]].tolist() == [1.0, 2.0, 0.5, 0.25, 3.0, 0.5]


@pytest.mark.parametrize(("name", "low", "high"), [("ant-vel", 0.2, 1.0), ("ant-dir", 0.0, 1.0)])
def test_ant_ends_outside_its_heights(name: str, low: float, high: float) -> None:
    heights = (low - 0.01, low, high, high + 0.01)
    assert [ends(ENVIRONMENTS[name], {}, qpos=[0, 0, z, *[0] * 12]) for z in heights] == [True, False, False, True]
    assert not ends(ENVIRONMENTS["ant-goal-promp"], {}, qpos=[0, 0, -1, *[0] * 12])


def test_ant_observation_is_made_of_its_parts() -> None:
    state = {"qpos": np.arange(15.0), "qvel": np.arange(20.0, 34.0), "cfrc_ext": np.full((14, 6), 2.0)}
    state = {name: value[None, None] for name, value in state.items()}
    observed = ENVIRONMENTS["ant-goal"].observe(state)[0, 0]
    assert observed[:29].tolist() == [*range(15), *range(20, 34)]
    assert observed[29:107].tolist() == [1.0] * 78
    assert observed[116:].tolist() == [0.0, 1.0, 2.0]
    assert ENVIRONMENTS["ant-goal"].observation_size == 119


def test_rotation_of_a_quarter_turn_about_z() -> None:
    quarter = np.array([1.0, 0, 0, 1.0])[None, None] * 3
    np.testing.assert_allclose(rotation(quarter)[0, 0].reshape(3, 3), [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-15)


def test_humanoid() -> None:
    spec = ENVIRONMENTS["humanoid-dir"]
    com, contacts = np.zeros((14, 3)), np.zeros((14, 6))
    com[0, :2] = 0.03, 0.0
    contacts[4, 1] = 1000.0
    # velocity (2, −1): 1.25 · (1.2 − 0.8) = 0.5; motors 0.1 · 2 · 0.16; contacts 5e-7 · 1e6
    control = [1, 1, *[0] * 15]
    task = {"direction": [0.6, 0.8]}
    got = reward(spec, [0.0, 0.015], control, task, subtree_com=com, cfrc_ext=contacts)
    assert got == pytest.approx(0.5 - 0.032 - 0.5 + 5, abs=1e-12)
    contacts[4, 1] = 1e6
    got = reward(spec, [0.0, 0.015], control, task, subtree_com=com, cfrc_ext=contacts)
    assert got == pytest.approx(0.5 - 0.032 - 10 + 5, abs=1e-12)
    assert [ends(spec, {}, qpos=[0, 0, z]) for z in (0.99, 1.0, 2.0, 2.01)] == [True, False, False, True]


def test_walker_and_hopper() -> None:
    walker, hopper = ENVIRONMENTS["walker-params"], ENVIRONMENTS["hopper-params"]
    # 0.008 s a step: (0.02 − 0.012) / 0.008 = 1 m/s
    assert reward(walker, [0.012], [1] * 6, {}, qpos=[0.02, *[0] * 8]) == pytest.approx(1 + 1 - 0.006, abs=1e-12)
    assert reward(hopper, [0.012], [0, 1, 0], {}, qpos=[0.02, *[0] * 5]) == pytest.approx(1 + 1 - 0.001, abs=1e-12)

    def walks(z: float, angle: float) -> bool:
        return not ends(walker, {}, qpos=[0, z, angle, *[0] * 6])

    assert [walks(0.8, 0), walks(0.81, 0.99), walks(1.5, -1.0), walks(2.0, 0)] == [False, True, False, False]

    def hops(z: float, angle: float, knee: float = 0.0, speed: float = 0.0) -> bool:
        return not ends(hopper, {}, qpos=[1e6, z, angle, knee, 0, 0], qvel=[speed, *[0] * 5])

    assert [hops(0.71, 0.19), hops(0.7, 0), hops(1, 0.2), hops(1, 0, 100), hops(1, 0, 0, -100)] == [True, *[False] * 4]


def test_observed_velocities_are_clipped() -> None:
    state = {"qpos": np.zeros((1, 1, 6)), "qvel": np.full((1, 1, 6), -50.0)}
    observed = ENVIRONMENTS["hopper-params"].observe(state)[0, 0]
    assert observed.tolist() == [0.0] * 5 + [-10.0] * 6


def test_navigation() -> None:
    spec = ENVIRONMENTS["navigation"]
    assert reward(spec, [0, 0], [0, 0], {"goal": [0.3, 0.4]}, place=[0, 0]) == pytest.approx(-0.5)
    near = [ends(spec, {"goal": [0.3, 0.4]}, place=p) for p in ([0.305, 0.395], [0.31, 0.4], [0.3, 0.42])]
    assert near == [True, False, False]
    assert ends(ENVIRONMENTS["navigation-promp"], {"goal": [1, 1]}, place=[0.005, -0.005])
    assert not ends(ENVIRONMENTS["navigation-promp"], {"goal": [1, 1]}, place=[1, 1])
    assert not ends(ENVIRONMENTS["navigation-pearl"], {"goal": [1, 1]}, place=[1, 1])


def test_sparse_navigation() -> None:
    spec, task = ENVIRONMENTS["navigation-half-circle"], {"goal": [1.0, 0.0]}
    assert reward(spec, [0, 0], [0, 0], task, place=[0.9, 0]) == pytest.approx(0.9)
    assert reward(spec, [0, 0], [0, 0], task, place=[0.7, 0]) == 0


def test_corner_navigation() -> None:
    spec, task = ENVIRONMENTS["navigation-corner"], {"goal": [2.0, 2.0]}
    closer = np.hypot(1.2, 1.2) - np.hypot(1, 1)
    assert reward(spec, [0.8, 0.8], [0, 0], task, place=[1, 1]) == pytest.approx(closer)
    assert reward(spec, [-0.8, -0.8], [0, 0], task, place=[-1, -1]) == 0, "another corner is nearer"
    assert reward(spec, [0, 0], [0, 0], task, place=[0.2, 0.2]) == 0, "too close to the start"


@pytest.mark.parametrize(
    ("name", "size", "actions", "horizon", "dt"),
    [
        ("cheetah-vel", 20, 6, 100, 0.05),
        ("cheetah-vel-promp", 17, 6, 200, 0.05),
        ("cheetah-dir-2019", 20, 6, 200, 0.05),
        ("cheetah-dir-maml", 20, 6, 200, 0.01),
        ("ant-vel", 119, 8, 100, 0.05),
        ("ant-vel-maml", 119, 8, 200, 0.02),
        ("ant-goal", 119, 8, 100, 0.05),
        ("ant-dir", 105, 8, 200, 0.05),
        ("ant-goal-promp", 107, 8, 200, 0.05),
        ("humanoid-dir", 348, 17, 200, 0.015),
        ("walker-params", 17, 6, 200, 0.008),
        ("hopper-params", 11, 3, 200, 0.008),
    ],
)
def test_sizes(name: str, size: int, actions: int, horizon: int, dt: float) -> None:
    spec: Any = ENVIRONMENTS[name]
    assert (spec.observation_size, spec.action_size, spec.horizon) == (size, actions, horizon)
    assert spec.dt == pytest.approx(dt)
    assert spec.model.nu == actions


def test_impossible_variants_are_refused() -> None:
    kind: Any = type(ENVIRONMENTS["cheetah-vel"])
    with pytest.raises(ValueError, match="the horizon is 0; an episode has at least one step"):
        kind(horizon=0)
    with pytest.raises(ValueError, match="action_scale is 0; it must be positive"):
        kind(horizon=1, action_scale=0)
    with pytest.raises(ValueError, match="unknown part of an observation 'tail'; choose from joints, torso, com"):
        kind(horizon=1, observes=("joints", "tail"))
    with pytest.raises(ValueError, match="reward_kind is 'dense'; choose one of distance, corner, sparse"):
        type(ENVIRONMENTS["navigation"])(reward_kind="dense")  # type: ignore[call-arg]
