"""A policy let loose on its tasks: E episodes of each, all stepped together."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from metabench.algorithms.learner import Learner
from metabench.algorithms.network import Params
from metabench.algorithms.outer.gradient import Diverged
from metabench.envs.advantages import advantages, baseline_features, discounted, fit, normalised
from metabench.envs.environment import Episodes
from metabench.envs.variables import Bools, Floats

LOG_2PI = math.log(2 * math.pi)


class Rollouts(NamedTuple):
    """T × E episodes of up to H steps; what follows an episode's end is zero and not valid.

    observations: (T, E, H, O), before each step. actions: (T, E, H, A), as the policy gave them. rewards, log_probs,
    valid: (T, E, H), the log-probability of each action when it was drawn, and whether the step was taken.
    diverged: (T, E), whose simulation failed; its last step counts, with reward 0.
    """

    observations: Floats
    actions: Floats
    rewards: Floats
    log_probs: Floats
    valid: Bools
    diverged: Bools

    @property
    def returns(self) -> Floats:
        """Undiscounted return of each episode, (T, E)."""
        return np.asarray(self.rewards.sum(-1))


def roll_out(episodes: Episodes, learner: Learner, fast: Params, noise: Floats, hint: Floats | None = None) -> Rollouts:
    """One episode of every rollout, its actions mean + deviation · noise.

    Args:
        episodes: T tasks × E rollouts; are started first.
        fast: the policy φ, one for all tasks or one a task, on any device.
        noise: standard normal, (T, E, H, A): a step's action depends on its own number alone.
        hint: (T, C), appended to every observation: the task, for a policy that may see it.

    Raises:
        Diverged: the policy's actions are not finite.
    """
    seen = [] if hint is None else [np.broadcast_to(hint[:, None], (*episodes.shape, hint.shape[1]))]
    (tasks, rollouts), horizon = episodes.shape, noise.shape[2]
    actions, rewards = np.zeros_like(noise), np.zeros((tasks, rollouts, horizon))
    log_probs, valid = np.zeros_like(rewards), np.zeros(rewards.shape, bool)
    before = episodes.diverged.copy()
    with one_thread():
        now = episodes.reset()
        width = now.shape[-1] + (0 if hint is None else hint.shape[1])
        observations = np.zeros((tasks, rollouts, horizon, width))
        for t in range(horizon):
            running = episodes.running
            valid[:, :, t] = running
            observations[:, :, t] = np.concatenate([now, *seen], -1)
            mean, log_std = act(learner, fast, observations[:, :, t])
            with np.errstate(over="ignore"):  # told below
                actions[:, :, t] = mean + np.exp(log_std) * noise[:, :, t]
            log_probs[:, :, t] = -(0.5 * noise[:, :, t] ** 2 + log_std + 0.5 * LOG_2PI).sum(-1)
            if not np.isfinite(actions[:, :, t][running]).all():
                raise Diverged("a policy's actions are not finite")
            step = episodes.step(actions[:, :, t])
            rewards[:, :, t], now = step.rewards, step.observations
            if not episodes.running.any():
                break
    for x in (observations, actions):
        x *= valid[..., None]
    return Rollouts(observations, actions, rewards, log_probs * valid, valid, episodes.diverged > before)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Torch alone in its thread: OpenMP's others would spin between two actions, on the cores that simulate.

    With two cores the closed loop takes 0.75 of the time.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def act(learner: Learner, fast: Params, observations: Floats) -> tuple[Floats, Floats]:
    """Means and log standard deviations, each (T, E, A), for observations (T, E, O)."""
    weight = fast["head.weight"]
    x = torch.as_tensor(observations, dtype=weight.dtype, device=weight.device)
    with torch.no_grad():
        outputs = learner.predict(fast, x).double().cpu().numpy()
    mean, log_std = np.split(outputs, 2, -1)
    return mean, log_std


def normalised_advantages(rollouts: Rollouts, discount: float, trace: float) -> Floats:
    """Normalised advantages (T, E, H) against each task's own linear baseline.

    The baseline is fitted to the returns that were seen. What a diverged rollout would still have earned is not among
    them; in its advantages the value of its last good observation stands for it.
    """
    features = baseline_features(rollouts.observations)
    weights = fit(features, discounted(rollouts.rewards, discount), rollouts.valid)
    values = np.einsum("tehf,tf->teh", features, weights)
    tail = np.where(rollouts.diverged, np.take_along_axis(values, _last_step(rollouts.valid), 2)[..., 0], 0.0)
    return normalised(advantages(rollouts.rewards, values, rollouts.valid, tail, discount, trace), rollouts.valid)


def _last_step(valid: Bools) -> np.ndarray:
    """Index of the last valid step of each rollout, (T, E, 1)."""
    return np.asarray(valid.sum(-1, keepdims=True) - 1)
