"""An engine for tests: jobs are forks of a process that has imported everything, else like those of `Local`."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from contextlib import suppress

import torch._dynamo  # noqa: F401 - imported by the first optimiser that is made

import metabench.bench.cli.sweep as command_line
from metabench.bench.cli.main import main
from metabench.bench.sweep.engine import OUTPUT, Handle, Local, command, die_with
from metabench.bench.sweep.job import Job


class Forks(Local):
    """`Local` without the seconds of imports."""

    def submit(self, job: Job) -> Handle:
        job.folder.mkdir(parents=True, exist_ok=True)
        parent, pid = os.getpid(), os.fork()
        if pid == 0:
            _be(job, command(job, self.threads)[3:], parent)
        return Fork(pid)


class Fork:
    """A job."""

    def __init__(self, pid: int) -> None:
        self.pid, self.status = pid, None

    def poll(self) -> int | None:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status

    def stop(self, *, at_once: bool = False) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL if at_once else signal.SIGTERM)


def _be(job: Job, argv: list[str], parent: int) -> None:
    """What a process of its own would do, from its start to its end."""
    for number, handler in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
        signal.signal(number, handler)
    die_with(parent)()
    os.setsid()
    output = os.open(job.folder / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    status = 1
    try:
        sys.argv = ["metabench", *argv]
        status = main(argv)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def sweep(folder: str, *argv: str) -> None:
    """`metabench sweep` in a folder, with jobs that are forks; ends the process with its exit status."""
    command_line.Local = Forks  # type: ignore[misc]
    os.chdir(folder)
    status = main(["sweep", *argv])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
