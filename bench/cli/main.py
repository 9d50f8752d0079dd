"""The command line, `metabench VERB ...`: the verbs are in `VERBS`."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import io
import os
import sys
from collections.abc import Callable, Sequence

from metabench.bench import stopping

USAGE = """metabench: meta-learners on few-shot images and on locomotion, beside the published numbers

  metabench quickstart                      five learners in both worlds, two or three minutes
  metabench list                            algorithms, benchmarks, data sets
  metabench run ALGORITHM BENCHMARK [...]   train, select on validation, test, write a record
  metabench sweep paper|FILE|ROW... [...]   many runs as one job that can be stopped and goes on
  metabench evaluate RUN_FOLDER [...]       test a trained run again, or under another protocol
  metabench render RUN_FOLDER [...]         a film or a plot of a policy before and after its updates
  metabench data list|download|import|verify|preview; `data import NAME FOLDER` makes one of your own pictures
  metabench bench vision                    speed beside learn2learn, and the roofline
  metabench bench envs                      simulation beside the limit of physics and Gymnasium, and a profile
  metabench peers                           speed beside learn2learn alone, filed as a record
  metabench compare A B                     two sets of records: differences, and what they may come from
  metabench check                           regressions against results/baselines
  metabench report                          the leaderboard, from the records alone

Every verb takes --help; `metabench run maml omniglot-5w1s --help` shows that recipe's fields."""

VERBS: dict[str, str] = {
    "run": "metabench.bench.cli.run:run",
    "sweep": "metabench.bench.cli.sweep:sweep",
    "evaluate": "metabench.bench.cli.run:evaluate",
    "render": "metabench.bench.cli.render:render",
    "list": "metabench.bench.cli.data:list_all",
    "data": "metabench.bench.cli.data:data",
    "quickstart": "metabench.bench.cli.quickstart:quickstart",
    "report": "metabench.bench.leaderboard.report:report_command",
    "bench": "metabench.bench.speed.command:bench",
    "peers": "metabench.bench.speed.command:peers",
    "check": "metabench.bench.gate.check:check",
    "compare": "metabench.bench.compare.command:compare_command",
}
"""Verb -> function of the arguments after it; returns the exit status. Imported when asked for: torch takes seconds."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0 done, 1 a run diverged, 2 wrong input, 128 + n signal n."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0
    if arguments[0] in ("--version", "-V"):
        print(f"metabench {version()}")
        return 0
    verb, *rest = arguments
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, 1, 0.4)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        from metabench.bench.terminal import complain

        return complain(f"no verb {verb!r}{hint} Verbs: {', '.join(VERBS)}; see metabench --help")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # "±" on a terminal without it is a "?", not the end of a run
    try:
        with stopping.interrupting():
            return _dispatch(verb, rest)
    except KeyboardInterrupt as stop:
        print("\nstopped", file=sys.stderr)
        return stopping.status(stop)


def _dispatch(verb: str, arguments: list[str]) -> int:
    import torch

    from metabench.algorithms import CannotCompile
    from metabench.algorithms.references import CannotLoad
    from metabench.bench.recipes.recipe import RecipeError
    from metabench.bench.terminal import complain
    from metabench.bench.training.checkpoint import RunFolderError
    from metabench.envs.own import CannotUse
    from metabench.vision.data.source import DataError

    module, name = VERBS[verb].split(":")
    act: Callable[[list[str]], int] = getattr(importlib.import_module(module), name)
    try:
        return act(arguments)
    except (RecipeError, DataError, RunFolderError, CannotCompile, CannotLoad, CannotUse) as error:
        return complain(str(error))
    except torch.OutOfMemoryError as error:
        return complain(f"{str(error).split('. ')[0]}; carry fewer tasks at once with --chunk, e.g. --chunk 1")
    except SystemExit as leaving:  # tyro's: 0 after --help, 2 after a flag it cannot read
        return leaving.code if isinstance(leaving.code, int) else 2
    except BrokenPipeError:  # `metabench list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def version() -> str:
    """Of the installed package, or "unknown" where only its sources are there."""
    try:
        return importlib.metadata.version("metabench")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
