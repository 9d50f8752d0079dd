"""Means, interquartile means and comparisons of scores, with their 95 % intervals.

The interval of a mean is Student's. For the rest, after Agarwal et al., "Deep Reinforcement
Learning at the Edge of the Statistical Precipice" (NeurIPS 2021), a percentile bootstrap: scores (S, N) are those of S
seeds on N test tasks. Test tasks are resampled with every seed kept in each of them, so each resample holds each seed
equally often; or seeds too, each with its whole run, so that a run's scores stay together.

How often the 95 % interval of an interquartile mean held the truth (500 simulations, `test_statistics.py`):
0.94 over 100 tasks; over seeds and 40 tasks, 0.92 with ten seeds and 0.81 with three: few seeds tell little of seeds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

Floats = NDArray[np.float64]


class Estimate(NamedTuple):
    """A mean and the half-width of its 95 % interval."""

    mean: float
    ci95: float
    n: int


class Interval(NamedTuple):
    """A statistic and its 95 % interval, each of one shape."""

    value: Floats
    low: Floats
    high: Floats


class Resampled(NamedTuple):
    """Scores and how often each was drawn in each of B resamples."""

    values: Floats
    """(V,) the different scores, ascending."""
    below: NDArray[np.int32]
    """(B + 1, V + 1): how many were drawn of the i smallest values; first, each score once."""

    @property
    def size(self) -> int:
        """Scores in a resample: as many as were given."""
        return int(self.below[0, -1])


def mean_interval(values: ArrayLike) -> Estimate:
    """Mean and Student's t · s / √n, which holds the truth in 95 % of samples from two values on; NaN for one.

    Few-shot papers print 1.96 · s / √n: the same to 0.2 % at their 600 episodes, but at 4 values it holds the truth in
    85 %, at 2 in 70 %.
    """
    v = np.asarray(values, dtype=np.float64).ravel()
    if not len(v):
        raise ValueError("no values to average")
    half = t975(len(v) - 1) * float(v.std(ddof=1)) / math.sqrt(len(v)) if len(v) > 1 else math.nan
    return Estimate(float(v.mean()), half, len(v))


def t975(freedom: int) -> float:
    """Student's t, its 97.5 % quantile: a 95 % half-width in standard errors. 12.706 for one degree of freedom."""
    return float(stdtrit(freedom, 0.975))


def resample(scores: Floats, *, seeds: bool, resamples: int = 1000, seed: int = 0) -> Resampled:
    """Draw test tasks with replacement, and seeds too where `seeds` says so.

    Args:
        scores: (S, N).
        seed: of the draws; two samples that are compared want two of them.
    """
    runs, tasks = scores.shape
    rng = np.random.default_rng(seed)
    order = np.argsort(scores, axis=None, kind="stable")
    weights = _counts(rng, tasks, resamples)[order % tasks]
    if seeds:
        weights *= _counts(rng, runs, resamples)[order // tasks]
    values, first = np.unique(scores.ravel()[order], return_index=True)
    # Accuracies are few fractions: each value, not each score, is a row. Twenty times as fast as `np.add.reduceat`.
    each = [weights[a:b].sum(0) for a, b in itertools.pairwise([*first, scores.size])]
    below = np.zeros((resamples + 1, len(values) + 1), np.int32)
    np.cumsum(np.stack(each, axis=1), axis=1, out=below[:, 1:])
    return Resampled(values, below)


def _counts(rng: np.random.Generator, n: int, resamples: int) -> NDArray[np.int32]:
    """(n, B + 1): once each, then how often each of n was drawn in n draws."""
    drawn = rng.integers(n, size=(n, resamples)) * resamples + np.arange(resamples)
    counts = np.bincount(drawn.ravel(), minlength=n * resamples).reshape(n, resamples)
    return np.concatenate([np.ones((n, 1)), counts], axis=1).astype(np.int32)


def interquartile_mean(sample: Resampled) -> Interval:
    """Mean of what is left without the smallest and the largest quarter (rounded down), as `scipy.stats.trim_mean`."""
    n = sample.size
    kept = np.diff(sample.below.clip(n // 4, n - n // 4), axis=1)
    return _percentiles((kept * sample.values).sum(1) / (n - 2 * (n // 4)))


def profile(sample: Resampled, thresholds: Floats) -> Interval:
    """Performance profile: the share of scores above each threshold, (m,) each."""
    places = np.searchsorted(sample.values, thresholds, side="right")
    return _percentiles(1 - sample.below[:, places] / sample.size)


def probability_of_improvement(pairs: Sequence[tuple[Resampled, Resampled]]) -> Interval:
    """P(X > Y) + ½ P(X = Y), which is Mann and Whitney's U / (n m), averaged over the pairs (X, Y): the strata."""
    return _percentiles(np.mean([_superiority(x, y) for x, y in pairs], axis=0))


def _superiority(x: Resampled, y: Resampled) -> Floats:
    """(B + 1,): over each score of X, how much of Y is smaller, and half of how much is equal."""
    smaller, at_most = (y.below[:, np.searchsorted(y.values, x.values, side=side)] for side in ("left", "right"))
    wins = np.einsum("bv,bv->b", np.diff(x.below, axis=1), smaller + at_most, dtype=np.int64)
    return np.asarray(wins / (2.0 * x.size * y.size), np.float64)


def _percentiles(statistic: Floats) -> Interval:
    """(B + 1, …), the first without resampling."""
    low, high = np.quantile(statistic[1:], [0.025, 0.975], axis=0)
    return Interval(statistic[0], low, high)
