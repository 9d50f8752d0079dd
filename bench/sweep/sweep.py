"""The loop of a sweep: keep the engine busy, look at the run folders, file what is over, stop so that it can go on."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

from metabench.bench.sweep.engine import Engine, Handle, last_line
from metabench.bench.sweep.job import Job, Standing, publish, standing

TICK, LOOK = 0.05, 1.0
"""Seconds between two questions to the engine, and between two looks at a run folder."""

GRACE = 120.0
"""Seconds that a job has for its checkpoint when it is asked to stop; then it is ended."""


@dataclass
class Run:
    """A job in this sweep."""

    job: Job
    standing: Standing
    estimate: float | None = None
    """Seconds of the whole run, where they were estimated."""
    handle: Handle | None = None
    """None before it is submitted, after it has ended, and where another process has it."""
    began: tuple[float, int] = (0.0, 0)
    """Time and iteration at which it was submitted."""
    reached: tuple[float, int] = (0.0, 0)
    """Time at which it was seen to be at its latest iteration, and that iteration."""
    looked: float = float("-inf")
    """When its folder was last looked at."""

    @property
    def waits(self) -> bool:
        """Whether it can be submitted."""
        return self.handle is None and self.standing.word in ("to do", "stopped")

    @property
    def left(self) -> float | None:
        """Seconds to its end: by its own pace where it has one, else by the estimate; None where neither is known."""
        if self.standing.over or self.standing.word == "failed":
            return 0.0
        total, (since, first), (now, done) = self.job.recipe.iterations, self.began, self.reached
        if self.handle is not None and done > first:
            return (total - done) * (now - since) / (done - first)
        return None if self.estimate is None else self.estimate * (1 - self.standing.iteration / max(total, 1))


class View(Protocol):
    """Who watches."""

    def show(self, runs: Sequence[Run]) -> None:
        """Called at every turn of the loop."""
        ...


class Stopped(Exception):
    """A signal ended the sweep."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class Sweep:
    """Runs jobs, in their order.

    Args:
        records: folder where records are filed as jobs end; None files none.
        seconds: after which jobs checkpoint and stop.
    """

    def __init__(
        self, runs: Sequence[Run], engine: Engine, view: View, *, records: Path | None, seconds: float = float("inf")
    ) -> None:
        self.runs, self.engine, self.view, self.records = runs, engine, view, records
        self.seconds = seconds
        self._signals: list[int] = []
        self._stopping = False

    def run(self) -> None:
        """Until every job is over or has failed, or the time is up.

        Raises:
            Stopped: after SIGTERM or SIGINT, when all jobs have checkpointed and ended.
        """
        deadline = time.monotonic() + self.seconds
        for run in self.runs:
            self._file(run)
        with self._noted_signals():
            try:
                while self._busy() and not self._signals and time.monotonic() < deadline:
                    self._start()
                    self._look()
                    time.sleep(TICK)
            finally:
                self._stop()
        if self._signals:
            raise Stopped(self._signals[0])

    def _busy(self) -> bool:
        return any(run.waits or run.standing.word == "running" for run in self.runs)

    def _start(self) -> None:
        """Submit the next jobs, as many as the engine takes."""
        free = self.engine.at_once - sum(run.handle is not None for run in self.runs)
        for run in self.runs:
            if free > 0 and run.waits:
                run.standing = standing(run.job, self.records)
                if run.waits:
                    self._submit(run)
                else:  # another process has it, or has ended it meanwhile
                    self._file(run)
                free -= run.handle is not None

    def _submit(self, run: Run) -> None:
        run.began = run.reached = time.monotonic(), run.standing.iteration
        try:
            run.handle = self.engine.submit(run.job)
        except OSError as error:
            run.standing = run.standing._replace(word="failed", reason=str(error))
        else:
            run.standing = run.standing._replace(word="running")

    def _look(self) -> None:
        """Ask after what runs, here and elsewhere."""
        for run in self.runs:
            if run.handle is not None and (status := run.handle.poll()) is not None:
                run.handle = None
                self._ended(run, status)
            elif run.standing.word == "running" and time.monotonic() - run.looked > LOOK:
                run.looked = time.monotonic()
                found = standing(run.job, self.records)
                run.standing = found if run.handle is None else found._replace(word="running")
                if found.iteration > run.reached[1]:
                    run.reached = run.looked, found.iteration
                self._file(run)
        self.view.show(self.runs)

    def _ended(self, run: Run, status: int) -> None:
        """What came of a job whose process has ended."""
        run.standing = standing(run.job, self.records)
        self._file(run)
        if not run.standing.over and not self._stopping:
            how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
            said = last_line(run.job.folder)
            run.standing = run.standing._replace(word="failed", reason=f"{how}: {said}" if said else how)

    def _file(self, run: Run) -> None:
        if run.standing.over and run.handle is None and self.records is not None:
            publish(run.job, self.records)

    def _stop(self) -> None:
        """Have every job checkpoint and end; one more signal, or too long a wait, ends them at once."""
        self._stopping = True
        asked, signals, at_once = time.monotonic(), len(self._signals), False
        for run in self._live():
            run.stop()
        while self._live():
            if not at_once and (len(self._signals) > signals or time.monotonic() - asked > GRACE):
                at_once = True
                for run in self._live():
                    run.stop(at_once=True)
            self._look()
            time.sleep(TICK)

    def _live(self) -> list[Handle]:
        return [run.handle for run in self.runs if run.handle is not None]

    @contextmanager
    def _noted_signals(self) -> Iterator[None]:
        def note(number: int, frame: FrameType | None) -> None:
            self._signals.append(number)

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
