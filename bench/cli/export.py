"""The verb `export`: a finished run's learner as weights and a card, to keep, to give away and to start from."""

from __future__ import annotations

from metabench.bench.cli.main import version
from metabench.bench.cli.use_arguments import parse_export
from metabench.bench.terminal import say
from metabench.bench.training.export import CARD, TEXT, WEIGHTS
from metabench.bench.use.export import export_run


def export(arguments: list[str]) -> int:
    """metabench export RUN --out FOLDER."""
    command = parse_export(arguments)
    digest = export_run(command.folder, command.out, version())
    say(f"{command.out}: {WEIGHTS}, {CARD}, {TEXT}\nweights {digest}")
    return 0
