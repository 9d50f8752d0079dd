"""Files that are whole or absent: atomic writes, one process per run folder, checkpoints that resume exactly."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

FORMAT = 2
HOLDS = {"recipe", "fields", "seed", "data", "learner", "outer", "state"}
PARTIAL = ".partial"


class RunFolderError(RuntimeError):
    """A run folder that cannot be used; the message says why and what to do."""


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that, whatever happens, `path` holds the old content or the new, whole.

    Raises:
        RunFolderError: if the disk is full or the folder not writable; `path` is then as it was.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PARTIAL, dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise RunFolderError(
            f"cannot write {path}: {error.strerror}; what was there before is untouched. "
            "Make room or choose another folder, then run the same command again"
        ) from error


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint: tensors, numbers, strings and containers of them."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    write_atomic(path, buffer.getvalue())


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint; no code in it can run.

    Raises:
        RunFolderError: if it is damaged or of another format.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's, of old formats: ours is one, and the rest fail
            state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:
        raise RunFolderError(
            f"{path} is not a readable checkpoint ({type(error).__name__}); remove it to start over"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise RunFolderError(f"{path} has checkpoint format {found!r}, this version reads {FORMAT}; train again")
    return state


def load_run(path: Path) -> dict[str, Any]:
    """The same of a run's checkpoint, which holds what `HOLDS` names."""
    state = load(path)
    if missing := HOLDS - state.keys():
        raise RunFolderError(f"{path} is no checkpoint of a run: it has no {min(missing)}; remove it to start over")
    return state


@contextlib.contextmanager
def locked(folder: Path, what: str = "run folder") -> Iterator[None]:
    """Hold a folder for this process alone, until it exits however it may.

    Args:
        what: the folder's kind, for messages.

    Raises:
        RunFolderError: if another process holds it, or it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise RunFolderError(f"cannot use {what} {folder}: {error.strerror}; choose another with --out") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(lock, 20).decode(errors="replace").strip() or "unknown"
            raise RunFolderError(
                f"{what} {folder} is in use by process {holder}; wait, or choose another with --out"
            ) from error
        except OSError as error:
            raise RunFolderError(f"cannot lock {what} {folder}: {error.strerror}; choose another with --out") from error
        with contextlib.suppress(OSError):  # on a full disk the lock holds all the same
            os.truncate(lock, 0)
            os.write(lock, str(os.getpid()).encode())
        for left in folder.glob(f".*{PARTIAL}"):  # by a process that was killed while it wrote
            left.unlink(missing_ok=True)
        yield
    finally:
        os.close(lock)
