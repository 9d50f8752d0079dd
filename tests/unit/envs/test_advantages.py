"""Returns, baseline and advantages against hand-computed numbers, least squares and plain loops."""

import numpy as np
import pytest

from metabench.envs.advantages import REGULARISER, advantages, baseline_features, discounted, fit, normalised


def ragged(seed: int = 0, tasks: int = 2, rollouts: int = 3, horizon: int = 6) -> tuple[np.ndarray, ...]:
    """Rewards, values and valid steps of rollouts of different lengths; what is not valid is 0."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, horizon + 1, (tasks, rollouts))
    lengths[0, :2] = 1, horizon
    valid = np.arange(horizon) < lengths[..., None]
    rewards = np.where(valid, rng.standard_normal(valid.shape), 0.0)
    values = np.where(valid, rng.standard_normal(valid.shape), 9.0)  # a baseline says something of padding too
    return rewards, values, valid


def test_discounted_returns_by_hand():
    rewards = np.array([[[1.0, 2.0, 3.0], [0.0, 4.0, 0.0]]])
    np.testing.assert_array_equal(discounted(rewards, 0.5), [[[1 + 0.5 * 3.5, 2 + 0.5 * 3, 3], [2, 4, 0]]])
    tail = np.array([[8.0, 0.0]])
    np.testing.assert_array_equal(discounted(rewards, 0.5, tail), [[[1 + 0.5 * 5.5, 5.5, 7], [2, 4, 0]]])
    np.testing.assert_array_equal(discounted(rewards, 1.0).sum(), 6 + 5 + 3 + 4 + 4)


def test_features_of_the_baseline_by_hand():
    observations = np.array([[[[0.5, -3.0], [20.0, -11.0]]]])
    expected = [[0.5, -3, 0.25, 9, 0, 0, 0, 1], [10, -10, 100, 100, 0.01, 0.0001, 0.000001, 1]]
    np.testing.assert_allclose(baseline_features(observations), [[expected]], rtol=1e-15)
    assert baseline_features(np.zeros((2, 3, 200, 20)))[1, 2, 150, -4:].tolist() == [1.5, 2.25, 3.375, 1]


def test_the_fit_is_least_squares_of_the_valid_steps():
    rng = np.random.default_rng(1)
    features, returns = rng.standard_normal((2, 4, 25, 5)), rng.standard_normal((2, 4, 25))
    valid = np.arange(25) < rng.integers(10, 26, (2, 4, 1))
    weights = fit(features, returns, valid)
    for t in range(2):
        x, y = features[t][valid[t]], returns[t][valid[t]]
        np.testing.assert_allclose(weights[t], np.linalg.lstsq(x, y)[0], rtol=0, atol=1e-5)
        regularised = np.linalg.inv(x.T @ x + REGULARISER * np.eye(5)) @ x.T @ y
        np.testing.assert_allclose(weights[t], regularised, rtol=1e-10)
        np.testing.assert_allclose(fit(*(z[t : t + 1] for z in (features, returns, valid)))[0], weights[t], rtol=1e-12)


def test_what_is_beyond_the_end_does_not_matter_to_the_fit():
    rng = np.random.default_rng(2)
    features, returns = rng.standard_normal((1, 2, 10, 3)), rng.standard_normal((1, 2, 10))
    valid = np.arange(10) < np.array([[[4], [10]]])
    spoilt = np.where(valid[..., None], features, 1e6), np.where(valid, returns, -1e6)
    np.testing.assert_array_equal(fit(*spoilt, valid), fit(features, returns, valid))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 10.0])
def test_a_task_without_rank_is_fitted_all_the_same(scale):
    """One step, or features that repeat each other: the shortest solution that explains the returns."""
    features = scale * np.ones((1, 1, 1, 4))
    weights = fit(features, np.full((1, 1, 1), 2.0), np.ones((1, 1, 1), bool))
    np.testing.assert_allclose(weights, 2 * scale / (4 * scale**2 + REGULARISER) * np.ones((1, 4)), rtol=1e-6)
    nothing = fit(np.zeros((1, 2, 3, 4)), np.ones((1, 2, 3)), np.ones((1, 2, 3), bool))
    assert nothing.tolist() == [[0, 0, 0, 0]]


def test_a_baseline_that_knows_the_return_leaves_no_advantage():
    """Returns that are linear in the time are explained by it: rewards 1, so G_t = H − t."""
    observations = np.random.default_rng(3).standard_normal((1, 5, 20, 2))
    rewards, valid = np.ones((1, 5, 20)), np.ones((1, 5, 20), bool)
    features = baseline_features(observations)
    weights = fit(features, discounted(rewards, 1.0), valid)
    values = np.einsum("tehf,tf->teh", features, weights)
    np.testing.assert_allclose(values, np.broadcast_to(np.arange(20, 0, -1), (1, 5, 20)), atol=0.05)
    left = advantages(rewards, values, valid, np.zeros((1, 5)), 1.0, 1.0)
    assert np.abs(left).max() < 0.05


@pytest.mark.parametrize(("discount", "trace"), [(0.99, 1.0), (0.9, 0.95), (1.0, 0.0)])
@pytest.mark.parametrize("seed", range(3))
def test_advantages_are_the_double_sum(discount, trace, seed):
    rewards, values, valid = ragged(seed)
    tail = np.random.default_rng(seed).standard_normal(valid.shape[:2])
    found = advantages(rewards, values, valid, tail, discount, trace)
    for t, e in np.ndindex(*valid.shape[:2]):
        length = int(valid[t, e].sum())
        following = [*values[t, e, 1:length], tail[t, e]]
        for start in range(length):
            expected = 0.0
            for k in range(start, length):
                delta = rewards[t, e, k] + discount * following[k] - values[t, e, k]
                expected += (discount * trace) ** (k - start) * delta
            assert found[t, e, start] == pytest.approx(expected, abs=1e-12)
        assert not found[t, e, length:].any()


def test_with_a_full_trace_advantages_are_returns_minus_values():
    rewards, values, valid = ragged(4)
    found = advantages(rewards, values, valid, np.zeros(valid.shape[:2]), 0.97, 1.0)
    np.testing.assert_allclose(found[valid], (discounted(rewards, 0.97) - values)[valid], atol=1e-13)


def test_how_a_rollout_ended_decides_what_follows():
    """Three rollouts of rewards 1, 1 and values 5, 7; the last has diverged, and V of its last observation is 7."""
    rewards, values = np.ones((1, 3, 2)), np.tile([5.0, 7.0], (1, 3, 1))
    valid = np.ones((1, 3, 2), bool)
    valid[0, 0, 1] = False  # the first fell in its first step
    rewards[0, 0, 1] = 0
    tail = np.array([[0.0, 0.0, 7.0]])
    found = advantages(rewards, values, valid, tail, 0.5, 1.0)
    fallen, horizon, diverged = found[0]
    assert fallen.tolist() == [1 - 5, 0]
    assert horizon.tolist() == [1 + 0.5 * 1 - 5, 1 - 7]
    assert diverged.tolist() == [1 + 0.5 * (1 + 0.5 * 7) - 5, 1 + 0.5 * 7 - 7]


def test_normalised_per_task_over_the_steps_that_were_taken():
    values, _, valid = ragged(5)
    values = values + np.array([100.0, -3.0])[:, None, None]
    out = normalised(np.where(valid, values, np.nan), valid)
    for t in range(2):
        taken = values[t][valid[t]]
        np.testing.assert_allclose(out[t][valid[t]], (taken - taken.mean()) / (taken.std() + 1e-8), atol=1e-12)
        assert out[t][valid[t]].std() == pytest.approx(1, abs=1e-6)
    assert not out[~valid].any()


def test_equal_advantages_become_zero_and_not_nan():
    valid = np.array([[[True, True, False]]])
    assert normalised(np.full((1, 1, 3), 0.3), valid).tolist() == [[[0, 0, 0]]]
    assert normalised(np.full((1, 1, 3), 7.0), np.array([[[True, False, False]]])).tolist() == [[[0, 0, 0]]]
