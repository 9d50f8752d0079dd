"""Who runs the jobs of a sweep: an `Engine` takes a job and gives a `Handle` to ask and to stop it. `Local` is the
one that comes with it, a process a job on the cores and GPUs of this machine.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from metabench.bench.sweep.job import Job

OUTPUT = "output.txt"
"""What a job prints, in its run folder."""

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class Handle(Protocol):
    """A job that was submitted."""

    def poll(self) -> int | None:
        """Its exit status (minus the signal's number where one ended it); None while it runs."""
        ...

    def stop(self, *, at_once: bool = False) -> None:
        """Ask it to checkpoint and end; or end it at once, which loses what came after its last checkpoint."""
        ...


class Engine(Protocol):
    """Takes jobs. One that runs elsewhere needs the run folders on storage that both sides see."""

    @property
    def at_once(self) -> int:
        """Jobs that it takes at once."""
        ...

    def submit(self, job: Job) -> Handle:
        """Start a job, or resume it from its checkpoint.

        Raises:
            OSError: if it cannot be started.
        """
        ...


class Local:
    """A process a job, each with its share of the cores, and a GPU where there are any.

    Args:
        at_once: jobs at once.
        cores: to share; with fewer than jobs, they take turns.
        gpus: as CUDA_VISIBLE_DEVICES names them; a job sees one.
    """

    def __init__(self, at_once: int, cores: int, gpus: Sequence[str] = ()) -> None:
        self.at_once = at_once
        self.threads = max(1, cores // at_once)
        self.gpus = gpus
        self._slots: list[subprocess.Popen[bytes] | None] = [None] * at_once

    def submit(self, job: Job) -> Handle:
        """Start `metabench run` in the background."""
        slot = next(i for i, process in enumerate(self._slots) if process is None or process.poll() is not None)
        environment = os.environ | {"OMP_NUM_THREADS": str(self.threads)}  # else idle threads spin beside each other
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        job.folder.mkdir(parents=True, exist_ok=True)
        with open(job.folder / OUTPUT, "ab") as output:
            process = subprocess.Popen(
                command(job, self.threads),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C is the sweep's, which passes it on
                preexec_fn=die_with(os.getpid()),
            )
        self._slots[slot] = process
        return LocalHandle(process)


class LocalHandle:
    """A process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""
        return self.process.poll()

    def stop(self, *, at_once: bool = False) -> None:
        """SIGTERM, at which a run checkpoints; or SIGKILL."""
        self.process.send_signal(signal.SIGKILL if at_once else signal.SIGTERM)


def command(job: Job, threads: int) -> list[str]:
    """The command line of a job's process. Its flags come after the threads: a number of its own counts."""
    row, flags = job.arguments[:2], job.arguments[2:]
    which = ["--seed", str(job.seed), "--out", str(job.folder)]
    return [sys.executable, "-m", "metabench", "run", *row, "--threads", str(threads), *flags, *which]


def last_line(folder: Path) -> str:
    """The last that a job printed, which says why it failed; "" where it printed nothing."""
    try:
        with open(folder / OUTPUT, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def die_with(parent: int) -> Callable[[], None]:
    """What a new process does first: have the kernel send it SIGTERM when the sweep dies, by SIGKILL for example."""

    def prepare() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return prepare
