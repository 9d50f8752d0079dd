"""Amounts and text in a few characters, and names that are not there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import lru_cache

MIB = 2**20


def flops_text(flops: float) -> str:
    """1234567890 -> "1.23 GFLOP"."""
    for unit, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9)):
        if flops >= size:
            return f"{flops / size:.3g} {unit}FLOP"
    return f"{flops / 1e6:.3g} MFLOP"


def bytes_text(n: float) -> str:
    """3145728 -> "3.0 MiB"."""
    return f"{n / MIB:.1f} MiB" if n < 1024 * MIB else f"{n / (1024 * MIB):.1f} GiB"


def tasks_text(n: int) -> str:
    """2 -> "2 tasks"."""
    return f"{n} task{'s' * (n != 1)}"


def duration(seconds: float) -> str:
    """95 -> "1.6 minutes"."""
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def clock(seconds: float) -> str:
    """41 -> "0:41"; 3723 -> "1:02:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def one_line(text: str) -> str:
    """The text on one line, with a replacement character for each that cannot be printed."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """That there is no such name, and the nearest that there is."""
    known = tuple(sorted(known))
    near = _nearest(name.lower(), known)
    hint = f"; did you mean {near!r}?" if near else "."
    return f"no {kind} {name!r}{hint} Known: {', '.join(known)}"


@lru_cache  # a long history asks for the same lost name at each of its records
def _nearest(name: str, known: tuple[str, ...]) -> str:
    """The name most like it; empty where none is."""
    return next(iter(difflib.get_close_matches(name, known, 1, 0.4)), "")
