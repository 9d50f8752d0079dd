"""Wall time by part, where parts call parts."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Watched = tuple[Any, str, str]
"""A module or class, the name of a function in it, and the part that the function's time belongs to."""


class Stopwatch:
    """Seconds of each part; the time of a part that another calls is its own, not the caller's.

    For functions that one thread calls.

    Args:
        clock: gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._open: list[str] = []
        self._mark = 0.0

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Charge what happens inside to a part."""
        self._charge()
        self._open.append(name)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    def _charge(self) -> None:
        now = self._clock()
        if self._open:
            self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0.0) + now - self._mark
        self._mark = now

    @contextlib.contextmanager
    def watching(self, functions: Iterable[Watched]) -> Iterator[None]:
        """Charge every call of some functions to their parts; they are put back as they were."""
        with contextlib.ExitStack() as stack:
            for owner, name, part in functions:
                original = getattr(owner, name)
                stack.callback(setattr, owner, name, original)
                setattr(owner, name, self._timed(original, part))
            yield

    def _timed(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with self.part(part):
                return function(*args, **kwargs)

        return run
