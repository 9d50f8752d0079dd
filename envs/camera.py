"""Pictures of a simulated state, drawn without a display: robots by MuJoCo's own renderer, points by hand.

A robot needs a headless OpenGL (`envs.opengl`): EGL, or OSMesa's software renderer.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from metabench.envs.navigation import Plane
from metabench.envs.opengl import CannotDraw, context_kind
from metabench.envs.robots.physics import Physics
from metabench.envs.simulator import Simulator
from metabench.envs.variables import Floats

Picture = NDArray[np.uint8]
DISTANCE = 3.5
"""Distance of the camera, m."""
SIZE = (480, 480)
"""Width and height of a picture, where none is asked for."""
DOT = 0.025
"""Radius of a point on the plane, as a share of the picture."""


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
        self._context.make_current()
        picture = np.empty((self._frame.height, self._frame.width, 3), np.uint8)
        every = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(model, data, self._options, None, self._view, every, self._scene)
        mujoco.mjr_render(self._frame, self._scene, self._drawer)
        mujoco.mjr_readPixels(picture, None, self._frame, self._drawer)
        return np.ascontiguousarray(picture[::-1])

    def close(self) -> None:
        """Give the context back."""
        self._drawer.free()
        self._context.free()


class Photographer:
    """Takes pictures of a simulator's rollouts; its camera is made on demand, and a copy makes its own."""

    def __init__(self) -> None:
        self._camera: Camera | None = None

    def shoot(self, simulator: Simulator) -> list[Picture]:
        """Every rollout as it is, task after task: each (height, width, 3).

        Raises:
            CannotDraw: there is no headless OpenGL, or the environment is neither a robot nor a plane.
        """
        world = simulator.world
        places = [(t, e) for t in range(simulator.shape[0]) for e in range(simulator.shape[1])]
        if isinstance(world, Plane):
            return [dots(world.state["place"][t, e], simulator.tasks["goal"][t]) for t, e in places]
        if not isinstance(world, Physics):
            raise CannotDraw("this environment has no picture")
        if self._camera is None:
            self._camera = Camera(world.snapshot(0, 0)[0], *SIZE)
        return [self._camera.shoot(*world.snapshot(t, e)) for t, e in places]

    def close(self) -> None:
        """Give the camera back."""
        if self._camera is not None:
            self._camera.close()
        self._camera = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_camera": None}


def dots(place: Floats, goal: Floats) -> Picture:
    """A point of the plane in black, its goal in green; the picture reaches a little further than the goal."""
    reach = max(0.8, 1.6 * float(np.abs(goal).max()))
    x, y = np.meshgrid(np.linspace(-reach, reach, SIZE[0]), np.linspace(reach, -reach, SIZE[1]))
    picture = np.full((SIZE[1], SIZE[0], 3), 255, np.uint8)
    for (at_x, at_y), radius, colour in ((goal, 2 * DOT, (0, 158, 115)), (place, DOT, (0, 0, 0))):
        picture[np.hypot(x - at_x, y - at_y) <= 2 * reach * radius] = colour
    return picture
