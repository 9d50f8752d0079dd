"""From rewards to advantages: returns, a linear baseline for each task, generalised advantage estimation.

All arrays start with the axes (T, E, H): T tasks × E rollouts × H steps; `valid` says which steps were taken. A rollout
ends in one of three ways. It *terminates* (falls, arrives): nothing follows, so nothing is worth anything after it. It
reaches the *horizon*: the score is the sum of rewards up to there and the baseline sees the time, so nothing counts
after it either. It *diverges*: the simulator failed, the task did not end, and the value of the last good observation
stands for what would have come (`tail`).
"""

from __future__ import annotations

import numpy as np

from metabench.envs.variables import Bools, Floats

REGULARISER = 1e-5
"""Regularisation of the baseline's least squares, as in rllab."""


def discounted(rewards: Floats, discount: float, tail: Floats | None = None) -> Floats:
    """G_t = r_t + γ G_{t+1}, with G_H = tail (T, E), 0 if not given: (T, E, H) -> (T, E, H)."""
    out = np.empty_like(rewards)
    following = np.zeros(rewards.shape[:2]) if tail is None else tail
    for t in reversed(range(rewards.shape[2])):
        following = rewards[:, :, t] + discount * following
        out[:, :, t] = following
    return out


def baseline_features(observations: Floats) -> Floats:
    """[o, o², t, t², t³, 1] with o clipped to ±10 and t in hundreds of steps: (T, E, H, O) -> (T, E, H, 2·O + 4).

    Duan et al. 2016, "Benchmarking Deep Reinforcement Learning for Continuous Control", supplement.
    """
    o = observations.clip(-10.0, 10.0)
    time = np.arange(o.shape[2])[:, None] / 100.0
    clock = np.concatenate([time, time**2, time**3, np.ones_like(time)], -1)
    return np.concatenate([o, o**2, np.broadcast_to(clock, (*o.shape[:2], *clock.shape))], -1)


def fit(features: Floats, returns: Floats, valid: Bools) -> Floats:
    """Least squares of each task's returns on its features: (T, F). A singular task gets more regularisation."""
    tasks, width = features.shape[0], features.shape[-1]
    x = (features * valid[..., None]).reshape(tasks, -1, width)
    gram = x.transpose(0, 2, 1) @ x
    moment = (x.transpose(0, 2, 1) @ returns.reshape(tasks, -1, 1))[..., 0]
    regulariser = REGULARISER
    for _ in range(5):
        weights = np.linalg.solve(gram + regulariser * np.eye(width), moment[..., None])[..., 0]
        if np.isfinite(weights).all():
            break
        regulariser *= 10
    return np.asarray(weights)


def advantages(rewards: Floats, values: Floats, valid: Bools, tail: Floats, discount: float, trace: float) -> Floats:
    """Generalised advantage estimates, Σ (γλ)^l δ_{t+l} with δ_t = r_t + γ V_{t+1} − V_t: (T, E, H).

    Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation", equation 16.

    Args:
        rewards: 0 where not valid.
        values: V of the observation before each step.
        tail: (T, E), what the steps after the last valid one are worth.
        discount: γ.
        trace: λ.
    """
    nothing = np.zeros((*rewards.shape[:2], 1))
    following = np.concatenate([values[:, :, 1:], nothing], 2)
    last = valid & ~np.concatenate([valid[:, :, 1:], nothing.astype(bool)], 2)
    following = np.where(last, tail[..., None], following)
    delta = np.where(valid, rewards + discount * following - values, 0.0)
    return discounted(delta, discount * trace)


def normalised(x: Floats, valid: Bools) -> Floats:
    """Mean 0 and deviation 1 over the valid steps of each task; 0 elsewhere."""
    count = valid.sum((1, 2), keepdims=True)
    mean = np.where(valid, x, 0.0).sum((1, 2), keepdims=True) / count
    centred = np.where(valid, x - mean, 0.0)
    deviation = np.sqrt((centred**2).sum((1, 2), keepdims=True) / count)
    return np.asarray(centred / (deviation + 1e-8))
