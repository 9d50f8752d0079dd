"""SIGINT and SIGTERM: what is asked to stop ends where it loses nothing, and says how it ended."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal came; `number` is its number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def status(stop: KeyboardInterrupt) -> int:
    """The exit status of what a signal ended: 130 after SIGINT, 143 after SIGTERM."""
    return 128 + (stop.number if isinstance(stop, Interrupted) else signal.SIGINT)


@contextmanager
def interrupting() -> Iterator[None]:
    """A scope in which SIGTERM raises `Interrupted`, as SIGINT raises KeyboardInterrupt."""

    def interrupt(number: int, _: FrameType | None) -> None:
        raise Interrupted(number)

    with _handled({signal.SIGTERM: interrupt}):
        yield


@contextmanager
def noting_signals(notice: str) -> Iterator[Callable[[], int]]:
    """A scope in which a signal is noted, for work that ends at a place of its own; the second raises `Interrupted`.

    Args:
        notice: what the first prints on stderr; empty for nothing, and then every signal is only noted.

    Yields:
        What gives the number of the signal that came first; 0 where none did.
    """
    came: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if came and notice:
            raise Interrupted(number)
        came.append(number)
        os.write(2, notice.encode())  # print is not safe in the middle of another print

    with _handled(dict.fromkeys(SIGNALS, note)):
        yield lambda: came[0] if came else 0


@contextmanager
def _handled(handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]]) -> Iterator[None]:
    """The handlers while the scope lasts; only the main thread can set them, another goes without."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
