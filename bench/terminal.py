"""Where tables are printed."""

from __future__ import annotations

import os

from rich.console import Console

LOG_WIDTH = 132
"""Characters of a line in a log; a terminal has its own width."""


def wide() -> Console:
    """Standard output: a terminal as it is, a log or a pipe with room for a table's words."""
    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=LOG_WIDTH)
