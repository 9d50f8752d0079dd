"""Rollouts: by hand on a line, and what a rollout may depend on, how it ends and what then follows."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from metabench.algorithms import MAML, Diverged, Gaussian, Learner, Network, adapt
from metabench.algorithms.network import Params
from metabench.algorithms.perceptron import Perceptron
from metabench.envs import ENVIRONMENTS, Simulator, Spec
from metabench.envs.advantages import advantages, baseline_features, discounted, normalised
from metabench.envs.robots.physics import Physics
from metabench.envs.rollouts import Rollouts, normalised_advantages, roll_out
from metabench.envs.suite import Control
from tests.support.line import Line, Points

SEEDS = {"train": 0, "val": 1, "test": 2}


def policy(spec: Spec, dtype: torch.dtype = torch.float64, extra: int = 0) -> Learner:
    torch.manual_seed(4)
    body = Perceptron(spec.observation_size + extra, (8, 8), "tanh")
    return MAML(Network(body, spec.action_size, Gaussian(spec.action_size)), inner_lr=0.1).to(dtype)


def constant(mean: float, log_std: float) -> tuple[Learner, Params]:
    """A policy on the line that does not look, in float64."""
    learner = policy(Line())
    fast = {name: torch.zeros_like(p) for name, p in learner.begin().items()}
    return learner, fast | {
        "head.bias": torch.tensor([[mean]], dtype=torch.float64),
        "likelihood.log_std": torch.tensor([[log_std]], dtype=torch.float64),
    }


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> set[tuple[int, int, int]]:
    chosen: set[tuple[int, int, int]] = set()
    monkeypatch.setattr(Points, "fails", chosen)
    return chosen


def on_the_line(noise: list[list[list[float]]], mean: float = 0.5, std: float = 0.5) -> Rollouts:
    """Rollouts towards 0.25 and −1 under actions mean + std · noise (T, E, H)."""
    learner, fast = constant(mean, float(np.log(std)))
    array = np.array(noise, float)[..., None]
    simulator = Simulator(Line(horizon=array.shape[2]), {"place": [0.25, -1.0]}, array.shape[1], 1)
    return roll_out(simulator, learner, fast, array)


def test_by_hand() -> None:
    """Actions are clipped to ±1 where they act, and kept as the policy gave them."""
    rolled = on_the_line([[[-1, 0, -3], [3, 3, 3]], [[1, 1, 1], [0, 0, 0]]])
    actions = [[[0, 0.5, -1], [2, 2, 2]], [[1, 1, 1], [0.5, 0.5, 0.5]]]
    places = [[[0, 0, 0.5], [0, 1, 2]], [[0, 1, 2], [0, 0.5, 1]]]
    np.testing.assert_allclose(rolled.actions[..., 0], actions, atol=1e-15)
    np.testing.assert_allclose(rolled.observations[..., 0], places, atol=1e-15)
    rewards = [[[-0.25, -0.25, -0.75], [-0.75, -1.75, -2.75]], [[-2, -3, -4], [-1.5, -2, -2.5]]]
    np.testing.assert_allclose(rolled.rewards, rewards, atol=1e-15)
    np.testing.assert_allclose(rolled.returns, [[-1.25, -5.25], [-9, -6]], atol=1e-14)
    assert rolled.valid.all()
    assert not rolled.diverged.any()
    # log N(mean + σ z; mean, σ) = −z²/2 − log σ − log √(2π), σ = ½.
    np.testing.assert_allclose(rolled.log_probs[0, 0], np.array([-0.5, 0, -4.5]) + np.log(2) - 0.9189385332046727)


def test_after_an_early_end_there_is_nothing() -> None:
    """A point that is pushed by 1 each step falls in its third; one that is not goes on."""
    rolled = on_the_line([[[9] * 5, [-1] * 5], [[9] * 5, [9] * 5]])
    lengths = [[3, 5], [3, 3]]
    assert rolled.valid.sum(-1).tolist() == lengths
    for t, e in np.ndindex(2, 2):
        n = lengths[t][e]
        for x in (rolled.observations, rolled.actions, rolled.rewards, rolled.log_probs):
            assert not x[t, e, n:].any()
            assert x[t, e, 1:n].any() or (t, e) == (0, 1)
    assert rolled.returns[0].tolist() == [-(0.75 + 1.75 + 2.75), 5 * -0.25]
    weights = normalised_advantages(rolled, 0.99, 1.0)
    assert not weights[~rolled.valid].any()


def test_when_all_have_ended_no_more_is_simulated() -> None:
    """The steps after would be refused by the simulator."""
    rolled = on_the_line([[[9] * 6] * 2] * 2)
    assert rolled.valid.sum() == 12
    assert not rolled.rewards[..., 3:].any()


def test_a_diverged_rollout_ends_alone(fails: set[tuple[int, int, int]]) -> None:
    noise = np.random.default_rng(0).standard_normal((2, 3, 6)).tolist()
    healthy = on_the_line(noise, mean=0.0)
    fails.add((2, 1, 0))
    fails.add((0, 0, 2))
    sick = on_the_line(noise, mean=0.0)
    assert sick.diverged.tolist() == [[False, False, True], [True, False, False]]
    for before, after in zip(healthy[:-1], sick[:-1]):
        np.testing.assert_array_equal(before[~sick.diverged], after[~sick.diverged])
        assert np.isfinite(after).all()
    assert sick.valid.sum(-1).tolist() == [[6, 6, 1], [3, 6, 6]]
    assert sick.rewards[1, 0].tolist() == [*healthy.rewards[1, 0, :2], 0, 0, 0, 0], "its last step counts, with 0"
    np.testing.assert_array_equal(sick.actions[1, 0, :3], healthy.actions[1, 0, :3])
    assert np.isfinite(normalised_advantages(sick, 0.99, 1.0)).all()


def test_a_task_whose_rollouts_all_diverge_at_once_poisons_nothing(fails: set[tuple[int, int, int]]) -> None:
    noise = np.random.default_rng(0).standard_normal((2, 2, 6)).tolist()
    alone = normalised_advantages(on_the_line(noise), 0.9, 0.95)
    fails.update({(0, 1, 0), (0, 1, 1)})
    weights = normalised_advantages(on_the_line(noise), 0.9, 0.95)
    np.testing.assert_allclose(weights[0], alone[0], rtol=1e-9, atol=1e-12)
    assert np.isfinite(weights).all()


def test_physics_that_blows_up_is_counted_and_never_nan(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # type: ignore[arg-type]  # MuJoCo notes the divergence in a file there
    advance, calls = Physics.advance, []

    def sabotaged(self: Physics, control: np.ndarray, running: np.ndarray) -> np.ndarray:
        calls.append(1)
        if len(calls) == 3:
            self.state["qvel"][0, 1, 2] = np.nan
            self.state["qpos"][1, 0, 1] = 1e40
        return advance(self, control, running)

    monkeypatch.setattr(Physics, "advance", sabotaged)
    spec = short("cheetah-vel")
    suite = Control(spec, 2, SEEDS, threads=1)
    learner = policy(spec, torch.float32)
    tasks = suite.tasks([0, 1], "train")
    with torch.no_grad():
        batch = suite.query(tasks, learner, learner.begin(), 0)
    assert suite.metrics(tasks)["diverged"] == 2
    assert batch.valid is not None
    assert batch.valid.sum(1).tolist() == [23, 23]
    assert all(bool(t.isfinite().all()) for t in batch if isinstance(t, torch.Tensor))
    assert bool(suite.scorer(tasks, learner)(learner.begin(), 0).isfinite().all())


@pytest.mark.parametrize("name", ["navigation", "cheetah-dir-promp"])
def test_log_probs_are_those_of_predict_at_the_actions(name: str) -> None:
    """Of an adapted policy, another one for each task."""
    spec = short(name)
    suite, learner = Control(spec, 2, SEEDS, threads=1), policy(spec)
    tasks = suite.tasks([0, 1, 2], "train")
    fast = adapt(learner, [_double(suite.support(tasks, learner, learner.begin(), 0))])
    rolled = suite.roll(tasks, learner, {n: p.detach() for n, p in fast.items()}, 1)
    x, y = (torch.from_numpy(a.reshape(3, -1, a.shape[-1])) for a in (rolled.observations, rolled.actions))
    expected = learner.network.likelihood.log_prob(learner.predict(fast, x), y).detach().numpy()  # type: ignore[operator]
    found = rolled.log_probs.reshape(3, -1)
    steps = rolled.valid.reshape(3, -1)
    np.testing.assert_allclose(found[steps], expected[steps], atol=1e-11)
    assert len({round(float(p), 6) for p in fast["likelihood.log_std"][:, 0].detach()}) == 3


def _double(batch: object) -> object:
    return batch._replace(  # type: ignore[attr-defined]
        **{k: v.double() for k, v in batch._asdict().items() if isinstance(v, torch.Tensor)}  # type: ignore[attr-defined]
    )


def short(name: str) -> Spec:
    return replace(ENVIRONMENTS[name], horizon=20)


def rolled(
    name: str,
    indices: list[int],
    *,
    threads: int = 1,
    seed: int = 0,
    update: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Rollouts:
    spec = short(name)
    suite, learner = Control(spec, 3, SEEDS | {"train": seed}, threads=threads), policy(spec, dtype)
    return suite.roll(suite.tasks(indices, "train"), learner, learner.begin(), update)


def equal(one: Rollouts, other: Rollouts) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other))


@pytest.mark.parametrize("name", ["navigation", "cheetah-vel", "walker-params"])
def test_the_same_seeds_give_the_same_bits_on_any_number_of_threads(name: str) -> None:
    one = rolled(name, [0, 1], dtype=torch.float32)
    assert equal(one, rolled(name, [0, 1], dtype=torch.float32))
    assert equal(one, rolled(name, [0, 1], dtype=torch.float32, threads=3))
    assert not equal(one, rolled(name, [0, 1], dtype=torch.float32, seed=1))
    assert not equal(one, rolled(name, [0, 1], dtype=torch.float32, update=1))


@pytest.mark.parametrize(("name", "close"), [("navigation", 1e-12), ("cheetah-dir-promp", 1e-6)])
def test_a_task_does_not_depend_on_its_company(name: str, close: float) -> None:
    """Up to the rounding of a matrix product of another size, which contacts of the robot's feet magnify."""
    company, alone = rolled(name, [3, 1, 2]), rolled(name, [1])
    for a, b in zip(company, alone):
        np.testing.assert_allclose(a[1:2], b, rtol=0, atol=close)
    pair = rolled(name, [1, 2])
    np.testing.assert_allclose(company.actions[1:], pair.actions, rtol=0, atol=close)


def test_a_rollout_does_not_depend_on_the_length_of_another() -> None:
    """The noise of a step is its own: what one rollout does after another has fallen is what it would have done."""
    noise = np.random.default_rng(1).standard_normal((2, 2, 6)) * 0.1
    noise[0, 0] = 9
    falls = on_the_line(noise.tolist())
    noise[0, 0] = -1
    stays = on_the_line(noise.tolist())
    assert (falls.valid[0, 0].sum(), stays.valid[0, 0].sum()) == (3, 6)
    np.testing.assert_array_equal(falls.actions[0, 1], stays.actions[0, 1])
    np.testing.assert_array_equal(falls.actions[1], stays.actions[1])


def test_the_policy_sees_the_hint_beside_the_place() -> None:
    learner = policy(Line(), extra=2)
    simulator = Simulator(Line(), {"place": [0.25, -1.0]}, 3, 1)
    hint = np.array([[7.0, 8.0], [9.0, 10.0]])
    seen = roll_out(simulator, learner, learner.begin(), np.zeros((2, 3, 6, 1)), hint).observations
    assert seen.shape == (2, 3, 6, 3)
    assert (seen[0, ..., 1:] == [7, 8]).all()
    assert (seen[1, :, :2, 1:] == [9, 10]).all()


def test_weigh_is_the_plain_loop(fails: set[tuple[int, int, int]]) -> None:
    """Baseline by lstsq of each task, advantages with the value of the last good observation where it diverged."""
    fails.add((3, 1, 1))
    rng = np.random.default_rng(5)
    rolled = on_the_line(rng.standard_normal((2, 6, 6)).tolist(), mean=0.6)
    assert len(set(rolled.valid.sum(-1).ravel().tolist())) > 1
    features = baseline_features(rolled.observations)
    returns = discounted(rolled.rewards, 0.9)
    values, tail = np.zeros(rolled.rewards.shape), np.zeros((2, 6))
    for t in range(2):
        x, y = features[t][rolled.valid[t]], returns[t][rolled.valid[t]]
        ridge = np.vstack([x, np.sqrt(1e-5) * np.eye(x.shape[1])])
        values[t] = features[t] @ np.linalg.lstsq(ridge, np.concatenate([y, np.zeros(x.shape[1])]))[0]
    tail[1, 1] = values[1, 1, 3]
    expected = normalised(advantages(rolled.rewards, values, rolled.valid, tail, 0.9, 0.8), rolled.valid)
    np.testing.assert_allclose(normalised_advantages(rolled, 0.9, 0.8), expected, atol=1e-4)
    fallen = normalised(advantages(rolled.rewards, values, rolled.valid, 0 * tail, 0.9, 0.8), rolled.valid)
    assert np.abs(normalised_advantages(rolled, 0.9, 0.8) - fallen).max() > 0.1, "a diverged rollout is no fallen one"


def test_a_policy_that_is_not_finite_is_named() -> None:
    learner, fast = constant(float("nan"), 0.0)
    simulator = Simulator(Line(), {"place": [0.25]}, 1, 1)
    with pytest.raises(Diverged, match="a policy's actions are not finite"):
        roll_out(simulator, learner, fast, np.zeros((1, 1, 6, 1)))


def test_episodes_of_no_length_are_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("the horizon is 0; an episode has at least one step")):
        Line(horizon=0)
    suite = Control(Line(), 0, SEEDS)
    learner = policy(Line())
    with pytest.raises(ValueError, match="rollouts is 0; each task needs at least one"):
        suite.roll(suite.tasks([0], "train"), learner, learner.begin(), 0)
