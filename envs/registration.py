"""The environments as Gymnasium knows them: one at a time, or as a vector environment on the batched simulation.

env = gymnasium.make("metabench/CheetahVel-v0", render_mode="rgb_array")
env.unwrapped.set_task(env.unwrapped.sample_tasks(1, seed=0)[0])
envs = gymnasium.make_vec("metabench/CheetahVel-v0", num_envs=400)          # no subprocess
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from metabench.envs.camera import Photographer, Picture
from metabench.envs.robots.locomotion import Locomotion
from metabench.envs.simulator import Simulator
from metabench.envs.spec import Spec
from metabench.envs.tasks import split
from metabench.envs.variables import Bools, Floats

Task = Mapping[str, ArrayLike]
SEEDS = 2**31
ENDLESS = 2**62
METADATA: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 20}


def gymnasium_id(name: str) -> str:
    """ "cheetah-vel" -> "metabench/CheetahVel-v0"."""
    return f"metabench/{''.join(part.capitalize() for part in name.split('-'))}-v0"


def register_all(environments: Mapping[str, Spec]) -> None:
    """Make environments known to Gymnasium by their names in `ENVIRONMENTS`."""
    for name, spec in environments.items():
        gymnasium.register(
            gymnasium_id(name),
            max_episode_steps=spec.horizon,
            entry_point="metabench.envs.registration:MetaEnv",
            vector_entry_point="metabench.envs.registration:MetaVectorEnv",
            kwargs={"environment": name},
        )


def spec_of(environment: str | Spec) -> Spec:
    """The variant of that name."""
    from metabench.envs import ENVIRONMENTS

    spec = ENVIRONMENTS[environment] if isinstance(environment, str) else environment
    assert isinstance(spec, Spec), "an environment of one's own is Gymnasium's already"
    return spec


def limited(spec: Spec, steps: int | None) -> Spec:
    """The variant with another horizon; with its own for None, with none for −1, as `gymnasium.make` has it."""
    return spec if steps is None else dataclasses.replace(spec, horizon=ENDLESS if steps == -1 else steps)


def spaces(spec: Spec) -> tuple[Space[Floats], Space[Floats]]:
    """Observation and action space of one environment, float64."""
    observation = Box(-np.inf, np.inf, (spec.observation_size,), np.float64)
    return observation, Box(-spec.action_scale, spec.action_scale, (spec.action_size,), np.float64)


def checked_mode(render_mode: str | None) -> str | None:
    """The mode, if there is such a one."""
    if render_mode not in (None, *METADATA["render_modes"]):
        raise ValueError(f"render_mode is {render_mode!r}; give 'rgb_array' or None")
    return render_mode


def pace(spec: Spec) -> int:
    """Pictures a second that show it as fast as it is; a point on the plane has no clock."""
    return round(1 / spec.dt) if isinstance(spec, Locomotion) else int(METADATA["render_fps"])


class MetaEnv(gymnasium.Env[Floats, Floats]):
    """One environment of a distribution of tasks. Its horizon is the `TimeLimit` that `gymnasium.make` puts around it.

    It can be copied and pickled; the copy goes on as the original does.

    Args:
        environment: name of a variant, or a variant.
        task: one task, ``{"velocity": 1.5}``; task 0 of seed 0 if None.
        threads: of the simulation; one simulation uses one.
        render_mode: "rgb_array" for `render` to give pictures, or None.

    Raises:
        ValueError: another render_mode.
    """

    metadata: dict[str, Any] = METADATA

    def __init__(
        self, environment: str | Spec, task: Task | None = None, threads: int = 1, render_mode: str | None = None
    ) -> None:
        self.meta = spec_of(environment)
        self.threads = threads
        self.render_mode = checked_mode(render_mode)
        self.metadata = METADATA | {"render_fps": pace(self.meta)}
        self._photographer = Photographer()
        self.observation_space, self.action_space = spaces(self.meta)
        self.set_task(self.sample_tasks(1, seed=0)[0] if task is None else task)

    def sample_tasks(self, n: int, seed: int) -> list[dict[str, Floats]]:
        """Tasks 0..n−1 of a seed, each as `set_task` takes it."""
        return split(self.meta.tasks.sample(n, seed))

    def set_task(self, task: Task) -> None:
        """Change the task. The environment must be reset before its next step."""
        self.simulator = Simulator(limited(self.meta, -1), self.meta.tasks.join([task]), 1, self.threads)

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

    def render(self) -> Picture | None:
        """The present state, (480, 480, 3); None without a render mode.

        Raises:
            CannotDraw: there is no headless OpenGL.
        """
        return self._photographer.shoot(self.simulator)[0] if self.render_mode else None

    def close(self) -> None:
        """Give the camera back."""
        self._photographer.close()


class MetaVectorEnv(VectorEnv[Floats, Floats, NDArray[Any]]):
    """Many environments of a distribution of tasks, simulated together.

    Sub-environment i works on task i // (num_envs / T). One that has ended stays as it is, with reward 0, until it is
    reset through ``options={"reset_mask": mask}`` (autoreset is disabled); its flags are set in its last step alone.

    Args:
        num_envs: a multiple of T.
        environment: name of a variant, or a variant.
        tasks: T tasks, each as in `MetaEnv`; tasks 0..num_envs−1 of seed 0 if None.
        threads: of the simulation; 0 means one a core.
        render_mode: "rgb_array" for `render` to give pictures, or None.
        max_episode_steps: horizon; the variant's for None, none for −1.

    Raises:
        ValueError: another render_mode.
    """

    metadata: dict[str, Any] = METADATA | {"autoreset_mode": AutoresetMode.DISABLED}

    def __init__(
        self,
        num_envs: int,
        environment: str | Spec,
        tasks: Sequence[Task] | None = None,
        threads: int = 0,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
    ) -> None:
        self.meta = limited(spec_of(environment), max_episode_steps)
        self.num_envs = num_envs
        self.threads = threads
        self.render_mode = checked_mode(render_mode)
        self.metadata = type(self).metadata | {"render_fps": pace(self.meta)}
        self._photographer = Photographer()
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

    def render(self) -> tuple[Picture, ...] | None:
        """The present state of every sub-environment, each (480, 480, 3); None without a render mode.

        Raises:
            CannotDraw: there is no headless OpenGL.
        """
        return tuple(self._photographer.shoot(self.simulator)) if self.render_mode else None

    def close_extras(self, **kwargs: Any) -> None:
        """Give the camera back."""
        self._photographer.close()

    def _flat(self, observations: Floats) -> Floats:
        return observations.reshape(self.num_envs, -1)
