"""What a person sees of a sweep: a table that lives in a terminal, plain lines in a log or a pipe."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from metabench.bench.sweep.job import WORDS
from metabench.bench.sweep.sweep import Run
from metabench.bench.text import duration

STYLES = {"failed": "red", "diverged": "red", "complete": "green", "running": "bold"}
REFRESH, REMIND = 0.5, 60.0
"""Seconds between two drawings of the table, and between two lines of a job that runs."""


class LiveTable:
    """The jobs as a table that is drawn anew, as many as the terminal holds.

    Args:
        at_once: jobs that run at once, for the time that is left.
    """

    def __init__(self, console: Console, at_once: int) -> None:
        self.console, self.at_once = console, at_once
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._drawn = float("-inf")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, runs: Sequence[Run]) -> None:
        """Draw, now and then."""
        if time.monotonic() - self._drawn < REFRESH:
            return
        self._drawn = time.monotonic()
        room = max(1, self.console.height - 6)
        first = sorted(runs, key=lambda run: WORDS.index(run.standing.word))[:room]
        self._live.update(table(first, summary(runs, self.at_once)), refresh=True)


class Lines:
    """A line when a job starts, ends or has validated, at most one a minute between the two."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._said: dict[str, tuple[str, str, float]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is to be put back."""

    def show(self, runs: Sequence[Run]) -> None:
        """Print what is new."""
        now = time.monotonic()
        for run in runs:
            word, score = run.standing.word, run.standing.score
            said = self._said.get(run.job.name)
            if said is None:
                self._said[run.job.name] = (word, score, now)
                if word != "running":
                    continue
            elif said[0] == word and (said[1] == score or now - said[2] < REMIND):
                continue
            self._said[run.job.name] = (word, score, now)
            text = "  ".join(filter(None, (time.strftime("%H:%M:%S"), run.job.name, *cells(run))))
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def table(runs: Sequence[Run], title: str) -> Table:
    """The jobs: state, iteration, validation or test, time left."""
    shown = Table(title=title, title_justify="left")
    for name in ("run", "state", "iteration", "validation", "time left"):
        shown.add_column(name, no_wrap=name != "state", overflow="fold" if name == "state" else "ellipsis")
    for run in runs:
        shown.add_row(run.job.name, *map(escape, cells(run)), style=STYLES.get(run.standing.word))
    return shown


def cells(run: Run) -> tuple[str, str, str, str]:
    """State with its reason, iteration, score and time left; what is not known is empty."""
    word, iteration, score, reason = run.standing
    left = run.left
    return (
        f"{word}: {reason}" if reason else word,
        f"{iteration}/{run.job.recipe.iterations}" if iteration else "",
        score,
        f"about {duration(left)}" if left else "",
    )


def summary(runs: Sequence[Run], at_once: int) -> str:
    """ "2 running, 3 complete, 1 to do; about 1.5 hours left"."""
    counts = Counter(run.standing.word for run in runs)
    text = ", ".join(f"{counts[word]} {word}" for word in WORDS if counts[word])
    left = [run.left for run in runs]
    known = [seconds for seconds in left if seconds is not None]
    if len(known) < len(left) or not sum(known):
        return text
    return f"{text}; about {duration(max(sum(known) / at_once, *known))} left, {at_once} at once"
