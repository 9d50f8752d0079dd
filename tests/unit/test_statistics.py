"""Means and intervals: by hand, beside SciPy, and by how often they cover the truth."""

import math

import numpy as np
import pytest
from scipy import stats

from bench.statistics import mean_interval


def test_by_hand():
    # Deviations −0.2, 0, 0.2: s = 0.2, and 1.96 · 0.2 / √3.
    mean, ci95, n = mean_interval([0.4, 0.6, 0.8])
    assert mean == pytest.approx(0.6, abs=1e-15)
    assert ci95 == pytest.approx(0.22632130552, abs=1e-10)
    assert n == 3


def test_beside_scipy():
    values = np.random.default_rng(0).random((40, 15))
    low, high = stats.norm.interval(0.95, values.mean(), stats.sem(values, axis=None))
    estimate = mean_interval(values)
    assert estimate.n == 600
    assert (estimate.mean - estimate.ci95, estimate.mean + estimate.ci95) == pytest.approx((low, high), abs=2e-6)


def test_equal_values_have_no_width_and_one_value_has_none():
    assert mean_interval([0.5, 0.5]) == (0.5, 0.0, 2)
    one = mean_interval([0.25])
    assert (one.mean, one.n) == (0.25, 1)
    assert math.isnan(one.ci95)
    with pytest.raises(ValueError, match="no values to average"):
        mean_interval([])


def test_float32_scores_are_averaged_in_float64():
    assert mean_interval(np.full(600, 0.1, np.float32)).mean == pytest.approx(float(np.float32(0.1)), abs=1e-15)


def test_the_interval_covers_the_truth_95_times_in_100():
    draws = np.random.default_rng(1).normal(0.7, 0.1, (2000, 100))
    covered = sum(abs(e.mean - 0.7) <= e.ci95 for e in map(mean_interval, draws))
    assert 0.93 <= covered / 2000 <= 0.97
