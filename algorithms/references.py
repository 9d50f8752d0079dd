"""Things of the user's own by name: "module:my_package.Thing"."""

from __future__ import annotations

import difflib
import importlib
import re
import sys
from pathlib import Path
from typing import Any

PREFIX = "module:"
REFERENCE = re.compile(r"module:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*[.:][A-Za-z_]\w*", re.ASCII)


class CannotLoad(ValueError):
    """A reference that leads to nothing; the message says where it ends."""


def is_reference(name: str) -> bool:
    """Whether a name is of this kind."""
    return name.startswith(PREFIX)


def load(reference: str) -> Any:
    """What a reference names. Modules are looked for in the working directory too.

    Raises:
        CannotLoad: there is no such module or no such name in it, or importing it fails.
    """
    if not REFERENCE.fullmatch(reference):
        raise CannotLoad(f"{reference!r} is no reference; write module:my_package.MyThing")
    module, _, name = reference.removeprefix(PREFIX).replace(":", ".").rpartition(".")
    if (cwd := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, cwd)
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise CannotLoad(f"{reference}: importing {module} fails: {error}") from error
        raise CannotLoad(
            f"{reference}: there is no module {error.name}, neither in {cwd} nor among the installed ones"
        ) from error
    except Exception as error:
        raise CannotLoad(f"{reference}: importing {module} fails: {type(error).__name__}: {error}") from error
    if not hasattr(found, name):
        near = difflib.get_close_matches(name, dir(found), 1, 0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise CannotLoad(f"{reference}: {module} has no {name}{hint}")
    return getattr(found, name)
