"""OpenGL, which pictures need and nothing else: MuJoCo is imported without it, and drawing says what is missing."""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys
from typing import Any

_OPENGL = ("MUJOCO_GL", "PYOPENGL_PLATFORM")
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


def _import_mujoco() -> None:
    """Import MuJoCo whatever MUJOCO_GL says.

    Its import loads the OpenGL named there and fails where there is none, though only pictures need it (`context_kind`
    says then what is missing).
    """
    named = {name: os.environ.get(name) for name in _OPENGL}
    try:
        import mujoco
    except Exception:
        os.environ["MUJOCO_GL"] = "off"
        import mujoco  # noqa: F401

        for name, value in named.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


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


_import_mujoco()
