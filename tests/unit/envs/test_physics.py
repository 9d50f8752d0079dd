"""Batched physics against MuJoCo and Gymnasium's v5 environments, one simulation at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest

from metabench.envs import ENVIRONMENTS, Simulator
from metabench.envs.robots.physics import load_model, scaled_models

SAME_BODY = {"half_cheetah.xml": "HalfCheetah-v5", "ant.xml": "Ant-v5", "humanoid.xml": "Humanoid-v5"}


@pytest.fixture(autouse=True)
def log_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # Gymnasium's own loading of HalfCheetah writes MUJOCO_LOG.TXT


def test_loading_every_robot_writes_and_says_nothing(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    code = (
        f"import sys; sys.path.insert(0, {str(root)!r})\n"
        "from metabench.envs import ENVIRONMENTS\n"
        "print(len({spec.model.nq for spec in ENVIRONMENTS.values() if hasattr(spec, 'model')}))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("4\n", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", SAME_BODY)
def test_the_robot_is_gymnasiums(file: str, capfd: pytest.CaptureFixture[str]) -> None:
    theirs: Any = gymnasium.make(SAME_BODY[file]).unwrapped
    ours = load_model(file)
    names = [n for n in dir(theirs.model) if isinstance(getattr(theirs.model, n), np.ndarray)]
    assert len(names) > 300
    for name in names:
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs.model, name), name)


def against_gymnasium(name: str, task: dict[str, Any], env: Any, steps: int) -> Any:
    """Steps both from the same states with the same controls; yields what each gave."""
    spec: Any = ENVIRONMENTS[name]
    sim = Simulator(spec, spec.tasks.join([task]), 1, 1)
    sim.reset(0)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        state = sim.world.state
        env.set_state(state["qpos"][0, 0].copy(), state["qvel"][0, 0].copy())
        env.data.qacc_warmstart[:] = sim.world.batch.bind("qacc_warmstart")[0]  # type: ignore[attr-defined]
        control = rng.uniform(-1, 1, spec.action_size)
        step = sim.step(control[None, None] * spec.action_scale)
        yield sim, step, env.step(control * env.action_space.high), control


def test_half_cheetah_is_v5() -> None:
    env: Any = gymnasium.make("HalfCheetah-v5", ctrl_cost_weight=0.05).unwrapped
    for _, ours, theirs, _ in against_gymnasium("cheetah-dir-promp", {"direction": 1}, env, 30):
        np.testing.assert_allclose(ours.observations[0, 0], theirs[0], rtol=0, atol=1e-12)
        assert ours.rewards[0, 0] == pytest.approx(theirs[1], abs=1e-12)


def test_half_cheetah_place_and_centre_of_mass() -> None:
    env: Any = gymnasium.make("HalfCheetah-v5").unwrapped
    for _, ours, _, _ in against_gymnasium("cheetah-dir", {"direction": 1}, env, 5):
        mujoco.mj_forward(env.model, env.data)
        np.testing.assert_allclose(ours.observations[0, 0, -3:], env.data.body("torso").xpos, atol=1e-12)
    env = gymnasium.make("HalfCheetah-v5", frame_skip=1).unwrapped
    velocity = {"velocity": 0.7}
    for _, ours, _, control in against_gymnasium("cheetah-vel-maml", velocity, env, 5):
        mujoco.mj_forward(env.model, env.data)
        mujoco.mj_subtreeVel(env.model, env.data)
        np.testing.assert_allclose(ours.observations[0, 0, -3:], env.data.subtree_com[1], atol=1e-12)
        expected = -abs(env.data.subtree_linvel[1, 0] - 0.7) - 0.05 * (control**2).sum()
        assert ours.rewards[0, 0] == pytest.approx(expected, abs=1e-12)


def test_the_ant_of_maml_has_rllabs_clock_contacts_and_start() -> None:
    spec: Any = ENVIRONMENTS["ant-vel-maml"]
    ours, theirs = spec.model, load_model("ant.xml", spec.fields)
    assert (ours.opt.timestep, theirs.opt.timestep) == (0.02, 0.01)
    assert np.unique(ours.geom_solimp[:, :3], axis=0).tolist() == [[0.8, 0.8, 0.01]]
    names = [n for n in dir(ours) if isinstance(getattr(ours, n), np.ndarray) and n != "geom_solimp"]
    for name in names:
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), name)
    assert (np.ptp(ours.actuator_ctrlrange, 1) / 2 * ours.actuator_gear[:, 0]).tolist() == [150.0] * 8
    generators = [(np.random.default_rng(0), np.random.default_rng(1))]
    start = spec.start(generators, 400)
    np.testing.assert_allclose(
        start["qpos"][0].mean(0), [0, 0, 0.55, 1, 0, 0, 0, *[0, 1, 0, -1, 0, -1, 0, 1]], atol=2e-3
    )
    assert start["qpos"][0].std(0) == pytest.approx(0.01, rel=0.2)
    assert start["qvel"][0].std(0) == pytest.approx(0.1, rel=0.2)


@pytest.mark.parametrize("name", ["cheetah-dir-maml", "ant-forward-backward-maml"])
def test_velocities_on_the_clock_of_maml_are_those_of_one_step(name: str) -> None:
    spec: Any = ENVIRONMENTS[name]
    sim = Simulator(spec, spec.tasks.join([{"direction": 1}]), 1, 1)
    sim.reset(0)
    before = sim.world.state["subtree_com"][0, 0, 1, 0].copy()
    sim.step(np.full((1, 1, spec.action_size), 0.1))
    moved = (sim.world.state["subtree_com"][0, 0, 1, 0] - before) / spec.dt
    assert sim.world.state["subtree_linvel"][0, 0, 1, 0] == pytest.approx(moved, abs=0.02)


def test_ant_is_v5_at_the_end_of_the_step() -> None:
    env: Any = gymnasium.make("Ant-v5").unwrapped
    touched = 0.0
    for sim, ours, theirs, control in against_gymnasium("ant-dir", {"direction": [1, 0]}, env, 40):
        np.testing.assert_allclose(ours.observations[0, 0, :27], theirs[0][:27], atol=1e-9)
        # Gymnasium reports contacts and the place one stage late: recompute both at the state they claim.
        before = env.data.time
        mujoco.mj_forward(env.model, env.data)
        mujoco.mj_rnePostConstraint(env.model, env.data)
        assert env.data.time == before
        np.testing.assert_allclose(ours.observations[0, 0, 27:], env.contact_forces[1:].ravel(), atol=1e-5)
        touched = max(touched, env.contact_cost)
        # All of the reward but the forward velocity is v5's at this state.
        velocity = ours.rewards[0, 0] - env.healthy_reward + env.control_cost(control) + env.contact_cost
        assert velocity == pytest.approx(theirs[4]["x_velocity"], abs=0.3)
        assert bool(ours.terminated[0, 0]) == (not 0 <= sim.world.state["qpos"][0, 0, 2] <= 1)
        if not sim.running.any():
            sim.reset()
    assert touched > 1e-4, "the ant must have touched the ground"


def test_humanoid_is_v5_at_the_end_of_the_step() -> None:
    env: Any = gymnasium.make("Humanoid-v5").unwrapped
    for sim, ours, theirs, control in against_gymnasium("humanoid-dir", {"direction": [1, 0]}, env, 25):
        np.testing.assert_allclose(ours.observations[0, 0, :45], theirs[0][:45], atol=1e-6)
        mujoco.mj_forward(env.model, env.data)
        mujoco.mj_rnePostConstraint(env.model, env.data)
        np.testing.assert_allclose(ours.observations[0, 0], env._get_obs(), atol=1e-4, rtol=1e-4)
        rest = 5 - env.control_cost(control) - env.contact_cost
        assert ours.rewards[0, 0] - rest == pytest.approx(1.25 * theirs[4]["x_velocity"], abs=0.3)
        if not sim.running.any():
            sim.reset()


@pytest.mark.parametrize(("name", "v5"), [("walker-params", "Walker2d-v5"), ("hopper-params", "Hopper-v5")])
def test_nominal_bodies_are_v5(name: str, v5: str) -> None:
    env: Any = gymnasium.make(v5).unwrapped
    nominal = {v.name: np.ones(v.shape) for v in ENVIRONMENTS[name].tasks.variables}
    for sim, ours, theirs, _ in against_gymnasium(name, nominal, env, 60):
        np.testing.assert_allclose(ours.observations[0, 0], theirs[0], atol=1e-9)
        assert bool(ours.terminated[0, 0]) == theirs[2]
        bonus_for_the_fall = 1.0 if theirs[2] else 0.0
        assert ours.rewards[0, 0] == pytest.approx(theirs[1] + bonus_for_the_fall, abs=1e-9)
        if not sim.running.any():
            sim.reset()


def test_each_task_has_a_body_of_its_own() -> None:
    spec: Any = ENVIRONMENTS["walker-params"]
    tasks = spec.tasks.sample(2, 0)
    sim = Simulator(spec, tasks, 2, 1)
    for t in range(2):
        for e in range(2):
            model, _ = sim.world.snapshot(t, e)  # type: ignore[attr-defined]
            for name, factors in tasks.items():
                np.testing.assert_array_equal(getattr(model, name), getattr(spec.model, name) * factors[t])


def test_scaled_models_recompute_what_follows() -> None:
    model = load_model("hopper.xml")
    [heavy] = scaled_models(model, {"body_mass": np.full((1, model.nbody), 2.0)})
    np.testing.assert_allclose(heavy.body_subtreemass, 2 * model.body_subtreemass)
    assert heavy.dof_invweight0[0] < model.dof_invweight0[0]
    assert model.body_mass[1] == load_model("hopper.xml").body_mass[1], "the nominal robot is untouched"


def test_joints_can_be_damped_and_the_nominal_robot_stays() -> None:
    nominal, damped = (ENVIRONMENTS[name].model for name in ("cheetah-dir-maml", "cheetah-dir-maml-damped"))
    np.testing.assert_allclose(damped.dof_damping, 1.5 * nominal.dof_damping)
    assert nominal.dof_damping[3] == 6.0 and (nominal.dof_damping[:3] == 0).all()
    assert damped is ENVIRONMENTS["cheetah-dir-maml-damped"].model, "compiled once"
