"""A run's log: one JSON object a line, cut to fit the checkpoint when the run resumes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from bench.training.checkpoint import RunFolderError, write_atomic


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
        """Drop the lines after an iteration, which will be written again, and a last line that a kill cut short."""
        if not self.keep or not self.path.exists():
            return
        try:
            text = self.path.read_text(errors="replace")
        except OSError as error:
            raise RunFolderError(f"cannot read {self.path}: {error.strerror}; remove it, then go on") from error
        kept = ""
        for line in text.splitlines(keepends=True):
            try:
                beyond = json.loads(line)["iteration"] > iteration or not line.endswith("\n")
            except (ValueError, LookupError, TypeError):
                beyond = True
            if beyond:
                break
            kept += line
        if kept != text:
            write_atomic(self.path, kept.encode())
