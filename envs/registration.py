"""The environments as Gymnasium knows them: one at a time, or as a vector environment on the batched simulation.

env = gymnasium.make("metabench/CheetahVel-v0")
env.unwrapped.set_task(env.unwrapped.sample_tasks(1, seed=0)[0])
envs = gymnasium.make_vec("metabench/CheetahVel-v0", num_envs=400)          # no subprocess
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from envs.simulator import Simulator
from envs.spec import Spec
from envs.tasks import split
from envs.variables import Bools, Floats

Task = Mapping[str, ArrayLike]
SEEDS = 2**31


def gymnasium_id(name: str) -> str:
    """ "cheetah-vel" -> "metabench/CheetahVel-v0"."""
    return f"metabench/{''.join(part.capitalize() for part in name.split('-'))}-v0"


def register_all(names: Iterable[str]) -> None:
    """Make environments known to Gymnasium by their names in `ENVIRONMENTS`."""
    for name in names:
        gymnasium.register(
            gymnasium_id(name),
            entry_point="envs.registration:MetaEnv",
            vector_entry_point="envs.registration:MetaVectorEnv",
            kwargs={"environment": name},
        )


def spec_of(environment: str | Spec) -> Spec:
    """The variant of that name."""
    from envs import ENVIRONMENTS

    return ENVIRONMENTS[environment] if isinstance(environment, str) else environment


def spaces(spec: Spec) -> tuple[Space[Floats], Space[Floats]]:
    """Observation and action space of one environment, float64."""
    observation = Box(-np.inf, np.inf, (spec.observation_size,), np.float64)
    return observation, Box(-spec.action_scale, spec.action_scale, (spec.action_size,), np.float64)


class MetaEnv(gymnasium.Env[Floats, Floats]):
    """One environment of a distribution of tasks.

    Args:
        environment: name of a variant, or a variant.
        task: one task, ``{"velocity": 1.5}``; task 0 of seed 0 if None.
        threads: of the simulation; one simulation uses one.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - declared so by Gymnasium

    def __init__(self, environment: str | Spec, task: Task | None = None, threads: int = 1) -> None:
        self.meta = spec_of(environment)
        self.threads = threads
        self.observation_space, self.action_space = spaces(self.meta)
        self.set_task(self.sample_tasks(1, seed=0)[0] if task is None else task)

    def sample_tasks(self, n: int, seed: int) -> list[dict[str, Floats]]:
        """Tasks 0..n−1 of a seed, each as `set_task` takes it."""
        return split(self.meta.tasks.sample(n, seed))

    def set_task(self, task: Task) -> None:
        """Change the task. The environment must be reset before its next step."""
        self.simulator = Simulator(self.meta, self.meta.tasks.join([task]), 1, self.threads)

    @property
    def task(self) -> dict[str, Floats]:
        """The present task."""
        return split(self.simulator.tasks)[0]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Floats, dict[str, Any]]:
        """Start an episode of the present task; `options` may hold a new "task"."""
        super().reset(seed=seed)
        if options and "task" in options:
            self.set_task(options["task"])
        return self.simulator.reset(int(self.np_random.integers(SEEDS)))[0, 0], {}

    def step(self, action: ArrayLike) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        """One step; info["diverged"] says that the simulation failed, which truncates the episode."""
        step = self.simulator.step(np.asarray(action)[None, None])
        info = {"diverged": bool(step.info["diverged"])}
        ends = (bool(step.terminated[0, 0]), bool(step.truncated[0, 0]))
        return step.observations[0, 0], float(step.rewards[0, 0]), *ends, info


class MetaVectorEnv(VectorEnv[Floats, Floats, NDArray[Any]]):
    """Many environments of a distribution of tasks, simulated together.

    Sub-environment i works on task i // (num_envs / T). One that has ended stays as it is, with reward 0, until it is
    reset through ``options={"reset_mask": mask}`` (autoreset is disabled); its flags are set in its last step alone.

    Args:
        num_envs: a multiple of T.
        environment: name of a variant, or a variant.
        tasks: T tasks, each as in `MetaEnv`; tasks 0..num_envs−1 of seed 0 if None.
        threads: of the simulation; 0 means one a core.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012

    def __init__(
        self, num_envs: int, environment: str | Spec, tasks: Sequence[Task] | None = None, threads: int = 0
    ) -> None:
        self.meta = spec_of(environment)
        self.num_envs = num_envs
        self.threads = threads
        self.single_observation_space, self.single_action_space = spaces(self.meta)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.set_tasks(self.sample_tasks(num_envs, seed=0) if tasks is None else tasks)

    def sample_tasks(self, n: int, seed: int) -> list[dict[str, Floats]]:
        """Tasks 0..n−1 of a seed, as `set_tasks` takes them."""
        return split(self.meta.tasks.sample(n, seed))

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Change the tasks, each being given to num_envs / T sub-environments. All must be reset before a step."""
        if not len(tasks) or self.num_envs % len(tasks):
            raise ValueError(f"{self.num_envs} environments cannot be shared evenly among {len(tasks)} tasks")
        joined = self.meta.tasks.join(tasks)
        self.simulator = Simulator(self.meta, joined, self.num_envs // len(tasks), self.threads)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Start the sub-environments in options["reset_mask"] (num_envs,), or all.

        Raises:
            ValueError: a seed a sub-environment; give one, from which all starts follow.
        """
        if seed is not None and not isinstance(seed, int | np.integer):
            raise ValueError("give one seed: the starts of all sub-environments follow from it")
        super().reset(seed=seed)
        mask = (options or {}).get("reset_mask")
        observations = self.simulator.reset(int(self.np_random.integers(SEEDS)), mask)
        return self._flat(observations), {}

    def step(self, actions: ArrayLike) -> tuple[Floats, Floats, Bools, Bools, dict[str, Any]]:
        """One step of each sub-environment that has not ended; info counts steps, ends and divergences."""
        given = np.asarray(actions, dtype=np.float64)
        step = self.simulator.step(given.reshape(*self.simulator.shape, -1))
        ends = (step.terminated.ravel(), step.truncated.ravel())
        return self._flat(step.observations), step.rewards.ravel(), *ends, dict(step.info)

    def _flat(self, observations: Floats) -> Floats:
        return observations.reshape(self.num_envs, -1)
