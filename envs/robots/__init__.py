"""The MuJoCo robots, and what their tasks have in common."""

import os

_OPENGL = ("MUJOCO_GL", "PYOPENGL_PLATFORM")


def _import_mujoco() -> None:
    """Import MuJoCo whatever MUJOCO_GL says.

    Its import loads the OpenGL named there and fails where there is none, though only pictures need it (`envs.render`
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


_import_mujoco()
