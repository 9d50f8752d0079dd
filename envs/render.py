"""Episodes of a robot as pictures, drawn without a display by MuJoCo's own renderer.

A picture is of what was scored: the episodes are rolled out as ever, and one is then replayed under the actions that
it took. Needs a headless OpenGL: EGL, or OSMesa's software renderer.
"""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from algorithms.learner import Learner, partway
from algorithms.network import Params
from envs.robots.physics import Physics
from envs.suite import Control, Tasks

Picture = NDArray[np.uint8]
BACK_ENDS = ("egl", "osmesa", "glfw")
PROBE = """
import importlib, os, sys, warnings
try:
    kind = importlib.import_module("mujoco." + sys.argv[1]).GLContext
    warnings.simplefilter("error")  # glfw goes on without a window
    kind(8, 8).make_current()
except Exception as error:
    print(error, flush=True)
    os._exit(1)
"""

DISTANCE = 3.5
"""Of the camera, m."""


class CannotDraw(RuntimeError):
    """There is nothing to draw with, or nothing that could be drawn."""


@functools.cache
def context_kind() -> Any:
    """A class of OpenGL contexts that works here: what MUJOCO_GL names, else EGL, else OSMesa.

    Each is tried in a process of its own, since a failure would leave this one unable to try the other.
    """
    named = os.environ.get("MUJOCO_GL", "").strip().lower()
    if named and named not in BACK_ENDS:
        raise CannotDraw(f"MUJOCO_GL is {named!r}; to draw, set it to egl, osmesa or glfw, or to nothing")
    tried = []
    for name in [named] if named else ["egl", "osmesa"]:
        settings = {k: v for k, v in os.environ.items() if k != "PYOPENGL_PLATFORM"} | {"MUJOCO_GL": name}
        done = subprocess.run([sys.executable, "-c", PROBE, name], env=settings, capture_output=True, text=True)
        if done.returncode == 0:
            os.environ.pop("PYOPENGL_PLATFORM", None)
            return importlib.import_module(f"mujoco.{name}").GLContext
        tried.append(f"{name}: {((done.stdout or done.stderr).strip().splitlines() or ['no answer'])[-1]}")
    raise CannotDraw(
        "no headless OpenGL to draw with; install one (Debian: apt-get install libegl1, or libosmesa6), "
        f"or name another in MUJOCO_GL. Tried {'; '.join(tried)}"
    )


class Camera:
    """Follows a robot from the side.

    Args:
        model: of the robot; pictures are of this one, or of one that looks the same.
        width, height: of the pictures.

    Raises:
        CannotDraw: there is no headless OpenGL.
    """

    def __init__(self, model: mujoco.MjModel, width: int, height: int) -> None:
        self._context = context_kind()(width, height)
        self._context.make_current()
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        self._drawer = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._drawer)
        self._options, self._frame = mujoco.MjvOption(), mujoco.MjrRect(0, 0, width, height)
        self._view = mujoco.MjvCamera()
        self._view.type = mujoco.mjtCamera.mjCAMERA_TRACKING
        self._view.trackbodyid = 1
        self._view.distance, self._view.azimuth, self._view.elevation = DISTANCE, 90, -15

    def shoot(self, model: mujoco.MjModel, data: mujoco.MjData) -> Picture:
        """The robot as it is: (height, width, 3)."""
        picture = np.empty((self._frame.height, self._frame.width, 3), np.uint8)
        every = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(model, data, self._options, None, self._view, every, self._scene)
        mujoco.mjr_render(self._frame, self._scene, self._drawer)
        mujoco.mjr_readPixels(picture, None, self._frame, self._drawer)
        return picture[::-1]

    def close(self) -> None:
        """Give the context back."""
        self._drawer.free()
        self._context.free()


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
    simulator = suite.simulator(tasks, 0)
    if not isinstance(simulator.world, Physics):
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
    simulator = suite.simulator(tasks, update)
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
