"""Episodes of a robot as pictures, drawn without a display by MuJoCo's own renderer.

A picture is of what was scored: the episodes are rolled out as ever, and one is then replayed under the actions that
it took. Needs a headless OpenGL: EGL, or OSMesa's software renderer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from metabench.algorithms.learner import Learner, partway
from metabench.algorithms.network import Params
from metabench.envs.camera import Camera, Picture
from metabench.envs.opengl import CannotDraw
from metabench.envs.robots.physics import Physics
from metabench.envs.simulator import Simulator
from metabench.envs.suite import Control, Tasks


@dataclass(frozen=True)
class Film:
    """One episode: the first picture is before its first step.

    pictures: every so many steps. returns: the sum of rewards up to each picture. score: mean return of all episodes
    of the task. ended: whether it fell or arrived before the horizon.
    """

    updates: int
    pictures: list[Picture]
    returns: list[float]
    score: float
    ended: bool


def films(
    suite: Control, tasks: Tasks, learner: Learner, updates: list[int], every: int, size: tuple[int, int]
) -> Iterator[Film]:
    """The episode of median return after each of these numbers of updates, on one task.

    Args:
        tasks: one. updates: ascending. every: steps a picture. size: width and height.

    Raises:
        CannotDraw: the environment has no robot, or there is no headless OpenGL.
    """
    simulator = suite.episodes(tasks, 0)
    if not isinstance(simulator, Simulator) or not isinstance(simulator.world, Physics):
        raise CannotDraw("this environment has no robot to film")
    simulator.reset()
    camera = Camera(simulator.world.snapshot(0, 0)[0], *size)
    try:
        for update, fast in adapted(suite, tasks, learner, updates[-1]):
            if update in updates:
                yield _film(suite, tasks, learner, fast, update, every, camera)
    finally:
        camera.close()


def adapted(suite: Control, tasks: Tasks, learner: Learner, updates: int) -> Iterator[tuple[int, Params]]:
    """(k, φ_k) for k = 0 … K on these tasks."""
    fast = learner.begin()
    for update in range(updates + 1):
        yield update, fast
        if update < updates:
            support = learner.encode(suite.support(tasks, learner, fast, update))
            fast = partway(fast, learner.update(fast, support), suite.later_rate if update else 1.0)


def _film(
    suite: Control, tasks: Tasks, learner: Learner, fast: Params, update: int, every: int, camera: Camera
) -> Film:
    score = float(suite.scorer(tasks, learner)(fast, update)[0])
    rolled = tasks.last[update]
    chosen = int(np.argsort(rolled.returns[0], kind="stable")[tasks.rollouts // 2])
    steps = int(rolled.valid[0, chosen].sum())
    so_far = np.concatenate([[0.0], np.cumsum(rolled.rewards[0, chosen, :steps])])
    simulator = suite.episodes(tasks, update)
    assert isinstance(simulator, Simulator)
    world = simulator.world
    assert isinstance(world, Physics)
    simulator.reset()
    pictures, returns = [], []
    for t in range(steps):
        if t % every == 0:
            pictures.append(camera.shoot(*world.snapshot(0, chosen)))
            returns.append(float(so_far[t]))
        simulator.step(rolled.actions[:, :, t])
    if not rolled.diverged[0, chosen]:
        pictures.append(camera.shoot(*world.snapshot(0, chosen)))
        returns.append(float(so_far[steps]))
    return Film(update, pictures, returns, score, ended=steps < suite.spec.horizon)
