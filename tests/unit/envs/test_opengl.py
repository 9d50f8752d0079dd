"""MUJOCO_GL names an OpenGL that is not there: nothing but pictures needs it, and those say what is wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from metabench.envs.opengl import CannotDraw, context_kind

ROOT = Path(__file__).parents[3]
STEP = """
import os, gymnasium
before = dict(os.environ)
import metabench.envs
assert {k: v for k, v in os.environ.items() if "GL" in k} == {k: v for k, v in before.items() if "GL" in k}
env = gymnasium.make("metabench/CheetahDir-v0")
env.reset(seed=0)
print(env.step(env.action_space.sample())[0].shape)
"""


@pytest.mark.parametrize("name", ["osmesa", "nonsense", "glfw", "off"])
def test_a_robot_moves_without_opengl(name: str) -> None:
    settings = {k: v for k, v in os.environ.items() if k != "PYOPENGL_PLATFORM"} | {"MUJOCO_GL": name}
    ran = subprocess.run([sys.executable, "-c", STEP], cwd=ROOT, env=settings, capture_output=True, text=True)
    assert (ran.stdout, ran.returncode) == ("(20,)\n", 0), ran.stderr


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nonsense", "MUJOCO_GL is 'nonsense'; to draw, set it to egl, osmesa or glfw, or to nothing"),
        ("off", "MUJOCO_GL is 'off'; to draw, set it to egl, osmesa or glfw, or to nothing"),
        ("glfw", "The DISPLAY environment variable is missing"),
    ],
)
def test_a_picture_says_what_is_missing(name: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for display in ("DISPLAY", "WAYLAND_DISPLAY", "PYOPENGL_PLATFORM"):
        monkeypatch.delenv(display, raising=False)
    monkeypatch.setenv("MUJOCO_GL", name)
    context_kind.cache_clear()
    with pytest.raises(CannotDraw, match=re.escape(told)):
        context_kind()
    context_kind.cache_clear()
