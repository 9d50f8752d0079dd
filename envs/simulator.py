"""All rollouts of all tasks, stepped together: the loop between a policy and an environment.

    simulator = Simulator(ENVIRONMENTS["cheetah-vel"], tasks, rollouts=20)
    observations = simulator.reset()                         # (T, E, O)
    while simulator.running.any():
        alive = simulator.running.copy()                     # (T, E): whose step counts
        step = simulator.step(policy(observations))          # actions (T, E, A)
        observations = step.observations

A rollout ends by terminating (it fell, or arrived: nothing follows), by reaching the horizon (truncated), or by
diverging numerically. The last counts as truncated, since a fault of the simulator is no part of the task: its reward
is 0 and its observation the last good one, which a return can be bootstrapped from. A rollout that has ended stays as
it is, is no longer simulated, and gives reward 0, until it is reset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from metabench.envs.environment import Step as Step
from metabench.envs.variables import Floats

if TYPE_CHECKING:
    from metabench.envs.spec import Spec


class Simulator:
    """E rollouts of each of T tasks. Everything inside is float64.

    Args:
        spec: the environment variant.
        tasks: of its distribution; arrays (T, ...).
        rollouts: E, of each task.
        threads: 0 means one a core. Results do not depend on it.
        seed: of the start states.
        indices: what names each task in the seeding of its starts, (T,); 0..T−1 by default. A process that simulates
            a shard of the tasks passes their places in the whole.

    Raises:
        TaskError: the tasks are not of this environment.
        ValueError: no rollouts.
    """

    def __init__(
        self,
        spec: Spec,
        tasks: Mapping[str, ArrayLike],
        rollouts: int,
        threads: int = 0,
        seed: int = 0,
        indices: Sequence[int] | None = None,
    ) -> None:
        if rollouts < 1:
            raise ValueError(f"rollouts is {rollouts}; each task needs at least one")
        self.spec = spec
        self.tasks = spec.tasks.check(tasks)
        count = len(next(iter(self.tasks.values())))
        self.shape = (count, rollouts)
        self.indices = list(range(count)) if indices is None else list(indices)
        if len(self.indices) != count:
            raise ValueError(f"{len(self.indices)} indices for {count} tasks")
        self.seed = seed
        self.episode = 0
        self.running = np.zeros(self.shape, bool)
        """Which rollouts have not ended, (T, E)."""
        self.diverged = np.zeros(self.shape, np.int64)
        """How often each rollout has diverged since the simulator was made, (T, E)."""
        self.world = spec.world(self.tasks, rollouts, threads)
        self._task = {name: values[:, None] for name, values in self.tasks.items()}
        self._steps = np.zeros(self.shape, np.int64)
        self._last = np.zeros((*self.shape, spec.observation_size))

    def reset(self, seed: int | None = None, mask: ArrayLike | None = None) -> Floats:
        """Start the rollouts in mask (T, E; all by default) afresh; returns all observations (T, E, O).

        A start depends on (seed, task's index, rollout, number of resets since the seed was given) and nothing else.

        Args:
            seed: a new seed, from which resets are counted again.
            mask: which rollouts to reset.
        """
        if seed is not None:
            self.seed, self.episode = seed, 0
        chosen = np.ones(self.shape, bool) if mask is None else np.asarray(mask, bool).reshape(self.shape)
        streams = [(self.seed, self.episode, i) for i in self.indices]
        generators = [(np.random.default_rng((*s, 0)), np.random.default_rng((*s, 1))) for s in streams]
        self.world.reset(chosen, self.spec.start(generators, self.shape[1]))
        self.episode += 1
        self.running = self.running | chosen
        self._steps[chosen] = 0
        self._last = np.where(chosen[..., None], self.spec.observe(self.world.state), self._last)
        return self._last.copy()

    def step(self, actions: ArrayLike) -> Step:
        """One step of every rollout that runs.

        Args:
            actions: (T, E, A). Those of rollouts that have ended are ignored.

        Raises:
            RuntimeError: every rollout has ended, or none was started.
            ValueError: actions of another shape, or not finite where a rollout runs.
        """
        control = self._control(actions)
        spec, state, running = self.spec, self.world.state, self.running
        before = spec.position(state).copy()
        failed = self.world.advance(control, running)
        with np.errstate(invalid="ignore", over="ignore"):
            observations = spec.observe(state)
            rewards = spec.reward(before, state, control, self._task)
            terminated = spec.terminated(state, self._task)
        failed |= ~(np.isfinite(observations).all(-1) & np.isfinite(rewards))
        failed &= running
        self._steps += running
        terminated = np.zeros(self.shape, bool) if terminated is None else terminated & running & ~failed
        valid = running & ~failed
        at_horizon = valid & (self._steps >= spec.horizon)
        if not valid.all():
            rewards = np.where(valid, rewards, 0.0)
            observations = np.where(valid[..., None], observations, self._last)
            self.diverged += failed
        truncated = at_horizon | failed
        self.running = running & ~(terminated | truncated)
        self._last = observations
        info = {
            "steps": int(running.sum()),
            "terminated": int(terminated.sum()),
            "truncated": int(at_horizon.sum()),
            "diverged": int(failed.sum()),
        }
        return Step(observations.copy(), rewards, terminated, truncated, info)

    def _control(self, actions: ArrayLike) -> Floats:
        """Actions (T, E, A) as controls in [−1, 1]."""
        if not self.running.any():
            raise RuntimeError("every rollout has ended: call reset() before step()")
        given = np.asarray(actions, dtype=np.float64)
        expected = (*self.shape, self.spec.action_size)
        if given.shape != expected:
            raise ValueError(f"actions have shape {given.shape}; {expected} is needed")
        if not np.isfinite(given).all():
            bad = np.asarray(~np.isfinite(given).all(axis=-1, keepdims=True))
            if len(places := np.argwhere(bad[..., 0] & self.running)):
                task, rollout = places[0]
                raise ValueError(f"the action of task {task}, rollout {rollout} is not finite: {given[task, rollout]}")
            given = np.where(bad, 0.0, given)
        return np.clip(given / self.spec.action_scale, -1.0, 1.0)
