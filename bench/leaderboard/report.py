"""`metabench report`: the leaderboard, written from the records and the published numbers alone.

The same records give the same bytes: nothing in the page depends on the clock, the machine or the order of files.
"""

from __future__ import annotations

import sys

from metabench.bench.leaderboard.arguments import parse_report
from metabench.bench.leaderboard.board import assemble
from metabench.bench.leaderboard.costs import estimate
from metabench.bench.leaderboard.markdown import embedded, markdown
from metabench.bench.leaderboard.page import html
from metabench.bench.leaderboard.published import PublishedError
from metabench.bench.text import one_line
from metabench.bench.training.checkpoint import write_atomic


def report_command(arguments: list[str]) -> int:
    """metabench report; 0 done, 1 a record was set aside or the page is stale, 2 published.yaml cannot be used."""
    command = parse_report(arguments)
    if not command.results.is_dir():
        print(
            f"metabench: {command.results}: there is no such folder; file a record there with "
            "`metabench run … --publish`, or give --results",
            file=sys.stderr,
        )
        return 2
    try:
        board = assemble(command.results)
        if command.costs:
            estimate(command.results, board.cells)
            board = assemble(command.results)
    except PublishedError as error:
        print(f"metabench: {error}", file=sys.stderr)
        return 2
    for file, reason in board.refused:
        print(f"metabench: record set aside: {one_line(file)}: {one_line(reason)}", file=sys.stderr)
    pages = {command.results / "leaderboard.md": markdown(board), command.results / "leaderboard.html": html(board)}
    readme = command.results.parent / "README.md"
    if readme.is_file():
        pages[readme] = embedded(readme.read_text(encoding="utf-8"), board)
    stale = False
    for path, text in pages.items():
        if path.is_file() and path.read_bytes() == text.encode():
            continue
        if not command.check:
            write_atomic(path, text.encode())
        else:
            print(f"metabench: {path} is not what the records give; run `metabench report`", file=sys.stderr)
            stale = True
    if not command.check:
        print(f"{command.results}: {len(board.lines)} rows, {len(board.not_run)} published rows not run")
    return 1 if board.refused or stale else 0
