"""Means and intervals: by hand, beside SciPy, and by how often they cover the truth."""

import math

import numpy as np
import pytest
from scipy import stats

from metabench.bench.records.statistics import (
    interquartile_mean,
    mean_interval,
    probability_of_improvement,
    profile,
    resample,
    t975,
)


def test_by_hand():
    # Deviations −0.2, 0, 0.2: s = 0.2, and 4.302653 · 0.2 / √3.
    mean, ci95, n = mean_interval([0.4, 0.6, 0.8])
    assert mean == pytest.approx(0.6, abs=1e-15)
    assert ci95 == pytest.approx(0.49682754, abs=1e-8)
    assert n == 3


def test_beside_scipy():
    values = np.random.default_rng(0).random((40, 15))
    low, high = stats.t.interval(0.95, 599, values.mean(), stats.sem(values, axis=None))
    estimate = mean_interval(values)
    assert estimate.n == 600
    assert (estimate.mean - estimate.ci95, estimate.mean + estimate.ci95) == pytest.approx((low, high), abs=1e-14)


def test_equal_values_have_no_width_and_one_value_has_none():
    assert mean_interval([0.5, 0.5]) == (0.5, 0.0, 2)
    one = mean_interval([0.25])
    assert (one.mean, one.n) == (0.25, 1)
    assert math.isnan(one.ci95)
    with pytest.raises(ValueError, match="no values to average"):
        mean_interval([])


def test_float32_scores_are_averaged_in_float64():
    assert mean_interval(np.full(600, 0.1, np.float32)).mean == pytest.approx(float(np.float32(0.1)), abs=1e-15)


@pytest.mark.parametrize(
    ("tasks", "t"), [(2, 12.706205), (4, 3.182446), (11, 2.228139), (100, 1.984217), (600, 1.963932)]
)
def test_the_interval_covers_the_truth_95_times_in_100(tasks, t):
    """With 1.96 for every number of tasks it would be 70 times at 2, 85 at 4 and 92 at 11."""
    draws = np.random.default_rng(1).normal(0.7, 0.1, (4000, tasks))
    covered = sum(abs(e.mean - 0.7) <= e.ci95 for e in map(mean_interval, draws))
    assert covered / 4000 == pytest.approx(0.95, abs=0.01)
    assert t975(tasks - 1) == pytest.approx(t, abs=1e-6)


def test_interquartile_mean_by_hand():
    """Of eight, the two smallest and the two largest go; of seven, one each."""
    assert interquartile_mean(resample(np.array([[9.0, 0, 5, 1, 7, 3, -99, 1000]]), seeds=False)).value == 4.0
    assert interquartile_mean(resample(np.array([[0.0, 1, 2, 3, 4, 5, 99]]), seeds=False)).value == 3.0
    assert interquartile_mean(resample(np.array([[1.0, 5.0], [2.0, 4.0]]), seeds=True)).value == 3.0


@pytest.mark.parametrize("shape", [(1, 2), (1, 7), (3, 41), (4, 50)])
def test_interquartile_mean_beside_scipy(shape):
    scores = np.random.default_rng(2).standard_t(2, shape)
    assert interquartile_mean(resample(scores, seeds=True)).value == pytest.approx(stats.trim_mean(scores, 0.25, None))


def test_bootstrap_beside_scipy():
    """Both are percentiles of resampled interquartile means: equal up to the noise of their draws."""
    scores = np.random.default_rng(3).gamma(2.0, 10.0, (1, 80))
    ours = interquartile_mean(resample(scores, seeds=False, resamples=9999))
    theirs = stats.bootstrap(
        (scores[0],), lambda x, axis: stats.trim_mean(x, 0.25, axis), n_resamples=9999, method="percentile", rng=1
    )
    assert (ours.low, ours.high) == pytest.approx(theirs.confidence_interval, abs=0.04 * float(ours.high - ours.low))


def test_test_tasks_are_drawn_with_every_seed_in_them():
    """Each task's two scores cancel: whatever tasks are drawn, the resample holds as many of +1 as of −1."""
    scores = np.array([[1.0] * 30, [-1.0] * 30])
    assert interquartile_mean(resample(scores, seeds=False)) == (0.0, 0.0, 0.0)


def test_runs_are_kept_whole():
    """Two seeds, 0 and 1 throughout: a resample holds seed 0 twice, each once, or seed 1 twice; nothing between."""
    found = resample(np.array([[0.0] * 30, [1.0] * 30]), seeds=True)
    ones = 60 - found.below[1:, 1]
    assert set(ones.tolist()) == {0, 30, 60}
    assert np.mean(ones == 30) == pytest.approx(0.5, abs=0.06)
    assert interquartile_mean(found) == (0.5, 0.0, 1.0)


def test_draws_are_those_of_their_seed():
    scores = np.random.default_rng(4).random((2, 20))
    same, again, other = (resample(scores, seeds=True, seed=s).below for s in (0, 0, 1))
    assert np.array_equal(same, again)
    assert not np.array_equal(same, other)
    assert (same[:, -1] == 40).all()


def test_profile_by_hand():
    found = profile(resample(np.array([[0.2, 0.4, 0.4, 0.8]]), seeds=False), np.array([0.0, 0.2, 0.4, 0.5, 0.8]))
    assert found.value.tolist() == [1.0, 0.75, 0.25, 0.25, 0.0]
    assert (found.low <= found.value).all()
    assert (found.value <= found.high).all()
    assert (found.low[0], found.high[0], found.low[-1], found.high[-1]) == (1, 1, 0, 0)


def test_profile_band_beside_the_binomial():
    """A share of 0.3 among 100 tasks: resampled counts are binomial, with 2.5 and 97.5 % quantiles of 21 and 39."""
    found = profile(resample(np.array([[1.0] * 30 + [0.0] * 70]), seeds=False, resamples=9999), np.array([0.5]))
    assert (found.low[0], found.high[0]) == pytest.approx(stats.binom.ppf([0.025, 0.975], 100, 0.3) / 100, abs=1e-9)


def test_probability_of_improvement_by_hand():
    """Of six pairs X wins three and ties one: 3.5 / 6."""
    x, y = np.array([[1.0, 3.0, 5.0]]), np.array([[3.0, 2.0]])
    pair = resample(x, seeds=False), resample(y, seeds=False, seed=1)
    assert probability_of_improvement([pair]).value == pytest.approx(3.5 / 6)
    assert probability_of_improvement([pair[::-1]]).value == pytest.approx(2.5 / 6)
    sure = resample(x + 10, seeds=False), resample(y, seeds=False, seed=1)
    assert probability_of_improvement([sure]) == (1.0, 1.0, 1.0)
    assert probability_of_improvement([pair, sure]).value == pytest.approx((3.5 / 6 + 1) / 2)


def test_probability_of_improvement_beside_scipy():
    rng = np.random.default_rng(5)
    x, y = rng.integers(0, 6, (2, 40)) / 5.0, rng.integers(0, 5, (3, 30)) / 5.0
    ours = probability_of_improvement([(resample(x, seeds=True), resample(y, seeds=True, seed=1))])
    u = stats.mannwhitneyu(x.ravel(), y.ravel()).statistic
    assert ours.value == pytest.approx(u / (80 * 90), abs=1e-12)
    assert ours.low < ours.value < ours.high


def test_probability_of_improvement_in_a_resample_is_that_of_its_scores():
    rng = np.random.default_rng(6)
    x, y = rng.integers(0, 9, (1, 12)).astype(float), rng.integers(0, 9, (1, 15)).astype(float)
    pair = resample(x, seeds=False, resamples=200), resample(y, seeds=False, resamples=200, seed=1)
    drawn = [np.repeat(s.values[None], 201, 0) for s in pair]
    by_hand = []
    for b in range(1, 201):
        a, c = (np.repeat(d[b], np.diff(s.below[b])) for d, s in zip(drawn, pair))
        by_hand.append(np.mean(a[:, None] > c) + np.mean(a[:, None] == c) / 2)
    found = probability_of_improvement([pair])
    assert (found.low, found.high) == pytest.approx(np.quantile(by_hand, [0.025, 0.975]), abs=1e-12)


def coverage(runs: int, tasks: int, *, seeds: bool, trials: int) -> float:
    """How often the interval holds the truth, 0: scores are a seed's offset, a task's offset and noise."""
    rng = np.random.default_rng(7)
    held = 0
    for trial in range(trials):
        scores = rng.normal(size=(runs, tasks)) + (rng.normal(size=(runs, 1)) if seeds else 0)
        scores += rng.normal(size=tasks)
        found = interquartile_mean(resample(scores, seeds=seeds, resamples=400, seed=trial))
        held += bool(found.low <= 0 <= found.high)
    return held / trials


@pytest.mark.parametrize(
    ("runs", "tasks", "seeds", "expected"),
    [(1, 100, False, 0.94), (3, 100, False, 0.94), (10, 40, True, 0.92), (3, 40, True, 0.80)],
)
def test_how_often_the_interquartile_interval_covers_the_truth(runs, tasks, seeds, expected):
    assert coverage(runs, tasks, seeds=seeds, trials=500) == pytest.approx(expected, abs=0.03)
