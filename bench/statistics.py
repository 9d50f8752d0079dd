"""Means and their intervals."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Estimate(NamedTuple):
    """A mean and the half-width of its 95 % interval."""

    mean: float
    ci95: float
    n: int


def mean_interval(values: ArrayLike) -> Estimate:
    """Mean and 1.96 · s / √n, the interval that few-shot papers print. NaN half-width for one value."""
    v = np.asarray(values, dtype=np.float64).ravel()
    if not len(v):
        raise ValueError("no values to average")
    half = 1.96 * float(v.std(ddof=1)) / math.sqrt(len(v)) if len(v) > 1 else math.nan
    return Estimate(float(v.mean()), half, len(v))
