"""Files that are whole or absent: atomic writes, one process per run folder, checkpoints that resume exactly."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import re
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from metabench.bench.records.statistics import t975

FORMAT = 3
UNSEALED = 2
"""The format before, which is read too: its parts have a CRC-32 each, its intervals are 1.96 standard errors."""
HOLDS = {"fields", "seed", "data", "learner", "outer", "state"}
SEAL = 64
"""Bytes of a checkpoint's seal, in hexadecimal digits."""
DAMAGED = "its bytes are not those that were written; restore it from a copy, or remove it to start over"
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
    """Write a checkpoint: tensors, numbers, strings and containers of them, sealed with a checksum of the whole file.

    The seal is the comment of the zip archive that torch writes: the SHA-256 of every byte before it.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    content = buffer.getvalue()[:-2] + SEAL.to_bytes(2, "little")  # an archive ends in the length of its comment
    write_atomic(path, content + _seal(content))


def _seal(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint; no code in it can run.

    Raises:
        RunFolderError: if it is damaged or of another format.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error.strerror}") from error
    is_sealed = re.fullmatch(rb"[0-9a-f]{64}", content[-SEAL:]) is not None
    if is_sealed and content[-SEAL:] != _seal(content[:-SEAL]):
        raise RunFolderError(f"{path} is damaged: {DAMAGED}")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            whole = is_sealed or archive.testzip() is None
        with warnings.catch_warnings(action="ignore"):  # torch's, of old formats: ours is one, and the rest fail
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        raise RunFolderError(
            f"{path} is not a readable checkpoint ({type(error).__name__}); remove it to start over"
        ) from error
    found = state.get("format") if isinstance(state, dict) else type(state).__name__
    if not whole or (found == FORMAT and not is_sealed):
        raise RunFolderError(f"{path} is damaged: {DAMAGED}")
    if found not in (FORMAT, UNSEALED):
        raise RunFolderError(
            f"{path} has checkpoint format {found!r}, this version reads {UNSEALED} and {FORMAT}; train again"
        )
    return dict(state)


def load_run(path: Path) -> dict[str, Any]:
    """The same of a run's checkpoint, which holds what `HOLDS` names."""
    state = load(path)
    if missing := HOLDS - state.keys():
        raise RunFolderError(f"{path} is no checkpoint of a run: it has no {min(missing)}; remove it to start over")
    try:
        if state["format"] == UNSEALED:
            students = t975(state["fields"]["val_tasks"] - 1) / 1.96
            for point in state["state"]["curve"]:
                point["ci95"] *= students
    except (LookupError, TypeError) as error:
        raise RunFolderError(f"{path} is no checkpoint of a run ({error}); remove it to start over") from error
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
