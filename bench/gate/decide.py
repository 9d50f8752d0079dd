"""When `metabench check` calls a row good: exact traces, and non-inferiority with one error rate for the whole family.

A *trace* (losses of the first outer steps in float64) must be the baseline's bit for bit where all that decides its
bits is the same (`bench.gate.baselines.here`), and within `ELSEWHERE` of it anywhere else.

A *score* or a *speed* is good only where the data show that it is not worse than the baseline by the row's margin. The
null hypothesis is "worse by the margin or more"; Holm (1979) controls the family: if any number of rows are that bad,
the probability that even one of them passes is at most `ALPHA`. What cannot be shown is red, so a broken or noisy
measurement does not pass either.

- Score: d_s = score now − score of the baseline, with the same seed (weights, training tasks) and the same test tasks;
  one-sided t test of mean d_s ≤ −margin.
- Speed: r_i = seconds of a call over those of the yardstick that ran beside it; sign test of median r ≥ bound, where
  the bound is the baseline's ratio × (1 + margin). It assumes nothing about the noise but that rounds are exchangeable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtr

ALPHA = 0.05
ELSEWHERE = 1e-5
"""Largest relative difference of a trace from one made elsewhere: on another machine, or with other versions. Conjugate
gradients magnify rounding: 6e-6 was seen in a KL divergence between processors of two makers."""


def trace_fault(was: Sequence[float], now: Sequence[float], exact: bool) -> str:
    """What is wrong with a trace, or the empty text."""
    if len(was) != len(now):
        return f"{len(now)} values, the baseline has {len(was)}"
    bound = 0.0 if exact else ELSEWHERE
    for place, (a, b) in enumerate(zip(was, now, strict=True)):
        if not abs(b - a) <= bound * abs(a):  # NaN is a fault too
            return f"value {place} is {b:.12g}, was {a:.12g}; may differ by {bound:g} of it"
    return ""


def score_p(differences: Sequence[float], margin: float) -> float:
    """p of "the mean difference is −margin or lower", from one difference a seed; 1 where one is not finite."""
    d = np.asarray(differences, dtype=np.float64)
    if len(d) < 2 or not np.isfinite(d).all():
        return 1.0
    lead, error = float(d.mean()) + margin, float(d.std(ddof=1)) / math.sqrt(len(d))
    if error == 0:
        return 0.0 if lead > 0 else 1.0
    return float(stdtr(len(d) - 1, -lead / error))


def speed_p(ratios: Sequence[float], bound: float) -> float:
    """p of "the median ratio is the bound or higher": the chance of as many rounds below it from a fair coin."""
    n, below = len(ratios), sum(r < bound for r in ratios)
    return float(sum(math.comb(n, k) for k in range(below, n + 1)) / 2**n)


def holm(p: Sequence[float]) -> list[float]:
    """p-values adjusted for the family by Holm's step-down: a hypothesis is rejected where its own is ≤ α."""
    adjusted = [0.0] * len(p)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = largest
    return adjusted
