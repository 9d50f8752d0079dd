"""The control suite: an environment's tasks behind the interface that both worlds share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from metabench.algorithms.learner import Batch, Learner
from metabench.algorithms.network import Params
from metabench.envs.environment import Environment, Episodes
from metabench.envs.environment import Tasks as Variables
from metabench.envs.rollouts import Rollouts, normalised_advantages, roll_out


@dataclass(frozen=True)
class Tasks:
    """T tasks of a split, and what was rolled out on them last.

    A rollout depends on the task's index, the number of updates before it and the policy alone. The last is kept, so
    that the episodes that score φ_k are also the support of update k + 1.
    """

    indices: tuple[int, ...]
    seed: int
    rollouts: int
    """E, episodes of each between updates, and for a score."""
    variables: Variables
    last: dict[int, Rollouts] = field(default_factory=dict)
    """Number of updates -> the latest rollouts; at most one entry."""
    returns: dict[int, float] = field(default_factory=dict)
    """Number of updates -> mean return of the policy after them."""
    diverged: list[int] = field(default_factory=list)
    """How many rollouts' simulations failed, each time."""

    def __len__(self) -> int:
        return len(self.indices)


class Control:
    """Task distributions of control: every update sees fresh rollouts of the policy in hand.

    Args:
        spec: the environment.
        rollouts: E, episodes of each task between updates, and for a score.
        seeds: split -> seed of its tasks, starts and action noise.
        test_rollouts: E at validation and test, if another.
        discount: γ.
        trace: λ of the advantage estimates.
        later_rate: see `algorithms.suite.Suite`.
        ratio: supports carry the log-probability of each action when it was drawn, so that the inner objective is the
            likelihood ratio's (ProMP).
        sees_task: the task's variables are part of the observation (the oracle).
        threads: of the simulation; 0 means one a core. Results do not depend on it.
        device: where the batches are put.
    """

    interactive = True
    score_name = "return"

    def __init__(
        self,
        spec: Environment,
        rollouts: int,
        seeds: Mapping[str, int],
        *,
        test_rollouts: int = 0,
        discount: float = 0.99,
        trace: float = 1.0,
        later_rate: float = 1.0,
        ratio: bool = False,
        sees_task: bool = False,
        threads: int = 0,
        device: torch.device | None = None,
    ) -> None:
        self.spec, self.seeds = spec, dict(seeds)
        self.rollouts, self.test_rollouts = rollouts, test_rollouts or rollouts
        self.discount, self.trace, self.later_rate = discount, trace, later_rate
        self.ratio, self.sees_task = ratio, sees_task
        self.threads = threads
        self.device = device or torch.device("cpu")

    @property
    def observation_size(self) -> int:
        """O, with the task where the policy sees it."""
        size = self.spec.observation_size
        return size + (self.spec.tasks.flat(self.spec.tasks.at([0], 0)).shape[1] if self.sees_task else 0)

    def tasks(self, indices: Iterable[int], split: str) -> Tasks:
        """The tasks with these indices; a task depends on its index and the split's seed alone."""
        chosen = tuple(indices)
        seed, rollouts = self.seeds[split], self.rollouts if split == "train" else self.test_rollouts
        return Tasks(chosen, seed, rollouts, self.spec.tasks.at(chosen, seed))

    def support(self, tasks: Tasks, learner: Learner, fast: Params, update: int) -> Batch:
        """Fresh episodes under the policy φ_update, each step weighted by its advantage."""
        batch = self._batch(self._rolled(tasks, learner, fast, update))
        return batch if self.ratio else batch._replace(old=None)

    def query(self, tasks: Tasks, learner: Learner, fast: Params, update: int) -> Batch:
        """The same of the adapted policy; always with the log-probability of each action when it was drawn."""
        return self._batch(self._rolled(tasks, learner, fast, update))

    def draws(self, tasks: Tasks) -> Sequence[torch.Generator]:
        """None: no rule of control draws, and the policy's noise is of the rollouts."""
        return ()

    def scorer(self, tasks: Tasks, learner: Learner) -> Callable[[Params, int], Tensor]:
        """Mean undiscounted return of each task, (T,)."""
        return lambda fast, update: torch.as_tensor(self._rolled(tasks, learner, fast, update).returns.mean(1))

    def metrics(self, tasks: Tasks) -> dict[str, float]:
        """What collecting on these tasks showed: mean return before and after adaptation, failed simulations."""
        updates = sorted(tasks.returns)
        shown = {"return_before": tasks.returns[updates[0]], "return": tasks.returns[updates[-1]]}
        return shown | ({"diverged": float(sum(tasks.diverged))} if any(tasks.diverged) else {})

    def _rolled(self, tasks: Tasks, learner: Learner, fast: Params, update: int) -> Rollouts:
        if update not in tasks.last:
            rollouts = self.roll(tasks, learner, fast, update)
            tasks.last.clear()
            tasks.last[update] = rollouts
            tasks.returns[update] = float(rollouts.returns.mean())
            tasks.diverged.append(int(rollouts.diverged.sum()))
        return tasks.last[update]

    def roll(self, tasks: Tasks, learner: Learner, fast: Params, update: int) -> Rollouts:
        """Episodes of the policy φ_update on the tasks."""
        shape = (tasks.rollouts, self.spec.horizon, self.spec.action_size)
        noise = [np.random.default_rng((tasks.seed, update, i)).standard_normal(shape) for i in tasks.indices]
        hint = self.spec.tasks.flat(tasks.variables) if self.sees_task else None
        return roll_out(self.episodes(tasks, update), learner, fast, np.stack(noise), hint)

    def episodes(self, tasks: Tasks, update: int) -> Episodes:
        """Those episodes, not yet started."""
        starts = int(np.random.SeedSequence((tasks.seed, update)).generate_state(1)[0])
        return self.spec.episodes(tasks.variables, tasks.rollouts, self.threads, starts, tasks.indices)

    def _batch(self, rollouts: Rollouts) -> Batch:
        """(T, E, H, ...) -> (T, N, ...) with N = E · H."""

        def flat(x: np.ndarray) -> Tensor:
            return torch.as_tensor(x.reshape(x.shape[0], -1, *x.shape[3:]), dtype=torch.float32, device=self.device)

        weights = normalised_advantages(rollouts, self.discount, self.trace)
        x, y = flat(rollouts.observations), flat(rollouts.actions)
        return Batch(x, y, flat(weights), valid=flat(rollouts.valid), old=flat(rollouts.log_probs))
