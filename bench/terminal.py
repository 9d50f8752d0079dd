"""Where tables and plain lines are printed."""

from __future__ import annotations

import os

from rich.console import Console

LOG_WIDTH = 132
"""Characters of a line in a log; a terminal has its own width."""


def table_console() -> Console:
    """Standard output: a terminal as it is, a log or a pipe with room for a table's words."""
    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=LOG_WIDTH)


def say(text: str, console: Console | None = None, style: str | None = None) -> None:
    """Print text as it is: names and paths hold brackets and numbers, which are no markup, and are not broken up."""
    (console or Console()).print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def complain(message: str) -> int:
    """Say on stderr what is wrong, in red where that is a terminal; the exit status of wrong input."""
    say(f"metabench: {message}", Console(stderr=True), "red")
    return 2
