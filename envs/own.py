"""Any Gymnasium environment whose task can be set, as a benchmark.

    class Reach(gymnasium.Env):
        horizon = 50

        def sample_tasks(self, n):     # from self.np_random; may take a seed instead
            return [{"goal": g} for g in self.np_random.uniform(-1, 1, n)]

        def set_task(self, task):      # a reset follows
            self.goal = task["goal"]

``metabench run maml --environment module:my_package.Reach`` trains in it, as does ``run maml reach`` where
``ENVIRONMENTS["reach"] = OwnEnvironment(Reach)``. In place of the class may stand a function that makes the
environment, wrapped or not, or a function from a task to an environment.

Its rollouts step in one `gymnasium.vector.SyncVectorEnv`, one environment a rollout, one after the other: slower by far
than the batched simulation of the environments here.
"""

from __future__ import annotations

import functools
import inspect
import pickle
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import SyncVectorEnv
from numpy.typing import ArrayLike, NDArray

from metabench.algorithms.references import load
from metabench.envs.environment import Step, Tasks
from metabench.envs.variables import Floats

TASK = "task"
"""Name of the one variable that holds the tasks, whatever they are."""


class CannotUse(ValueError):
    """An environment that policies here cannot act in, or whose tasks cannot be drawn; the message says what to do."""


class OwnEnvironment:
    """An environment of one's own (see this module's docstring, and `envs.environment.Environment`).

    Args:
        make: a class or a function without arguments that gives an environment with `sample_tasks` and `set_task`; or
            a function from a task to an environment, and from None to one of any task.
        sample_task: draws a task from a generator, in place of the environment's `sample_tasks`.
        horizon: steps after which an episode is truncated; the environment's own time limit if None.
        action_scale: what of a policy's action stands for the full range of an action.
        name: in messages.

    Raises:
        CannotUse: when it is first asked for anything, if it has no horizon, if actions are no vector in a box, or
            observations no vector, or if its tasks cannot be drawn.
    """

    def __init__(
        self,
        make: Callable[..., gymnasium.Env[Any, Any]],
        *,
        sample_task: Callable[[np.random.Generator], Any] | None = None,
        horizon: int | None = None,
        action_scale: float = 1.0,
        name: str = "",
    ) -> None:
        self.name = name or getattr(make, "__name__", type(make).__name__)
        self.action_scale = action_scale
        self._make, self._sample_task, self._horizon = make, sample_task, horizon
        self._pool: list[gymnasium.Env[Any, Any]] = []

    @functools.cached_property
    def of_task(self) -> bool:
        """Whether an environment is made from its task."""
        return not inspect.isclass(self._make) and bool(inspect.signature(self._make).parameters)

    @functools.cached_property
    def first(self) -> gymnasium.Env[Any, Any]:
        """An environment, of any task."""
        made = self._made(None) if self.of_task else self._made()
        if not self.of_task and not made.has_wrapper_attr("set_task"):
            raise CannotUse(f"{self.name} has no set_task(task), and its tasks cannot vary")
        if self._sample_task is None and not made.has_wrapper_attr("sample_tasks"):
            raise CannotUse(f"{self.name} has no sample_tasks(n)")
        self._check_spaces(made)
        return made

    def _made(self, *task: Any) -> gymnasium.Env[Any, Any]:
        try:
            made = self._make(*task)
        except Exception as error:
            raise CannotUse(f"{self.name} cannot be made: {type(error).__name__}: {error}") from error
        if not isinstance(made, gymnasium.Env):
            raise CannotUse(f"{self.name} gives {type(made).__name__}, no gymnasium.Env")
        return made

    def _check_spaces(self, made: gymnasium.Env[Any, Any]) -> None:
        actions, observations = made.action_space, made.observation_space
        if not isinstance(actions, Box) or len(actions.shape) != 1:
            raise CannotUse(f"{self.name} takes {actions}; a policy here gives a vector of real numbers, a Box")
        if not isinstance(observations, Box) or len(observations.shape) != 1:
            raise CannotUse(
                f"{self.name} gives {observations}; a policy here sees a vector of numbers: "
                "wrap it in gymnasium.wrappers.FlattenObservation"
            )

    @functools.cached_property
    def horizon(self) -> int:
        """Steps after which an episode is truncated: as told, or the time limit, or an attribute `horizon`."""
        spec = self.first.spec
        found = [self._horizon, spec and spec.max_episode_steps]
        for name in ("_max_episode_steps", "horizon"):
            found += [self.first.get_wrapper_attr(name)] if self.first.has_wrapper_attr(name) else []
        steps = next((n for n in found if n is not None), None)
        if not isinstance(steps, int | np.integer) or steps < 1:
            raise CannotUse(
                f"{self.name} has no horizon: give it an attribute horizon, the number of steps of an episode, or a "
                f"gymnasium.wrappers.TimeLimit{'' if steps is None else f'; found {steps!r}'}"
            )
        return int(steps)

    @property
    def dt(self) -> float:
        """Seconds of a step where the environment has an attribute `dt`, as Gymnasium's robots do; else 0."""
        found = self.first.get_wrapper_attr("dt") if self.first.has_wrapper_attr("dt") else 0.0
        return float(found) if isinstance(found, int | float) else 0.0

    @property
    def observation_size(self) -> int:
        """O, the length of an observation."""
        return int(np.prod(self.first.observation_space.shape or ()))

    @property
    def action_size(self) -> int:
        """A, the length of an action."""
        return int(np.prod(self.first.action_space.shape or ()))

    @functools.cached_property
    def tasks(self) -> OwnTasks:
        """Its tasks, which a seed and an index must decide."""
        source = OwnTasks(self.name, self._draw)
        twice = [_bytes_of(source.at([3], 7)) for _ in range(2)]
        if twice[0] != twice[1]:
            raise CannotUse(
                f"{self.name}: sample_tasks gives another task for the same seed; "
                "draw from self.np_random, or take a seed: sample_tasks(n, seed)"
            )
        return source

    def _draw(self, seed: int, index: int) -> Any:
        rng = np.random.default_rng((seed, index))
        if self._sample_task is not None:
            return self._sample_task(rng)
        sample = self.first.get_wrapper_attr("sample_tasks")
        if "seed" in inspect.signature(sample).parameters:
            drawn = sample(1, seed=int(rng.integers(2**31)))
        else:
            self.first.unwrapped.np_random = rng
            drawn = sample(1)
        if len(drawn) != 1:
            raise CannotUse(f"{self.name}: sample_tasks(1) gives {len(drawn)} tasks")
        return drawn[0]

    def episodes(self, tasks: Tasks, rollouts: int, threads: int, seed: int, indices: Sequence[int]) -> OwnEpisodes:
        """E rollouts of each task (see `envs.environment.Environment`); threads are not used."""
        each = [task for task in tasks[TASK] for _ in range(rollouts)]
        if self.of_task:
            return OwnEpisodes(self, [self._made(task) for task in each], rollouts, seed, indices)
        while len(self._pool) < len(each):
            self._pool.append(self._made())
        for environment, task in zip(self._pool, each, strict=False):
            environment.get_wrapper_attr("set_task")(task)
        return OwnEpisodes(self, self._pool[: len(each)], rollouts, seed, indices)


class OwnTasks:
    """Tasks as their environment gives them, in an array of objects."""

    def __init__(self, name: str, draw: Callable[[int, int], Any]) -> None:
        self.name, self._draw = name, draw

    @property
    def text(self) -> str:
        """What the tasks come from."""
        return f"sample_tasks of {self.name}"

    def at(self, indices: Iterable[int], seed: int) -> Tasks:
        """The tasks of a seed with these indices; each is drawn with a generator of its own."""
        chosen = list(indices)
        tasks = np.empty(len(chosen), object)
        for t, index in enumerate(chosen):
            tasks[t] = self._draw(seed, index)
        return {TASK: tasks}

    def flat(self, tasks: Tasks) -> Floats:
        """All numbers of each task side by side, (T, C).

        Raises:
            CannotUse: a task is not made of numbers.
        """
        rows = []
        for task in tasks[TASK]:
            parts = list(task.values()) if isinstance(task, Mapping) else [task]
            try:
                rows.append(np.concatenate([np.asarray(part, np.float64).ravel() for part in parts]))
            except (TypeError, ValueError):
                raise CannotUse(f"{self.name}: no policy can see the task {task!r}, not made of numbers") from None
        return np.stack(rows)


class OwnEpisodes:
    """T × E rollouts, one environment each (see `envs.environment.Episodes`)."""

    def __init__(
        self,
        own: OwnEnvironment,
        environments: Sequence[gymnasium.Env[Any, Any]],
        rollouts: int,
        seed: int,
        indices: Sequence[int],
    ) -> None:
        self.own = own
        self.shape = (len(indices), rollouts)
        self.running = np.zeros(self.shape, bool)
        self.diverged = np.zeros(self.shape, np.int64)
        self._vector = SyncVectorEnv([functools.partial(_itself, e) for e in environments])
        self._streams = [(seed, i, e) for i in indices for e in range(rollouts)]
        self._steps = 0
        self._last = np.zeros((*self.shape, own.observation_size))
        actions = self._vector.single_action_space
        assert isinstance(actions, Box)
        self._low, self._high, self._type = actions.low, actions.high, actions.dtype

    def reset(self) -> Floats:
        """Start all; a start depends on the seed, the task's index and the rollout alone."""
        seeds: list[int | None] = [int(np.random.SeedSequence(stream).generate_state(1)[0]) for stream in self._streams]
        observations, _ = self._vector.reset(seed=seeds)
        self.running, self._steps = np.ones(self.shape, bool), 0
        self._last = self._by_task(observations)
        return self._last.copy()

    def step(self, actions: ArrayLike) -> Step:
        """One step of every rollout; what has ended gives reward 0 and its last observation.

        Raises:
            ValueError: actions of another shape.
        """
        running = self.running
        given = np.asarray(actions, np.float64)
        if given.shape != (*self.shape, self.own.action_size):
            raise ValueError(f"actions have shape {given.shape}; {(*self.shape, self.own.action_size)} is needed")
        *given_back, _ = self._vector.step(self._within(given))
        observations, rewards, terminated, truncated = map(self._by_task, given_back)
        self._steps += 1
        failed = running & ~(np.isfinite(observations).all(-1) & np.isfinite(rewards))
        valid = running & ~failed
        fell = valid & (terminated > 0)
        ended = valid & ~fell & ((truncated > 0) | (self._steps >= self.own.horizon))
        self.diverged += failed
        self._last = np.where(valid[..., None], observations, self._last)
        self.running = running & ~(fell | ended | failed)
        counts = {"steps": running, "terminated": fell, "truncated": ended, "diverged": failed}
        info = {name: int(which.sum()) for name, which in counts.items()}
        return Step(self._last.copy(), np.where(valid, rewards, 0.0), fell, ended | failed, info)

    def _within(self, given: Floats) -> NDArray[Any]:
        """Actions (T, E, A) as the environment takes them, (T · E, A); ±action_scale is its range, where it has one."""
        scaled = np.nan_to_num(given / self.own.action_scale).reshape(-1, self.own.action_size)
        low, high = self._low.astype(np.float64), self._high.astype(np.float64)
        bounded = np.isfinite(low) & np.isfinite(high)
        low, high = np.where(bounded, low, -1.0), np.where(bounded, high, 1.0)
        inside = low + (np.clip(scaled, -1, 1) + 1) / 2 * (high - low)
        return np.where(bounded, inside, scaled).astype(self._type)

    def _by_task(self, values: NDArray[Any]) -> Floats:
        """(T · E, ...) -> (T, E, ...)."""
        return np.asarray(values, np.float64).reshape(*self.shape, *values.shape[1:])


@functools.cache
def own(reference: str) -> OwnEnvironment:
    """The environment that "module:my_package.MyEnv" names, made or to be made by it.

    Raises:
        CannotLoad: it leads to nothing. CannotUse: it is no environment, nor a function.
    """
    found = load(reference)
    if isinstance(found, OwnEnvironment):
        return found
    if not inspect.isfunction(found) and not (inspect.isclass(found) and issubclass(found, gymnasium.Env)):
        raise CannotUse(f"{reference} is neither a class of environments nor a function that makes one")
    return OwnEnvironment(found)


def benchmark_name(reference: str) -> str:
    """Under which results of "module:my_package.MyEnv" are filed: my-env."""
    last = re.split(r"[.:]", reference)[-1]
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", last).replace("_", "-").lower()
    return words.strip("-")


def _itself(environment: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    return environment


def _bytes_of(tasks: Tasks) -> bytes:
    """What two equal tasks have in common; nothing where a task cannot be pickled."""
    try:
        return pickle.dumps(tasks[TASK].tolist())
    except (TypeError, AttributeError, pickle.PicklingError):
        return b""
