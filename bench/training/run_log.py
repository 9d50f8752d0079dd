"""A run's log: one JSON object a line, cut to fit the checkpoint when the run resumes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from metabench.bench.training.checkpoint import RunFolderError, write_atomic


class RunLog:
    """log.jsonl of a run folder. Lines are kept until `write`, which comes before each checkpoint.

    Args:
        path: of the file.
        keep: False on the processes that do not write.
    """

    def __init__(self, path: Path, keep: bool) -> None:
        self.path, self.keep = path, keep
        self.lines: list[str] = []

    def add(self, line: dict[str, Any]) -> None:
        """Note a line."""
        if self.keep:
            self.lines.append(json.dumps(line))

    def write(self) -> None:
        """Append what was noted since the last time."""
        try:
            with open(self.path, "a") as log:
                log.writelines(line + "\n" for line in self.lines)
                log.flush()
                os.fsync(log.fileno())
        except OSError as error:
            raise RunFolderError(
                f"cannot write {self.path}: {error.strerror}; the last checkpoint is intact"
            ) from error
        self.lines.clear()

    def cut(self, iteration: int) -> None:
        """Drop the lines after an iteration, which will be written again, and a last line that a kill cut short.

        Raises:
            RunFolderError: if it cannot be read, or has lost lines up to there. One that was removed is begun anew.
        """
        if not self.keep or not self.path.exists():
            return
        try:
            text = self.path.read_text(errors="replace")
        except OSError as error:
            raise RunFolderError(f"cannot read {self.path}: {error.strerror}; remove it, then go on") from error
        kept: list[str] = []
        reached = 0
        for line in text.splitlines(keepends=True):
            at = _iteration(line)
            if at is None or at > iteration or (kept and at not in (reached, reached + 1)):
                break
            reached = at
            kept.append(line)
        if reached < iteration:
            raise RunFolderError(
                f"{self.path} goes to iteration {reached} and the checkpoint to {iteration}: it was cut short or "
                "damaged; restore it from a copy, or remove it to go on without its lines"
            )
        if len(kept) < len(text.splitlines()):
            write_atomic(self.path, "".join(kept).encode())


def _iteration(line: str) -> int | None:
    """That of a whole line; None of one that was cut short or is something else."""
    try:
        at = json.loads(line)["iteration"] if line.endswith("\n") else None
    except (ValueError, LookupError, TypeError):
        return None
    return at if type(at) is int else None
